"""Which workers `kofn up` gets, and what it tells until it ends."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from kofn.cli.output import words
from kofn.service import stop_event, write_ready
from kofn.wire.errors import KofnError

if TYPE_CHECKING:
    from kofn.launch import Cluster, Launcher

Backend = Literal["local", "docker", "static", "ray"]


def launcher(
    backend: Backend,
    workers: int,
    *,
    targets: Sequence[str],
    image: str | None,
    device: str,
    flags: Sequence[str],
    tls: Path | None = None,
) -> "Launcher":
    """The launcher of a backend.

    Args:
        backend: its name.
        workers: how many, but for static ones.
        targets: of static workers.
        image: of containers; None is the usual one.
        device: of the workers.
        flags: of `python -m worker`, for all of them, but for the device.
        tls: folder of the files that workers speak TLS with.
    """
    from kofn import launch
    from kofn.launch.containers import IMAGE

    if backend == "static":
        return launch.StaticWorkers(targets)
    if backend == "docker":
        return launch.DockerWorkers(
            workers, image=image or IMAGE, device=device, flags=flags, tls=tls, on_death=_tell_death
        )
    if backend == "ray":
        return launch.RayWorkers(workers, device=device, flags=flags, on_death=_tell_death)
    secured = () if tls is None else ("--tls", str(tls))
    flags = ("--device", device, *secured, *flags)
    return launch.LocalWorkers(workers, flags=flags, on_death=_tell_death)


def check(backend: Backend, targets: Sequence[str], image: str | None, faults: str | None) -> None:
    """Refuse flags that another backend would need.

    Raises:
        typer.BadParameter: says which.
    """
    if (backend == "static") != bool(targets):
        raise typer.BadParameter(
            "goes with --backend static, and must be there.", param_hint="--targets"
        )
    if image is not None and backend != "docker":
        raise typer.BadParameter("goes with --backend docker.", param_hint="--image")
    if faults is not None and backend == "static":
        raise typer.BadParameter(
            "is for workers that are started here; `kofn faults set` tells others.",
            param_hint="--faults",
        )


async def stay(cluster: "Cluster", ready_file: Path | None, until_eof: bool) -> None:
    """Run a cluster until a signal, or until the master ends."""
    stop = stop_event(until_eof)
    stopping = asyncio.create_task(stop.wait(), name="signal")
    running = asyncio.create_task(_run(cluster, ready_file), name="cluster")
    try:
        await asyncio.wait({stopping, running}, return_when="FIRST_COMPLETED")
        if running.done():
            running.result()  # raises what ended it
        words.print("draining")
    finally:
        stopping.cancel()
        running.cancel()
        (outcome,) = await asyncio.gather(running, return_exceptions=True)
    if isinstance(outcome, KofnError):
        raise outcome  # it did not end well


async def _run(cluster: "Cluster", ready_file: Path | None) -> None:
    with words.status("starting the workers and the master"):
        await cluster.__aenter__()
    try:
        words.print(f"serving at {cluster.address}, metrics at {cluster.metrics_address}")
        if label := cluster.launcher.cluster:
            words.print(f"containers of the cluster {label}")
        words.print(f"logs in {cluster.folder}; Ctrl-C ends it")
        write_ready(
            ready_file,
            {
                "address": cluster.address,
                "metrics_address": cluster.metrics_address,
                "cluster": cluster.launcher.cluster,
                "master": {"address": cluster.address, "pid": cluster.master_pid},
                "workers": [
                    {"name": worker.name, "address": worker.address, "pid": worker.pid}
                    for worker in cluster.workers
                ],
            },
        )
        await cluster.wait()
    finally:
        await cluster.__aexit__()


def _tell_death(name: str, status: int) -> None:
    words.print(f"{name} died ({status})")
