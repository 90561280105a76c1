"""`python -m bench load`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from kofn.cli.connection import DEFAULT_MASTER, Master, PeerName, TlsFolder
from kofn.cli.output import Json, print_json, print_table
from kofn.cli.output import words as console

if TYPE_CHECKING:
    from bench.load.seen import Seen
    from models.data import DataSet

MOST_ERRORS = 3  # told of those requests that failed


def load(  # noqa: PLR0913 - each flag is an argument to typer
    model: Annotated[
        str | None, typer.Option(help="Deployment; default: the only one there is.")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Whose test images are asked for: digits, mnist, ..., a folder.")
    ] = "digits",
    rate: Annotated[float, typer.Option(min=0.01, help="Requests a second, Poisson.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of load.")] = 10.0,
    trace: Annotated[
        Path | None,
        typer.Option(help="Send times in place of that: a file, seconds, one a line, in order."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Images a request.")] = 1,
    deadline_ms: Annotated[int, typer.Option(min=1, help="Of a request.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and order.")] = 0,
    master: Master = DEFAULT_MASTER,
    tls: TlsFolder = None,
    tls_peer_name: PeerName = None,
    as_json: Json = False,
) -> None:
    """Open-loop load from a process of its own: latency from the intended send time.

    Says when it could not keep up. Exit status 1 then, or when no request was answered.
    """
    import kofn
    from bench.load.arrivals import choose, poisson, read_trace
    from bench.load.driving import Server
    from kofn.cli.infer import only_model
    from models import data

    try:
        test = data.load(dataset, "test")
        times = poisson(rate, seconds, seed) if trace is None else read_trace(trace)
        security = None if tls is None else kofn.Tls.in_folder(tls, tls_peer_name)
        with kofn.Client(master, tls=security) as client:
            name = model or only_model(client)
        server = Server(master, name, deadline_ms / 1e3, security)
        requests = choose(len(test.images), len(times), rows, seed)
        with console.status(f"{len(times)} requests in {times[-1] if len(times) else 0:.1f} s"):
            seen = asyncio.run(_drive(server, test.images.numpy(), requests, times, tls))
    except (kofn.KofnError, ValueError, OSError) as error:
        console.print(f"[red]load[/]: {error}")
        raise typer.Exit(2) from error
    if not len(seen):
        console.print("[red]load[/]: no request fell into this time")
        raise typer.Exit(2)
    told = summary(seen, test)
    if as_json:
        print_json({"model": name, "seconds": float(times[-1]), **told})
    else:
        _print(name, told, len(times) / float(times[-1]) if times[-1] else np.inf)
    for text in told["errors"][:MOST_ERRORS]:
        console.print(f"failed: {text}", markup=False)
    if not told["load"]["kept_up"]:
        console.print(
            f"[red]it could not keep up[/]: {100 * told['load']['late_share']:.1f} % of the "
            "requests left late; latencies count from when they should have left."
        )
    if not told["load"]["kept_up"] or told["answered"] == 0:
        raise typer.Exit(1)


def summary(seen: "Seen", test: "DataSet") -> dict[str, Any]:
    """All that is told of a load.

    Args:
        seen: at least one request.
        test: whose images it held.
    """
    from bench.load.figures import Kept, Latency
    from bench.load.histogram import LogHistogram
    from bench.outcomes import outcome
    from kofn.wire.source import Source

    told = outcome(seen, test.labels.numpy(), len(test.classes))
    return {
        "requests": told.requests,
        "queries": told.queries,
        "answered": told.queries - told.missing,
        "decoded": int((seen.source == Source.DECODED).sum()),
        "missing": told.missing,
        "accuracy": told.overall,
        "errors": sorted(set(seen.errors.values())),
        "latency": Latency.of(LogHistogram.of(seen.latency_s)).model_dump(),
        "load": Kept.of(seen).model_dump(),
    }


async def _drive(
    server: Any, images: Any, requests: Any, times: Any, tls_folder: Path | None
) -> "Seen":
    from bench.load.process import LoadProcess

    async with LoadProcess() as process:
        await process.prepare(server, images, requests, times, tls_folder)
        return await process.run()


def _print(model: str, told: dict[str, Any], rate: float) -> None:
    latency, load = told["latency"], told["load"]
    low, high = latency["p999_interval_ms"]
    print_table(
        f"{model}: {told['requests']} requests, {rate:.0f} a second",
        ("answered", "decoded", "missing", "accuracy", "p50 ms", "p90", "p99", "p99.9", "95 %",
         "max", "gap", "late requests", "p99 late ms"),
        [
            (
                told["answered"],
                told["decoded"],
                told["missing"],
                f"{told['accuracy']:.4f}",
                *(f"{latency[f'{name}_ms']:.1f}" for name in ("p50", "p90", "p99", "p999")),
                f"{low:.1f}–{'?' if high is None else f'{high:.1f}'}",
                f"{latency['max_ms']:.1f}",
                f"{latency['tail_gap_ms']:.1f}",
                f"{100 * load['late_share']:.2f} %",
                f"{load['late_p99_ms']:.1f}",
            )
        ],
    )  # fmt: skip
