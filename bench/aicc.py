"""Functions of matrices, trained on mixes, beside the codes that need no training.

One record a function, size and system: the squared error of all answers by number of responders,
as a share of their variance, so that 1 is what answering the mean is worth. Trains what the store
lacks; every system runs the same test matrices through the code objects that serve.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor

import codes
from bench import records
from bench.plots import errors_by_answers
from bench.readme import markdown
from codes.base import BASE, Code
from codes.calibrated import Calibrated, measure_moments
from codes.interpolation import POINTS
from codes.lagrange import Lagrange
from codes.split_lagrange import TRUNK, SplitLagrange
from kofn.cli.trainings import training_bar
from models import data
from models.data import DataSet
from models.functions import FUNCTIONS, SIZES, TARGETS, MatrixFunction, Target
from models.programs import load_program
from models.store import Store
from models.trained import CodeCard
from training.aicc import AiccPlan, function_model, train_aicc
from training.errors import answered, errors_by_size
from training.loop import on_threads
from training.measure import Module

K, SLOTS = 4, (5, 8)
TABLE = "aicc"
DRAWN = (
    "replication", "Berrut", "Berrut, calibrated", "exact, degree 1", "trained, R = 4",
    "trained, R = 6", "trained, R = 8", "trained, R = 4, calibrated",
)  # fmt: skip
COMMAND = f"python -m bench {TABLE}"
PLOT = Path(__file__).resolve().parents[1] / "docs" / "aicc.png"
SHOWN = {5: (1, 2, 3, 4, 5), 8: (2, 4, 5, 6, 8)}  # numbers of responders in the tables, by n


def measure(
    target: Target, thresholds: Sequence[int], store: Store, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """The records of one function: each system's errors by number of responders.

    Args:
        target: the function and the size of its matrices.
        thresholds: R of the networks, k to n.
        store: for the networks; those that it lacks are trained.
        seed: of the trainings.
    """
    function: Mapping[str, Module] = {BASE: MatrixFunction(target)}
    validation, test = data.load(target.name, "validation"), data.load(target.name, "test")
    assert test.targets is not None
    raw = test.targets * target.units[1] + target.mean
    facts = {
        "spread": float(raw.var(0, correction=0).sum() / raw.square().sum(1).mean()),
        "linear": _linear_share(test.images, test.targets),
    }
    networks = {threshold: _trained(target, threshold, store, seed) for threshold in thresholds}

    def error(code: Code) -> float:
        found = errors_by_size(code, *answered(code, function, validation))
        return sum(mean for mean, _ in found.values())

    for n in SLOTS:

        def told(
            system: str, code: Code, modules: Mapping[str, Module] = function
        ) -> dict[str, Any]:
            found = errors_by_size(code, *answered(code, modules, test))
            return {
                "function": target.function,
                "size": target.size,
                "k": K,
                "n": code.n,
                **facts,
                "system": system,
                "errors": [
                    {"answers": size, "mean": round(mean, 5), "worst": round(worst, 5)}
                    for size, (mean, worst) in found.items()
                ],
            }

        yield told("replication", codes.make("replication", k=K, n=n))
        berruts = [codes.make("berrut", k=K, n=n, points=points) for points in POINTS]
        yield told("Berrut", min(berruts, key=error))
        best = min((_calibrated(code, function, validation) for code in berruts), key=error)
        yield told("Berrut, calibrated", best)
        for degree in (1, 2):
            possible = [*_exact(n, degree)]
            if possible:
                yield told(f"exact, degree {degree}", min(possible, key=error))
        for threshold, network in networks.items():
            if threshold > n:
                continue
            code, modules = replace(network.code, n=n), {**function, TRUNK: network.trunk}
            more = {
                "recovery_threshold": threshold,
                "noise": code.noise,
                "time_cost": network.card.time_cost,
                "seconds": network.card.wall_time_s,
                "recipe": network.card.recipe,
                "seed": seed,
            }
            name = f"trained, R = {threshold}"
            yield {**told(name, code, modules), **more}
            best = _calibrated(code, modules, validation)
            yield {**told(f"{name}, calibrated", best, modules), **more}


def _linear_share(images: Tensor, targets: Tensor) -> float:
    """How much of the variance a linear function of the matrix explains."""
    rows = torch.cat([images.flatten(1), torch.ones(len(images), 1)], 1).double()
    residual = targets.double() - rows @ (torch.linalg.pinv(rows) @ targets.double())
    variance = targets.double().var(0, correction=0).sum()
    return 1 - float(residual.square().sum(1).mean() / variance)


def _calibrated(code: Code, modules: Mapping[str, Module], validation: DataSet) -> Code:
    return Calibrated(code, measure_moments(code, modules, validation.images))


def _exact(n: int, degree: int) -> Iterator[Code]:
    """Exact codes for a guessed degree, on every curve on which n slots suffice."""
    for points in ("circle", "first", "second"):
        try:
            yield Lagrange(K, n, degree, points)
        except ValueError:  # the circle needs one more for even k
            continue


@dataclass(frozen=True)
class Network:
    """A trained one: its card, its code and what its slots run."""

    card: CodeCard
    code: SplitLagrange
    trunk: Module


def _trained(target: Target, threshold: int, store: Store, seed: int) -> Network:
    slots = tuple(n for n in (5, 6, 8) if n >= threshold)
    name = f"{target.name}.split-lagrange-k{K}-threshold{threshold}-seed{seed}"
    plan = AiccPlan(target.function, target.size, K, slots, threshold, name, seed)
    if name not in store.codes.names():
        with training_bar(name) as progress:
            made = train_aicc(plan, progress=progress)
        archive, base = function_model(target)
        store.save(base.name, archive, base)
        store.codes.save(made.card, made.programs)
    card = store.codes.card(name)
    program = load_program(store.codes.program(name, TRUNK))

    def trunk(rows: Tensor) -> Tensor:
        return program([rows])[0]

    return Network(card, SplitLagrange(**card.parameters), trunk)


def aicc(
    targets: Annotated[
        str, typer.Option(help="Of models, comma-separated; default: all.")
    ] = ",".join(TARGETS),
    thresholds: Annotated[
        str, typer.Option(help="R of the networks, comma-separated, 4 to 8.")
    ] = "4,6,8",
    seed: Annotated[int, typer.Option(help="Of the trainings.")] = 0,
    store: Annotated[
        Path | None,
        typer.Option(help="For the networks that are trained; default: beside the user's own."),
    ] = None,
    save: Annotated[bool, typer.Option(help="Append the records to bench/results.")] = True,
) -> None:
    """Error against the number of answers of functions of matrices, trained and untrained."""
    kept = Store(store or Store().root / ".bench")
    run = datetime.now(UTC).isoformat(timespec="seconds")
    console = Console(stderr=True, highlight=False)
    with on_threads(1):
        for name in targets.split(","):
            for record in measure(TARGETS[name], [*map(int, thresholds.split(","))], kept, seed):
                line = " ".join(f"{error['mean']:.3f}" for error in record["errors"])
                console.print(f"{name}, {record['system']}: {line}")
                if save:
                    whole = {"table": TABLE, **record, **records.provenance()}
                    records.append(TABLE, [{**whole, "run": run, "command": COMMAND}])
    if save:
        draw()


def newest() -> list[dict[str, Any]]:
    """The last record of each function, size, n and system, in the order of the first."""
    last: dict[tuple[object, ...], dict[str, Any]] = {}
    for record in records.read(TABLE):
        last[record["function"], record["size"], record["n"], record["system"]] = record
    return list(last.values())


def table(size: int, n: int) -> str:
    """The newest records for matrices of a size and n slots, in Markdown: mean over all sets of
    responders, and the worst set."""
    found = [record for record in newest() if (record["size"], record["n"]) == (size, n)]
    if not found:
        return f"Not measured yet: `{COMMAND}`.\n"
    rows = []
    for function in FUNCTIONS:
        for record in (record for record in found if record["function"] == function):
            errors = {error["answers"]: error for error in record["errors"]}
            cells = [f"{errors[m]['mean']:.3f} ({errors[m]['worst']:.2f})" for m in SHOWN[n]]
            rows.append((function, record["system"], f"{record.get('time_cost', 1):.1f}", *cells))
    titles = ("function", "system", "slot's time", *(f"{m} of {n}" for m in SHOWN[n]))
    last = max(found, key=lambda record: str(record["run"]))
    made = f"`{COMMAND}`, commit {last['commit']}, {last['run'][:10]}, {last['machine']}."
    return markdown(titles, rows) + f"\n{made}\n"


def functions_table() -> str:
    """What kind of functions these are, in Markdown."""
    found = {(record["function"], record["size"]): record for record in newest()}
    rows = [
        (function, size, f"{record['spread']:.2f}", f"{record['linear']:.2f}")
        for (function, size), record in found.items()
    ]
    titles = ("function", "d", "variance / mean square", "linear share of the variance")
    return markdown(titles, rows)


def draw() -> None:
    """Write the figure of the newest records."""
    panels = {
        f"{function}, {size}x{size}": {
            record["system"]: record["errors"]
            for record in newest()
            if (record["function"], record["size"], record["n"]) == (function, size, max(SLOTS))
            and record["system"] in DRAWN
        }
        for size in SIZES
        for function in FUNCTIONS
    }
    errors_by_answers(PLOT, panels)
