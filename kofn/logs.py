"""Logs of the services: readable on a terminal, one JSON object a line elsewhere."""

import logging
import sys

import structlog

# What gRPC's server logs, with a traceback, where a caller's time was up or it hung up in the very
# moment when its reply or error was sent. It says so only where it heard of that a moment too late.
GRPC_SERVER = "grpc._cython.cygrpc"
GONE = "ExecuteBatchError raised in core by servicer method"


def configure_logs(level: str = "info") -> None:
    """Send every log line of this process to standard error.

    Args:
        level: "debug", "info", "warning" or "error".
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    on_terminal = sys.stderr.isatty()
    shape: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if on_terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *shape,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries that log by the standard module: warnings and worse only, in the same stream.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger(GRPC_SERVER).addFilter(_has_a_listener)


def _has_a_listener(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(GONE)
