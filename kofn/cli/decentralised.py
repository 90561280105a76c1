"""`kofn train-coded --decentralised`: nodes here that train together with nobody in the middle."""

import asyncio
import contextlib
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kofn.cli.output import print_json, words
from kofn.wire.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from kofn.launch import LocalNodes
    from nodes.config import NodesConfig
    from nodes.wire import RemotePeers
    from training.coded.nodes import Array
    from training.coded.peer_plan import Plan

OPTIONS = ("hidden", "activation")  # of the network
LOOK_AGAIN_S = 0.5
MOST_DEATHS = 5  # of one node: it would not come up any more
MOST_STEP_S = 10.0  # a step takes far less
LOG_TAIL = 1500


class _Over(Exception):
    """Nobody waits for the comparison any more."""


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes:
        right, images: of the test set.
        deaths: of nodes, each of which was started again.
        difference: relative, of the weights from those of the same training with whole weights,
            the largest of all layers; None where that was not asked for.
        plain_accuracy: on the test set, of that training.
    """

    test_accuracy: float
    right: int
    images: int
    nodes: int
    steps: int
    deaths: int
    wall_time_s: float
    difference: float | None
    plain_accuracy: float | None


def settings_of(
    options: dict[str, Any], faults: str | None, nodes: int, **more: Any
) -> "NodesConfig":
    """A training of nodes on this machine.

    Raises:
        typer.BadParameter: the network has no such option, or faults are not rates.
        ValueError: anything else that a training cannot be.
    """
    from nodes.config import FaultRates, NodesConfig

    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise typer.BadParameter(
            f"must be of {', '.join(OPTIONS)}, not {', '.join(unknown)}.", param_hint="--set"
        )
    try:
        rates = FaultRates.model_validate_json(faults or "{}")
    except ValueError as error:
        accepted = ", ".join(FaultRates.model_fields)
        raise typer.BadParameter(
            f"must be JSON with probabilities of {accepted}: {error}", param_hint="--faults"
        ) from error
    about = {"activation": "relu", **options, **more}  # as the mlp is over workers
    return NodesConfig.model_validate({"addresses": _free(nodes), "faults": rates, **about})


def train_together(settings: "NodesConfig", *, compare: bool, as_json: bool) -> None:
    """Start the nodes, wait for their weights, end them, and tell.

    SIGTERM ends the nodes as Ctrl-C does. Left alone they would end with their standard input, but
    look at that only once they run: from the midst of importing torch, tens of seconds later.
    """
    try:
        trained = asyncio.run(_until_told(_trained(settings, compare=compare)))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    words.print(
        f"test accuracy {trained.test_accuracy:.4f} on {trained.images} images, after "
        f"{trained.wall_time_s:.0f} s; {trained.deaths} nodes died and came back"
    )
    if trained.difference is not None:
        words.print(
            f"weights differ by {trained.difference:.1e} from those trained without nodes, whose "
            f"test accuracy is {trained.plain_accuracy:.4f}"
        )
    if as_json:
        print_json(asdict(trained))


async def _until_told(training: "Coroutine[Any, Any, Trained]") -> Trained:
    """The same, cancelled by SIGTERM."""
    task = asyncio.create_task(training, name="training")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _trained(settings: "NodesConfig", *, compare: bool) -> Trained:
    import numpy as np

    from kofn.launch import LocalNodes
    from models import data
    from nodes.wire import RemotePeers

    count = len(settings.addresses)
    plan, test = settings.plan(), data.load(settings.dataset, "test")
    deaths: Counter[str] = Counter()
    given_up: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def died(name: str, status: int) -> None:
        deaths[name] += 1
        words.print(f"{name} died ({status}); it makes its block anew when it is back")
        if deaths[name] == MOST_DEATHS and not given_up.done():
            given_up.set_result(name)

    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kofn-")))
        config = folder / "nodes.json"
        config.write_text(settings.model_dump_json())
        here = LocalNodes(count, config, on_death=died)
        with words.status(f"starting {count} nodes"):
            await stack.enter_async_context(here.running(folder))
        peers = RemotePeers(settings.addresses, 0, settings.tls)
        stack.push_async_callback(peers.close)
        began_s = time.perf_counter()
        weights = await _collected(plan, peers, here, given_up)
        took_s = time.perf_counter() - began_s
    images, labels = test.images.flatten(1).numpy(), test.labels.numpy()

    def right(weights: "list[Array]") -> int:
        return int((plan.network.predict(weights, images) == labels).sum())

    difference = plain_accuracy = None
    if compare:
        plain = await _plainly(plan)
        plain_accuracy = right(plain) / len(images)
        difference = max(
            float(np.linalg.norm(one - other) / np.linalg.norm(other))
            for one, other in zip(weights, plain, strict=True)
        )
    hits = right(weights)
    return Trained(
        hits / len(images), hits, len(images), count, plan.recipe.steps, deaths.total(),
        round(took_s, 2), difference, plain_accuracy,
    )  # fmt: skip


async def _collected(
    plan: "Plan", peers: "RemotePeers", here: "LocalNodes", given_up: "asyncio.Future[str]"
) -> "list[Array]":
    """The weights, when all steps are done; the steps are shown meanwhile.

    Raises:
        Unavailable: a node died again and again.
        StateLost: see `nodes.collecting.collected`.
    """
    from nodes.collecting import collected

    showing = asyncio.create_task(_show(plan, peers), name="progress")
    collecting = asyncio.create_task(
        collected(plan, peers, timeout_s=600 + MOST_STEP_S * plan.recipe.steps), name="collect"
    )
    try:
        either: set[asyncio.Future[Any]] = {collecting, given_up}
        await asyncio.wait(either, return_when="FIRST_COMPLETED")
        if not collecting.done():
            name = given_up.result()
            log = (await here.logs(name))[-LOG_TAIL:]
            raise Unavailable(f"{name} died {MOST_DEATHS} times:\n{log}")
        return collecting.result()
    finally:
        showing.cancel()
        collecting.cancel()
        await asyncio.gather(showing, collecting, return_exceptions=True)


async def _show(plan: "Plan", peers: "RemotePeers") -> None:
    from rich import progress as rich

    from training.coded.peers import Standing

    columns = (
        rich.TextColumn("training without a master"),
        rich.BarColumn(),
        rich.TextColumn("step {task.completed}, {task.fields[up]} nodes"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=words, transient=True) as shown:
        bar = shown.add_task("", total=plan.recipe.steps, up=0)
        while True:
            asked = (peers.standing(node) for node in range(plan.count))
            found = await asyncio.gather(*asked, return_exceptions=True)
            steps = [one.step for one in found if isinstance(one, Standing)]
            if steps:
                shown.update(bar, completed=statistics.median_high(steps), up=len(steps))
            await asyncio.sleep(LOOK_AGAIN_S)


async def _plainly(plan: "Plan") -> "list[Array]":
    """Weights of the same training without nodes."""
    from training.coded.plain import plainly

    is_over = threading.Event()

    def tell(step: int) -> None:
        if is_over.is_set():
            raise _Over

    try:
        with words.status("training with whole weights, to compare"):
            return await asyncio.to_thread(plainly, plan, tell)
    finally:
        is_over.set()


def _free(count: int) -> list[str]:
    """Addresses of this machine that nobody listens at."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in held]
