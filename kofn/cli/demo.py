"""`kofn demo`: five ways to serve, in turns on one cluster with a straggler and a killed worker.

Every turn is the same for all: the same workers, the same arrivals, the same faults. The systems
differ in what the master does with a coding group, and in nothing else.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import kofn
from kofn.cli.output import Json, StoreFolder, paper, print_json, print_table, words

if TYPE_CHECKING:
    from rich.progress import Progress

    from bench.load.driving import Server
    from bench.load.seen import Seen
    from bench.outcomes import Outcome
    from kofn.launch import Cluster
    from models.data import DataSet

WORKERS, K, N = 6, 4, 6
STRAGGLER, VICTIM = "worker-1", "worker-4"
STRAGGLER_FAULTS = {"delay": {"law": "expon", "shift_ms": 30, "scale_ms": 150}}
REQUEST_ROWS = 8
DEADLINE_S = 1.0
KILL_AT = 0.4  # of a turn
BACK_S = 60.0  # how long a killed worker may take to come back
MODEL = "digits-mlp"
STUDENT = "digits-mlp.backup-k4-r2"  # what the trained code's extra workers run
STUDENT_EPOCHS, STUDENT_RECIPE = 100, {"batch_size": 32, "learning_rate": 1e-2}

# What every system is: a code and a policy over the same program and workers.
_PLAIN = {"wait": "soft", "soft_deadline": "3*p50"}
SYSTEMS: dict[str, dict[str, Any]] = {
    "uncoded": {
        "code": {"name": "uncoded", "k": K},
        "policy": {**_PLAIN, "max_sends": 1},
    },
    "replication": {
        "code": {"name": "replication", "k": K, "n": N},
        "policy": {**_PLAIN, "max_sends": 1},
    },
    "hedged": {
        "code": {"name": "uncoded", "k": K},
        "policy": {**_PLAIN, "hedge": "p95", "max_sends": 2},
    },
    "coded": {
        "code": {"name": "parity", "k": K, "n": N, "calibrated": True},
        "policy": {**_PLAIN, "max_sends": 1},
    },
    "trained": {
        "code": {"name": "backup", "k": K, "n": N, "checkpoint": STUDENT, "calibrated": True},
        "policy": {**_PLAIN, "max_sends": 1},
    },
}
TITLES = {
    "uncoded": "uncoded",
    "replication": "replication",
    "hedged": "hedged requests",
    "coded": "coded",
    "trained": "coded, trained",
}


@dataclass
class Measured:
    """What was seen of one system."""

    seen: "list[Seen]"
    clean: float = 0.0
    tasks: int = 0
    busy_s: float = 0.0


def demo(
    seconds: Annotated[
        float, typer.Option(min=1, help="Of load for each system, in two turns.")
    ] = 10.0,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second, Poisson.")] = 40.0,
    plot: Annotated[Path, typer.Option(help="Where the latency plot goes (PNG).")] = Path(
        "kofn-demo.png"
    ),
    seed: Annotated[int, typer.Option(help="Of arrivals and order.")] = 0,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """See a straggler and a killed worker beaten: one table and one plot, in under two minutes.

    Trains a classifier of digits and a small student of it where there are none yet, starts a
    master and six workers, slows one worker, kills another in mid-run, and asks for the held-out
    images five ways in turns.
    """
    import torch

    from bench.plots import latency_cdf
    from kofn.cli.usual import provide_model

    torch.set_num_threads(1)
    provide_model(MODEL, store)
    _provide_student(store)
    measured = asyncio.run(_measure(seconds, rate, seed, store))
    from models import data

    test = data.load("digits", "test")
    rows = {name: _row(found, test) for name, found in measured.items()}
    latencies = {
        TITLES[name]: np.concatenate([turn.latency_s for turn in found.seen])
        for name, found in measured.items()
    }
    latency_cdf(
        plot,
        latencies,
        "A straggler and a killed worker: how long requests take",
        f"{WORKERS} workers, {rate:g} requests/s of {REQUEST_ROWS} digits",
    )
    if as_json:
        print_json({"systems": rows, "plot": str(plot)})
        return
    _print(rows, plot)


def _provide_student(folder: Path | None) -> None:
    """Train the trained code's student, in seconds, where the store has none for this model."""
    from kofn.cli.trainings import training_bar
    from models.store import Store
    from training.basis import basis
    from training.codes import CodePlan, student_within, train_code

    store = Store(folder)
    base = basis(MODEL, store)
    if STUDENT in (card.name for card in store.codes.trained_for(base.card.hash)):
        return
    plan = CodePlan(
        "backup",
        K,
        N - K,
        student=student_within(base, 1 / K),
        epochs=STUDENT_EPOCHS,
        recipe=STUDENT_RECIPE,
    )
    with training_bar(STUDENT) as progress:
        made = train_code(plan, base, progress=progress)
    store.codes.save(made.card, made.programs, made.weights, overwrite=True)
    words.print(f"{STUDENT}: {made.card.metrics['lost_only'].value:.4f} of lost answers right")


