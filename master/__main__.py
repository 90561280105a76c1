"""`python -m master`: flags > environment > deployment file, parsed here once."""

import asyncio
from pathlib import Path
from typing import Annotated

import structlog
import torch
import typer
from pydantic import ValidationError

from kofn.logs import configure_logs
from kofn.service import LogLevel, ReadyFile, Trace, UntilEof, stop_event, write_ready
from kofn.settings import SettingsError, read_yaml
from kofn.tracing import Tracing, spans_of
from kofn.wire.channels import tune_malloc
from kofn.wire.errors import KofnError
from master.config import MasterConfig
from master.server import MasterServer
from models.store import Store

USAGE_ERROR = 2

log = structlog.get_logger("master")


def main(  # noqa: PLR0913 - each flag is an argument to typer
    config: Annotated[
        Path | None,
        typer.Option(help="Deployment file (YAML).", envvar="KOFN_MASTER_CONFIG"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", envvar="KOFN_MASTER_HOST")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="gRPC port; 0 takes a free one.", envvar="KOFN_MASTER_PORT")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Prometheus port; 0 a free one.", envvar="KOFN_MASTER_METRICS_PORT"),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Worker targets: HOST:PORT or file:PATH, ...", envvar="KOFN_MASTER_WORKERS"
        ),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Model store.", envvar="KOFN_STORE")] = None,
    log_level: LogLevel = "info",
    trace: Trace = False,
    ready_file: ReadyFile = None,
    until_eof: UntilEof = False,
) -> None:
    """Serve the deployments of a file through coded batches over the given workers."""
    configure_logs(log_level)
    given = {"host": host, "port": port, "metrics_port": metrics_port}
    try:
        settings = _settings(config, {k: v for k, v in given.items() if v is not None}, workers)
        with spans_of("kofn-master", trace) as tracing:
            asyncio.run(_serve(settings, Store(store), tracing, ready_file, until_eof))
    except (SettingsError, KofnError, OSError) as error:
        typer.echo(f"master: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from error


def _settings(
    path: Path | None, server: dict[str, str | int | None], workers: str | None
) -> MasterConfig:
    """The file's settings with flags and environment laid over them; raises SettingsError."""
    settings = read_yaml(path, MasterConfig) if path is not None else MasterConfig()
    laid_over = settings.model_dump(by_alias=True)
    laid_over["server"] |= server
    if workers is not None:
        laid_over["workers"] = [target for target in workers.split(",") if target]
    try:
        return MasterConfig.model_validate(laid_over)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise SettingsError(f"flags or environment: {field}: {first['msg']}") from error


async def _serve(
    settings: MasterConfig,
    store: Store,
    tracing: Tracing | None,
    ready_file: Path | None,
    until_eof: bool,
) -> None:
    tune_malloc()
    torch.set_num_threads(1)  # the codes' products are small; threads would fight the workers
    stop = stop_event(until_eof)
    async with MasterServer(settings, store, tracing) as master:
        ready = {"address": master.address, "metrics_address": master.metrics_address}
        write_ready(ready_file, ready)
        running = asyncio.create_task(master.run(), name="master")
        stopping = asyncio.create_task(stop.wait(), name="signal")
        done, _ = await asyncio.wait({running, stopping}, return_when="FIRST_COMPLETED")
        stopping.cancel()
        if running in done:
            running.result()  # raises what ended it
        running.cancel()


if __name__ == "__main__":
    typer.run(main)
