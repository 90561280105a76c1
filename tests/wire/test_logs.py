"""What the services log of the libraries below them."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from kofn.logs import GRPC_SERVER, configure_logs


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """gRPC's, configured as in a service; all is as before afterwards."""
    before, logger = structlog.get_config(), logging.getLogger(GRPC_SERVER)
    filters = list(logger.filters)
    configure_logs()
    yield logger
    structlog.configure(**before)
    logger.filters = filters


def test_a_caller_that_is_gone_is_no_error_of_the_server(logger: logging.Logger) -> None:
    """gRPC has a traceback for it; whatever else it says is kept."""

    def is_kept(message: str) -> bool:
        record = logger.makeRecord(GRPC_SERVER, logging.ERROR, __file__, 1, message, (), None)
        return bool(logger.filter(record))

    method = "[/inference.GRPCInferenceService/ModelInfer]"
    assert not is_kept(f"ExecuteBatchError raised in core by servicer method {method}")
    assert is_kept(f"Unexpected [ValueError] raised by servicer method {method}")
