"""`kofn train-coded`: train a model whose weights lie coded on workers that compute wrongly."""

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kofn.cli.output import Json, Settings, StoreFolder, parameters, print_json, words
from kofn.cli.trainings import Overwrite, Seed

if TYPE_CHECKING:
    from kofn.wire.tls import Tls
    from training.coded.base import CodedPlan, CodedTrained
    from training.coded.run import Tell


class Stopped(Exception):
    """The user gave the training up."""


def train_coded(  # noqa: PLR0913 - each flag is an argument to typer
    model: Annotated[
        str, typer.Option(help="mlp, lenet or resnet18: its linear layers are coded.")
    ] = "mlp",
    dataset: Annotated[
        str, typer.Option(help="digits, mnist, fashion-mnist, cifar10, or files of your own.")
    ] = "digits",
    workers: Annotated[int, typer.Option(min=1, help="Processes here, one a node.")] = 12,
    targets: Annotated[
        str | None,
        typer.Option(help="Addresses of workers that run already, comma-separated, instead."),
    ] = None,
    blocks: Annotated[
        str,
        typer.Option(
            help="Of a weight's rows, and of its columns: 4, or 2,2. A node holds one of m n; "
            "with rows only, m nodes give a forward and 2 m - 1 a backward pass."
        ),
    ] = "4",
    steps: Annotated[int, typer.Option(min=1, help="In all.")] = 600,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a step.")] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option(min=0, help="Of SGD.")] = 0.0,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of SGD.")] = 0.0,
    clip: Annotated[float, typer.Option(min=0, help="Largest norm of a gradient; 0: any.")] = 0.0,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between copies.")] = 100,
    scrub_every: Annotated[
        int, typer.Option(min=1, help="Most steps between looks at all blocks.")
    ] = 10,
    faults: Annotated[
        str | None,
        typer.Option(help="Of the workers that are started here: JSON as in a scenario."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also train without workers, and tell the distance.")
    ] = False,
    decentralised: Annotated[
        bool,
        typer.Option(
            "--decentralised",
            help="Without a master: nodes here train an mlp together, each with its own blocks. "
            'Faults are then such as {"product": 0.1, "update": 0.02}.',
        ),
    ] = False,
    tls: Annotated[
        Path | None,
        typer.Option(
            help="With --targets, to dial them: a folder of ca.crt, and of tls.crt and tls.key to "
            "show. With --decentralised, by which nodes listen and dial: all three, for 127.0.0.1.",
        ),
    ] = None,
    tls_peer_name: Annotated[
        str | None,
        typer.Option(help="Name in the others' certificates, where it is not the one dialled."),
    ] = None,
    seed: Seed = 0,
    settings: Settings = None,
    name: Annotated[str, typer.Option(help="Keep the model in the store, by this name.")] = "",
    overwrite: Overwrite = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Train a model whose linear layers' weights lie coded on workers.

    No weight is decoded or encoded again between steps: products, gradients and updates are
    computed on coded blocks. Wrong products are located and left out, wrong blocks repaired, and
    the block of a worker that dies is made anew from the others', while the training goes on.
    """
    from kofn.wire.tls import Tls
    from models.folder import NameTaken
    from models.store import Store
    from training.coded import CodedRecipe, Policy
    from training.coded.base import CodedPlan

    reached = [target for target in (targets or "").split(",") if target]
    if tls is not None and not (reached or decentralised):
        raise typer.BadParameter("goes with --targets or --decentralised.", param_hint="--tls")
    if tls is None and tls_peer_name is not None:
        raise typer.BadParameter("goes with --tls.", param_hint="--tls-peer-name")
    files = None if tls is None else Tls.in_folder(tls.resolve(), tls_peer_name)
    if decentralised:
        from kofn.cli.decentralised import settings_of, train_together

        _check_alone({"--targets": targets, "--name": name, "--model": model != "mlp"})
        m, n = _blocks(blocks)
        if n != 1:
            raise typer.BadParameter(
                "must be of rows only without a master.", param_hint="--blocks"
            )
        told = settings_of(
            parameters(settings), faults, workers, dataset=dataset, blocks=m, steps=steps,
            batch_size=batch_size, lr=lr, momentum=momentum, weight_decay=weight_decay, clip=clip,
            dtype=dtype, checkpoint_every=checkpoint_every, scrub_every=scrub_every, seed=seed,
            tls=files,
        )  # fmt: skip
        train_together(told, compare=compare, as_json=as_json)
        return
    kept = Store(store)
    if name and name in kept.names() and not overwrite:
        raise NameTaken(f"Model {name!r} is kept already: choose --name, or --overwrite it.")
    if faults:
        if reached:
            raise typer.BadParameter("is for workers that are started here.", param_hint="--faults")
        from worker.faults_text import parse_faults

        parse_faults(faults).inlined(Path(os.curdir))
    plan = CodedPlan(
        dataset, model, parameters(settings), _dtype(dtype), _blocks(blocks),
        CodedRecipe(
            steps, batch_size, lr, momentum, weight_decay, clip, checkpoint_every, seed=seed
        ),
        Policy(scrub_every=scrub_every),
    )  # fmt: skip
    count = len(reached) or workers
    _check_nodes(plan, count)
    flags = ("--device", "cpu", "--log-level", "warning", *(("--faults", faults) if faults else ()))
    trained = asyncio.run(_over(reached, files, count, flags, plan, name, compare=compare))
    if name:
        kept.save(name, trained.archive, trained.card, overwrite=overwrite)
    _tell(trained, as_json)


def _check_alone(given: dict[str, Any]) -> None:
    for flag, value in given.items():
        if value:
            raise typer.BadParameter("is not for --decentralised.", param_hint=flag)


def _dtype(text: str) -> Any:
    if text not in ("float32", "float64"):
        raise typer.BadParameter(f"must be float32 or float64, not {text!r}.", param_hint="--dtype")
    return text


def _blocks(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) > 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(
            f"must be one or two whole numbers from 1, such as 4 or 2,2, not {text!r}.",
            param_hint="--blocks",
        )
    return int(parts[0]), int(parts[1]) if len(parts) == 2 else 1


def _check_nodes(plan: "CodedPlan", count: int) -> None:
    """Refuse, before anything is started, what the code would; raises ValueError."""
    from codes.polydot import Layer

    Layer(*plan.blocks, count)


async def _over(
    addresses: list[str], tls: "Tls | None", count: int, flags: tuple[str, ...], plan: "CodedPlan",
    name: str, *, compare: bool,
) -> "CodedTrained":  # fmt: skip
    """Train over workers that run already, or over some that are started for it."""
    from kofn.coded import WorkerNodes
    from kofn.launch import LocalWorkers
    from kofn.matrices.worker import MatrixWorker
    from training.coded.base import train_coded as train

    async with contextlib.AsyncExitStack() as stack:
        if not addresses:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kofn-")))
            here = LocalWorkers(count, flags=flags, on_death=_tell_death)
            with words.status(f"starting {count} workers"):
                await stack.enter_async_context(here.running(folder))
            addresses = [worker.address for worker in here.workers]
        remote = [MatrixWorker(address, tls) for address in addresses]
        for worker in remote:
            stack.push_async_callback(worker.close)
        nodes = WorkerNodes(remote, asyncio.get_running_loop(), plan.recipe.seed)
        return await _in_thread(
            lambda tell: train(plan, nodes, name=name, compare=compare, tell=tell),
            plan.recipe.steps,
        )


async def _in_thread(work: Callable[["Tell"], "CodedTrained"], steps: int) -> "CodedTrained":
    """Run a training in a thread, with a bar; who gives it up waits for the end of a step,
    or of the comparison."""
    from rich import progress as rich

    is_over = threading.Event()
    columns = (
        rich.TextColumn("training on coded weights"),
        rich.BarColumn(),
        rich.TextColumn("step {task.completed}, loss {task.fields[loss]:.3f}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=words, transient=True) as shown:
        bar = shown.add_task("", total=steps, loss=float("nan"))

        def tell(step: int, loss: float) -> None:
            if is_over.is_set():
                raise Stopped
            shown.update(bar, completed=step, loss=loss)

        running = asyncio.ensure_future(asyncio.to_thread(work, tell))
        try:
            return await asyncio.shield(running)
        finally:
            is_over.set()
            await asyncio.gather(running, return_exceptions=True)


def _tell_death(name: str, status: int) -> None:
    words.print(f"{name} died ({status}); its block is made anew when it is back")


def _tell(trained: "CodedTrained", as_json: bool) -> None:
    from dataclasses import asdict

    accuracy = trained.card.metrics["test_accuracy"]
    report = trained.report
    words.print(
        f"test accuracy {accuracy.value:.4f} on {accuracy.count} images, after "
        f"{trained.card.wall_time_s:.0f} s"
    )
    words.print(
        f"{report.located} wrong products left out, {report.retries} asked for again, "
        f"{report.repaired} blocks made anew, {report.replayed} steps replayed, "
        f"{report.rollbacks} roll-backs"
    )
    if trained.difference is not None:
        words.print(
            f"weights differ by {trained.difference:.1e} from those trained without workers, whose "
            f"test accuracy is {trained.plain_accuracy:.4f}"
        )
    if as_json:
        compared = {name: getattr(trained, name) for name in ("difference", "plain_accuracy")}
        print_json({**asdict(trained.card), **asdict(report), **compared})
