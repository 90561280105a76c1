"""What master and worker share as processes: when to end, how to say that they serve, and how to
keep their garbage collector from stopping them.

A service ends on SIGTERM and SIGINT, and, where a launcher asks for it, when its standard input
does: the launcher holds the other end, so that not even a killed one leaves services behind.
"""

import asyncio
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


async def settle(loaded: asyncio.Event) -> None:
    """Let no collection of garbage walk through what this process has to stay, and let collections
    begin, if they were put off until now.

    Torch and what it loads for a first program are 375,000 objects, which a full collection looks
    at for 0.2 s of an idle core; nothing is answered meanwhile.

    Args:
        loaded: set when that first program is there; once more then.
    """
    _freeze()
    gc.enable()
    await loaded.wait()
    _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def _read_to_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(0, 4096):
        loop.remove_reader(0)
        stop.set()
