"""`python -m nodes`: one node of a training without a master, or the weights of all of them."""

import asyncio
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from kofn.logs import configure_logs
from kofn.service import LogLevel, ReadyFile, UntilEof, stop_event, write_ready
from models import data
from nodes.collecting import collected
from nodes.config import NodesConfig, read_config
from nodes.server import NodeServer
from nodes.wire import RemotePeers
from training.coded.nodes import Array
from training.coded.peer_plan import Plan
from training.coded.weight import StateLost

FAILED = 1

app = typer.Typer(help="Nodes that train together without a master.", no_args_is_help=True)
Config = Annotated[Path, typer.Option(help="JSON file that all nodes share.")]


@app.command()
def train(
    config: Config,
    number: Annotated[int, typer.Option(min=0, help="Of this node, from 0.")],
    log_level: LogLevel = "info",
    ready_file: ReadyFile = None,
    until_eof: UntilEof = False,
) -> None:
    """Be one node: train with the others, then serve what they still need, until ended."""
    configure_logs(log_level)
    torch.set_num_threads(1)
    try:
        settings = read_config(config)
        if number >= len(settings.addresses):
            raise ValueError(f"There are nodes 0 to {len(settings.addresses) - 1}, not {number}.")
        asyncio.run(_serve(settings, number, ready_file, until_eof))
    except (ValueError, OSError, StateLost) as error:
        typer.echo(f"nodes: {error}", err=True)
        raise typer.Exit(FAILED) from error


@app.command()
def collect(
    config: Config,
    out: Annotated[Path | None, typer.Option(help="Weights as .npz, one array a layer.")] = None,
) -> None:
    """Wait until the training is done; decode its weights, and tell how good they are."""
    configure_logs("warning")
    try:
        settings = read_config(config)
        plan, test = settings.plan(), data.load(settings.dataset, "test")
        weights = asyncio.run(_collected(plan, settings))
    except (ValueError, OSError, StateLost) as error:
        typer.echo(f"nodes: {error}", err=True)
        raise typer.Exit(FAILED) from error
    found = plan.network.predict(weights, test.images.flatten(1).numpy())
    right = int((found == test.labels.numpy()).sum())
    typer.echo(f"test accuracy {right / len(found):.4f} on {len(found)} images")
    if out is not None:
        np.savez(out, *weights)


async def _serve(
    settings: NodesConfig, number: int, ready_file: Path | None, until_eof: bool
) -> None:
    stop = stop_event(until_eof)
    plan, rates = settings.plan(), settings.rates
    server = NodeServer(number, plan, settings.addresses, rates, settings.seed, settings.tls)
    async with server:
        write_ready(ready_file, {"address": settings.addresses[number]})
        stopping = asyncio.create_task(stop.wait(), name="signal")
        await asyncio.wait({stopping, server.training}, return_when="FIRST_COMPLETED")
        if server.training.done():
            server.training.result()  # raises what kept it from its end
            typer.echo(f"node {number}: {server.node.report}", err=True)
            await stopping
        stopping.cancel()


async def _collected(plan: Plan, settings: NodesConfig) -> list[Array]:
    peers = RemotePeers(settings.addresses, 0, settings.tls)  # it looks again and again
    try:
        return await collected(plan, peers)
    finally:
        await peers.close()


if __name__ == "__main__":
    app()
