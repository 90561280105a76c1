"""`python -m master`: flags > environment > deployment file, parsed here once."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import structlog
import torch
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
from kofn.settings import SettingsError, check, read_yaml
from kofn.tracing import spans_of
from kofn.wire.access import TokenError, read_token
from kofn.wire.channels import tune_malloc
from kofn.wire.errors import KofnError
from master.binding import bind
from master.config import MasterConfig
from master.server import MasterServer
from models.store import Store

USAGE_ERROR = 2
REFUSING_S = 0.5  # some round trips of a busy machine

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
    tls: Annotated[
        Path | None,
        typer.Option(
            help="Folder of tls.crt and tls.key; with ca.crt, clients must show a certificate.",
            envvar="KOFN_MASTER_TLS",
        ),
    ] = None,
    workers_tls: Annotated[
        Path | None,
        typer.Option(
            help="Folder for dialling workers: ca.crt, and tls.crt and tls.key to show them.",
            envvar="KOFN_MASTER_WORKERS_TLS",
        ),
    ] = None,
    control_port: Annotated[
        int | None,
        typer.Option(
            help="Of the control service; default: the gRPC port.",
            envvar="KOFN_MASTER_CONTROL_PORT",
        ),
    ] = None,
    control_host: Annotated[
        str | None,
        typer.Option(help="Likewise, with a port.", envvar="KOFN_MASTER_CONTROL_HOST"),
    ] = None,
    control_token_file: Annotated[
        Path | None,
        typer.Option(
            help="Holds the token that the control service wants; or set KOFN_CONTROL_TOKEN.",
            envvar="KOFN_MASTER_CONTROL_TOKEN_FILE",
        ),
    ] = None,
    signing_key: Annotated[
        Path | None,
        typer.Option(
            help="Private Ed25519 key: signs programs for workers that --trust its public one.",
            envvar="KOFN_MASTER_SIGNING_KEY",
        ),
    ] = None,
    max_message_mb: Annotated[
        int | None,
        typer.Option(
            help="Largest message, in 2^20 bytes. [64]", envvar="KOFN_MASTER_MAX_MESSAGE_MB"
        ),
    ] = None,
    store: Annotated[Path | None, typer.Option(help="Model store.", envvar="KOFN_STORE")] = None,
    log_level: LogLevel = "info",
    trace: Trace = False,
    check_only: CheckOnly = False,
    ready_file: ReadyFile = None,
    until_eof: UntilEof = False,
) -> None:
    """Serve the deployments of a file through coded batches over the given workers."""
    configure_logs(log_level)
    server = {
        "host": host,
        "port": port,
        "metrics_port": metrics_port,
        "tls": tls,
        "max_message_mb": max_message_mb,
    }
    control = {"port": control_port, "host": control_host, "token_file": control_token_file}
    given = {
        "workers": None if workers is None else [item for item in workers.split(",") if item],
        "workers_tls": workers_tls,
        "signing_key": signing_key,
    }
    try:
        settings = _settings(config, server, control, given)
        token = read_token(settings.server.control.token_file)
        if check_only:
            for deployment in settings.deployments:
                bind(deployment, Store(store))
            return
        with spans_of("kofn-master", trace) as tracing:
            master = MasterServer(settings, Store(store), tracing, token)
            asyncio.run(_serve(master, ready_file, until_eof))
    except (SettingsError, TokenError, KofnError, OSError) as error:
        typer.echo(f"master: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from error


def _settings(
    path: Path | None,
    server: Mapping[str, Any],
    control: Mapping[str, Any],
    given: Mapping[str, Any],
) -> MasterConfig:
    """The file's settings with flags and environment laid over them; raises SettingsError.

    Args:
        path: of the file.
        server: of its key `server`; None where nothing was given.
        control: of its key `server.control`, likewise.
        given: of its other keys, likewise.
    """
    settings = read_yaml(path, MasterConfig) if path is not None else MasterConfig()
    laid_over = settings.model_dump(by_alias=True)
    laid_over |= {key: value for key, value in given.items() if value is not None}
    laid_over["server"] |= {key: value for key, value in server.items() if value is not None}
    laid_over["server"]["control"] |= {k: v for k, v in control.items() if v is not None}
    return check(laid_over, MasterConfig, "flags or environment")


async def _serve(master: MasterServer, ready_file: Path | None, until_eof: bool) -> None:
    tune_malloc()
    torch.set_num_threads(1)  # the codes' products are small; threads would fight the workers
    stop = stop_event(until_eof)
    async with master:
        ready = {
            "address": master.address,
            "control_address": master.control_address,
            "metrics_address": master.metrics_address,
        }
        write_ready(ready_file, ready)
        running = asyncio.create_task(master.run(), name="master")
        stopping = asyncio.create_task(stop.wait(), name="signal")
        settling = asyncio.create_task(settle(master.state.any_deployed), name="settle")
        done, _ = await asyncio.wait({running, stopping}, return_when="FIRST_COMPLETED")
        stopping.cancel()
        settling.cancel()
        if running in done:
            running.result()  # raises what ended it
        running.cancel()
        await master.drain(REFUSING_S)


if __name__ == "__main__":
    typer.run(main)
