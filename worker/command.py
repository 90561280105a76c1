"""The worker's command line: flags > environment > file, parsed once; signals; the ready file."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from kofn.logs import configure_logs
from kofn.service import (
    CheckOnly,
    LogLevel,
    ReadyFile,
    Trace,
    UntilEof,
    settle,
    stop_event,
    write_ready,
)
from kofn.settings import SettingsError
from kofn.tracing import Tracing, spans_of
from kofn.wire.channels import tune_malloc
from kofn.wire.errors import KofnError
from worker.config import WorkerConfig, read_config
from worker.faults_text import parse_faults

USAGE_ERROR = 2

log = structlog.get_logger("worker")


def serve(  # noqa: PLR0913 - each flag is an argument to typer
    config: Annotated[
        Path | None, typer.Option(help="Settings file (YAML).", envvar="KOFN_WORKER_CONFIG")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Told to masters; default: the host's.", envvar="KOFN_WORKER_NAME"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", envvar="KOFN_WORKER_HOST")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one.", envvar="KOFN_WORKER_PORT")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ...", envvar="KOFN_WORKER_DEVICE")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of products in a forward pass: float32, bfloat16 or float16.",
            envvar="KOFN_WORKER_PRECISION",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Of torch, in one forward pass.", envvar="KOFN_WORKER_THREADS"),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of programs.", envvar="KOFN_WORKER_CACHE")
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(help="Faults to inject: JSON as in a scenario.", envvar="KOFN_WORKER_FAULTS"),
    ] = None,
    max_batch_rows: Annotated[
        int | None,
        typer.Option(help="Of one forward pass.", envvar="KOFN_WORKER_MAX_BATCH_ROWS"),
    ] = None,
    tls: Annotated[
        Path | None,
        typer.Option(
            help="Folder of tls.crt and tls.key; with ca.crt, masters must show a certificate.",
            envvar="KOFN_WORKER_TLS",
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            help="Public Ed25519 key of the master: run only programs that it signed.",
            envvar="KOFN_WORKER_TRUST",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Prometheus port; 0 a free one.", envvar="KOFN_WORKER_METRICS_PORT"),
    ] = None,
    max_message_mb: Annotated[
        int | None,
        typer.Option(
            help="Largest message, in 2^20 bytes. [64]", envvar="KOFN_WORKER_MAX_MESSAGE_MB"
        ),
    ] = None,
    matrices_mb: Annotated[
        int | None,
        typer.Option(
            help="Most that matrices held by name, and products under way, may take, in 2^20 "
            "bytes. [1024]",
            envvar="KOFN_WORKER_MATRICES_MB",
        ),
    ] = None,
    drain_s: Annotated[
        float | None,
        typer.Option(
            help="How long work in hand may take at the end.", envvar="KOFN_WORKER_DRAIN_S"
        ),
    ] = None,
    log_level: LogLevel = "info",
    trace: Trace = False,
    check_only: CheckOnly = False,
    ready_file: ReadyFile = None,
    until_eof: UntilEof = False,
) -> None:
    """Run the programs of masters on one device."""
    configure_logs(log_level)
    given = {
        "name": name,
        "host": host,
        "port": port,
        "device": device,
        "precision": precision,
        "threads": threads,
        "cache": cache,
        "max_batch_rows": max_batch_rows,
        "drain_s": drain_s,
        "tls": tls,
        "trust": trust,
        "metrics_port": metrics_port,
        "max_message_mb": max_message_mb,
        "matrices_mb": matrices_mb,
    }
    try:
        laid_over: dict[str, Any] = {
            field: value for field, value in given.items() if value is not None
        }
        if faults is not None:
            laid_over["faults"] = parse_faults(faults).inlined(Path())
        settings = read_config(config, laid_over)
        if check_only:
            return
        with spans_of("kofn-worker", trace) as tracing:
            asyncio.run(_serve(settings, tracing, ready_file, until_eof))
    except (SettingsError, KofnError, OSError) as error:
        typer.echo(f"worker: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from error


def command() -> None:
    """Parse the command line and serve."""
    typer.run(serve)


async def _serve(
    config: WorkerConfig, tracing: Tracing | None, ready_file: Path | None, until_eof: bool
) -> None:
    from models.programs import import_loader  # after the settings: torch takes seconds to import
    from worker.server import WorkerServer

    tune_malloc()
    stop = stop_event(until_eof)
    async with WorkerServer(config, tracing) as server:
        ready = {"address": server.address, "metrics_address": server.metrics_address}
        write_ready(ready_file, ready)
        log.info("ready", address=server.address)
        running = asyncio.create_task(server.run(), name="worker")
        stopping = asyncio.create_task(stop.wait(), name="signal")
        settling = asyncio.create_task(settle(server.programs.any_loaded), name="settle")
        # Before a master has found the worker and sends a program.
        asyncio.get_running_loop().run_in_executor(None, import_loader)
        try:
            done, _ = await asyncio.wait({running, stopping}, return_when="FIRST_COMPLETED")
            if running in done:
                running.result()  # raises what ended it
        finally:
            running.cancel()
            stopping.cancel()
            settling.cancel()
