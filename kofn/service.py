"""What master and worker share as processes: when to end, how to say that they serve, and how to
keep their garbage collector from stopping them.

A service ends on SIGTERM and SIGINT, and, where a launcher asks for it, when its standard input
does: the launcher holds the other end, so that not even a killed one leaves services behind.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

STDOUT = Path("-")
LOADING_S = 60.0  # a first program is there by then, or none comes soon

ReadyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write addresses and process id as JSON when serving; - is stdout."
    ),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option(
        help="Least level of log lines; debug tells every request.", envvar="KOFN_LOG_LEVEL"
    ),
]
Trace = Annotated[
    bool,
    typer.Option(
        "--trace",
        help="Send OpenTelemetry spans; also on by OTEL_EXPORTER_OTLP_ENDPOINT.",
        envvar="KOFN_TRACE",
    ),
]
UntilEof = Annotated[
    bool, typer.Option("--until-eof", help="End when standard input does, as on SIGTERM.")
]
CheckOnly = Annotated[
    bool, typer.Option("--check", help="Read the settings, say what is wrong, and end.")
]


def stop_event(until_eof: bool = False) -> asyncio.Event:
    """An event that is set when this process shall end; installs what sets it.

    Args:
        until_eof: set it also when standard input ends.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_eof:
        loop.add_reader(0, _read_to_end, loop, stop)
    return stop


def write_ready(path: Path | None, ready: Mapping[str, Any]) -> None:
    """Tell whoever waits, as one JSON object with this process's id; a file appears whole."""
    if path is None:
        return
    text = json.dumps({**ready, "pid": os.getpid()})
    if path == STDOUT:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


async def settle(loaded: asyncio.Event, patience_s: float = LOADING_S) -> None:
    """Put collections of garbage off until a first program is loaded, and spare them what this
    process has by then.

    Torch and what it loads for that are 460,000 objects, which a full collection looks at for 0.3 s
    of an idle core; nothing is answered meanwhile. Of them 8,000 are garbage, a megabyte: it stays.

    Args:
        loaded: set when that program is there.
        patience_s: collections begin after that, whether it is there or not.
    """
    gc.disable()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            await loaded.wait()
    gc.freeze()
    gc.enable()
    await loaded.wait()
    gc.freeze()


def _read_to_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        loop.remove_reader(0)
        stop.set()
