"""`kofn plan`: which code, sizes and policy to serve a model with, searched in virtual time."""

import shlex
import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kofn.cli.output import Json, StoreFolder, paper, print_json, print_table
from kofn.cli.simulated import arrivals_of, bar, faults_of, fleet_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planner.search import Found, Plan, Wish
    from report.cells import Cell

NOTHING_MEETS = 1  # exit status


def plan(  # noqa: PLR0913 - each flag is an argument to typer
    slo_ms: Annotated[float, typer.Option(help="What a request may take.")],
    quantile: Annotated[float, typer.Option(help="Share of requests that must keep to it.")] = 0.99,
    accuracy_floor: Annotated[
        float, typer.Option(help="Least accuracy over all queries, lost ones included.")
    ] = 0.0,
    model: Annotated[str, typer.Option(help="Name in the model store.")] = "digits-lenet",
    workers: Annotated[int, typer.Option(min=1, help="How many there are.")] = 6,
    rate: Annotated[float | None, typer.Option(help="Requests a second, Poisson.")] = None,
    load: Annotated[
        float | None,
        typer.Option(help="Instead: share of the workers' time that it takes uncoded. [0.3]"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Queries of a request.")] = 1,
    service: Annotated[
        str,
        typer.Option(
            help="Of the model's task: 5ms, or JSON as a fault's delay: '{law: expon, ...}'."
        ),
    ] = "5ms",
    straggler: Annotated[
        str | None,
        typer.Option(help="Delay before it: '{law: constant, value_ms: 100, probability: 0.05}'."),
    ] = None,
    straggling: Annotated[
        int | None, typer.Option(min=1, help="So many workers have it; default: all.")
    ] = None,
    worker_rows: Annotated[
        int, typer.Option(min=1, help="Most groups of one pass; 1 serves task by task.")
    ] = 256,
    queries: Annotated[
        int, typer.Option(min=100, help="Simulated for each candidate; five times for the best.")
    ] = 10_000,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Measured accuracies: files or folders; default: bench/results of the source."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the deployment file goes.")] = Path("plan.yaml"),
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Search code, k, n, R and policy for a latency at a quantile and an accuracy, at least cost.

    Candidates are uncoded, hedged, copies, and the trained codes that the store has for the model;
    accuracies are those that were measured of them, each with its source. A task takes as long,
    however many queries are in it; a student's, a trunk's or a stem's its share of the model's, by
    multiply-adds. Prints what nothing beats in tail, accuracy and work, and writes a deployment
    file of the cheapest that meets all. Status 1 where nothing does.
    """
    from models.store import Store
    from planner.advice import advice
    from planner.candidates import candidates
    from planner.search import Conditions, Wish, search
    from planner.writing import deployment_file, write

    wish = Wish(slo_ms / 1e3, quantile, accuracy_floor)
    fleet = fleet_of(
        str(workers), service, faults_of(straggler, None), straggling, max_rows=worker_rows
    )
    if rate is None and load is None:
        load = 0.3
    arrivals = arrivals_of(rate, load, None, fleet, rows)
    able = candidates(
        model, Store(store), workers, arrivals.rate * rows, wish.slo_s, _cells(records)
    )
    with bar("candidates") as tell:
        found = search(able, Conditions(fleet, arrivals, rows), wish, -(-queries // rows), tell)
    said = list(advice(found, wish))
    command = shlex.join(["kofn", *sys.argv[1:]])
    if found.chosen is not None:
        write(out, deployment_file(found.chosen, wish, command, workers))
    if as_json:
        print_json(_facts(found, wish, said, out))
    else:
        _print(found, wish, said, f"{model}, {workers} workers, {arrivals.rate:.4g} requests/s")
        if found.chosen is not None:
            paper.print(f"\nkofn up --config {shlex.quote(str(out))} --workers {workers}")
    if found.chosen is None:
        raise typer.Exit(NOTHING_MEETS)


def _cells(given: list[Path] | None) -> "list[Cell]":
    """Accuracies of records; none where there is no source tree and nothing is given."""
    from bench.records import RESULTS
    from report.cells import cells
    from report.records import read

    if given is None and not RESULTS.is_dir():
        return []
    return cells(read(given or [RESULTS]))


def _print(found: "Found", wish: "Wish", said: "Sequence[str]", title: str) -> None:
    from planner.writing import sources

    numbered = sources(found.front)
    print_table(
        f"What nothing beats, simulated: {title}",
        ("system", "policy", f"p{100 * wish.quantile:g} ms", "p50 ms", "accuracy", "from",
         "work ms a query", "slots a query", "workers busy", "meets all"),
        [
            (
                plan.candidate.title,
                plan.candidate.policy,
                f"{1e3 * plan.tail_s:.1f}",
                f"{1e3 * plan.middle_s:.1f}",
                f"{plan.accuracy:.4f}",
                f"[{numbered[plan.candidate.worth.source]}]",
                f"{1e3 * plan.cost_s:.2f}",
                f"{plan.slots:.2f}",
                f"{100 * plan.utilisation:.0f} %",
                "yes" if plan.meets(wish) else "no",
            )
            for plan in found.front
        ],
    )  # fmt: skip
    for source, number in numbered.items():
        paper.print(f"[{number}] {source}", markup=False, soft_wrap=True)
    for line in said:
        paper.print(f"\n{line}", markup=False, soft_wrap=True)


def _facts(found: "Found", wish: "Wish", said: "Sequence[str]", out: Path) -> dict[str, Any]:
    return {
        "front": [_row(plan, wish) for plan in found.front],
        "chosen": None if found.chosen is None else _row(found.chosen, wish),
        "nearest": _row(found.nearest, wish),
        "simulated": len(found.plans),
        "too_inaccurate": [one.title for one in found.too_inaccurate],
        "advice": list(said),
        "file": None if found.chosen is None else str(out),
    }


def _row(plan: "Plan", wish: "Wish") -> dict[str, Any]:
    finite = plan.tail_s if isfinite(plan.tail_s) else None
    return {
        "system": plan.candidate.title,
        "policy": plan.candidate.policy,
        "tail_ms": None if finite is None else 1e3 * finite,
        "p50_ms": 1e3 * plan.middle_s,
        "accuracy": plan.accuracy,
        "accuracy_from": plan.candidate.worth.source,
        "worker_ms_per_query": 1e3 * plan.worker_s,
        "master_ms_per_query": 1e3 * plan.master_s,
        "slots_per_query": plan.slots,
        "utilisation": plan.utilisation,
        "requests": plan.requests,
        "meets": plan.meets(wish),
    }