async def _measure(
    seconds: float, rate: float, seed: int, store: Path | None
) -> dict[str, Measured]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from bench.load.driving import Server
    from kofn.launch import Cluster, LocalWorkers
    from models import data

    test = data.load("digits", "test")
    deployments = [
        {"name": name, "program": MODEL, "timeout_ms": int(1e3 * DEADLINE_S), **system}
        for name, system in SYSTEMS.items()
    ]
    measured = {name: Measured([]) for name in SYSTEMS}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} requests"),
        TimeRemainingColumn(),
    )
    with words.status(f"starting a master and {WORKERS} workers"):
        cluster = Cluster(LocalWorkers(WORKERS), deployments, store=store)
        await cluster.__aenter__()
    try:
        async with kofn.AsyncClient(cluster.address) as client:
            for name, found in measured.items():
                found.clean = await _clean(client, name, test)
            await client.set_faults(STRAGGLER_FAULTS, [STRAGGLER])
            with Progress(*columns, console=words, transient=True) as progress:
                total = 2 * len(SYSTEMS) * _arrivals(seconds / 2, rate, seed)[0].size
                bar = progress.add_task("", total=total)
                for turn in range(2):
                    for name, found in measured.items():
                        progress.update(bar, description=f"turn {turn + 1} of 2: {TITLES[name]}")
                        server = Server(cluster.address, name, DEADLINE_S)
                        await _turn(
                            cluster, client, server, found, test,
                            _arrivals(seconds / 2, rate, seed + turn), progress,
                        )  # fmt: skip
    finally:
        await cluster.__aexit__()
    return measured


async def _clean(client: kofn.AsyncClient, model: str, test: "DataSet") -> float:
    """Accuracy over all held-out images, no worker lost."""
    answers = await client.infer(model, test.images.numpy(), wait="all", timeout_s=20)
    return float((answers.outputs.argmax(1) == test.labels.numpy()).mean())


def _arrivals(seconds: float, rate: float, seed: int) -> tuple[Any, Any]:
    """Times of the requests, and which images each holds."""
    from bench.load.arrivals import poisson
    from models import data

    times = poisson(rate, seconds, seed)
    images = len(data.load("digits", "test").images)
    order = np.random.default_rng(seed).permutation(images)
    return times, np.resize(order, (len(times), REQUEST_ROWS))


async def _turn(
    cluster: "Cluster",
    client: kofn.AsyncClient,
    server: "Server",
    found: Measured,
    test: "DataSet",
    arrivals: tuple[Any, Any],
    progress: "Progress",
) -> None:
    from bench.load.driving import drive

    times, requests = arrivals
    await cluster.all_up(BACK_S)
    before = await _spent(client, server.model)
    killing = asyncio.create_task(_kill_at(cluster, KILL_AT * float(times[-1])), name="kill")
    try:
        seen = await drive(
            server,
            test.images.numpy(),
            requests,
            times,
            lambda: progress.advance(progress.task_ids[0]),
        )
        found.seen.append(seen)
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
    after = await _spent(client, server.model)
    found.tasks += int(after[0] - before[0])
    found.busy_s += after[1] - before[1]


async def _kill_at(cluster: "Cluster", at_s: float) -> None:
    await asyncio.sleep(at_s)
    await cluster.kill(VICTIM)


async def _spent(client: kofn.AsyncClient, model: str) -> tuple[int, float]:
    """Tasks sent so far for a model, and seconds of service that workers reported."""
    status = await client.status()
    sent = next(told.tasks_sent for told in status.deployments if told.name == model)
    return sent, sum(worker.busy_s for worker in status.workers)


def _row(found: Measured, test: "DataSet") -> dict[str, Any]:
    from dataclasses import asdict

    from bench.load.seen import Seen
    from bench.outcomes import outcome

    told: Outcome = outcome(Seen.joined(found.seen), test.labels.numpy(), len(test.classes))
    return {
        "clean": found.clean,
        **asdict(told),
        "tasks_per_query": found.tasks / told.queries,
        "worker_ms_per_query": 1e3 * found.busy_s / told.queries,
    }


def _print(rows: dict[str, dict[str, Any]], plot: Path) -> None:
    def lost_only(row: dict[str, Any]) -> str:
        if row["lost_only"] is None:
            return "– (none lost)"
        low, high = row["lost_interval"]
        return f"{row['lost_only']:.3f} ({low:.2f}–{high:.2f}, {row['lost']} lost)"

    print_table(
        "A straggler and a killed worker",
        ("system", "workers", "slots per query", "worker ms per query", "p50 ms", "p99 ms",
         "p99.9 ms", "clean", "overall", "lost-only"),
        [
            (
                TITLES[name],
                WORKERS,
                f"{_slots(name):.2f}",
                f"{row['worker_ms_per_query']:.2f}",
                f"{row['p50_ms']:.1f}",
                f"{row['p99_ms']:.1f}",
                f"{row['p999_ms']:.1f}",
                f"{row['clean']:.4f}",
                f"{row['overall']:.4f}",
                lost_only(row),
            )
            for name, row in rows.items()
        ],
    )  # fmt: skip
    some = next(iter(rows.values()))
    paper.print(
        f"{some['requests']} requests of {REQUEST_ROWS} images a system, in two turns, in which "
        f"{STRAGGLER} was slow\n(30 ms + an exponential of mean 150 ms a task) and {VICTIM} was "
        f"killed. An answer that did not come\nwithin {DEADLINE_S:g} s counts as a guess; "
        f"p99.9 of so few requests is close to the largest."
    )
    paper.print(f"The distribution of latency: {plot}", soft_wrap=True)


def _slots(name: str) -> float:
    code = SYSTEMS[name]["code"]
    return float(code.get("n", code["k"])) / float(code["k"])
