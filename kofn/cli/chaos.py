"""`kofn chaos`, `kofn logs` and `kofn down`: what is done to workers from outside."""

import asyncio
from typing import Annotated, Literal

import typer

from kofn.cli.connection import At, connecting
from kofn.cli.output import words

Cluster = Annotated[
    str | None,
    typer.Option(
        help="Containers of this cluster or Compose project; default: those of the master."
    ),
]
# As `kofn.chaos.KINDS`, which is not imported before it is needed.
Kind = Literal[
    "pause", "unpause", "kill", "restart", "disconnect", "connect", "limit-cpu", "unlimit-cpu"
]


@connecting
def chaos(
    kind: Annotated[Kind, typer.Argument(help="What is done.")],
    workers: Annotated[list[str], typer.Argument(help="As in `kofn status`.")],
    cpus: Annotated[
        float | None, typer.Option(min=0.01, help="Of limit-cpu: so many CPUs, such as 0.5.")
    ] = None,
    cluster: Cluster = None,
    *,
    at: At,
) -> None:
    """Stop, kill, cut off or starve workers, and undo it.

    It acts on containers, of `kofn up --backend docker` and of `docker compose up` alike. Worker
    processes of a `kofn up` on this machine can be paused, unpaused, killed and restarted.

    A killed container stays dead until restart; `kofn up` starts killed processes again.
    """
    asyncio.run(_chaos(kind, workers, cpus, cluster, at))


async def _chaos(
    kind: str, workers: list[str], cpus: float | None, cluster: str | None, at: At
) -> None:
    from kofn.chaos import find

    async with at.async_client() as client:
        found = await find(client, cluster)
        try:
            for worker in workers:
                await found.act(worker, kind, cpus)
                words.print(f"{worker}: {kind}{'' if cpus is None else f' {cpus:g}'}")
        finally:
            await found.close()


def down(
    cluster: Annotated[str | None, typer.Argument(help="Its name; default: all of them.")] = None,
) -> None:
    """Remove the containers and networks of clusters that `kofn up --backend docker` made.

    `kofn up` removes its own at its end, and even when it is killed; this is for what a machine
    that went down has left.
    """
    from kofn.launch.engine import connect, remove

    client = connect()
    try:
        removed = remove(client, cluster)
    finally:
        client.close()
    words.print(f"removed {', '.join(removed)}" if removed else "nothing to remove")
