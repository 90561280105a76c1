"""A plan's systems at its points in virtual time: tails that no live run has the queries for.

The master's own decisions run (`simulator`), over the plan's laws, loads and policies. A task's
pass and way cost what they do on one machine that has nothing else to do, about; accuracy is not
asked.
"""

from collections.abc import Iterator
from typing import Any

from bench.adaptive import WAY
from bench.sweep.plan import Plan, Point, System
from bench.sweep.text import ContentionText
from kofn.settings import SettingsError
from master.config import DeploymentConfig
from models.store import Store
from planner.candidates import work_of
from simulator import Contention, Outcome, Poisson, Setting, Workers, simulate
from simulator.setting import MAX_ROWS
from worker.faults_text import FaultsText
from worker.laws import Constant

PASS = Constant(0.001)  # of a small network, for a coding group
QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}
FIGURES = (*QUANTILES, "gap_ms")
TITLES = ("system", "p50 ms", "p90", "p95", "p99", "p99.9", "gap", "sent a query", "decoded",
          "missing", "busy")  # fmt: skip
Record = dict[str, Any]


def simulated(plan: Plan, requests: int, store: Store, seed: int = 0) -> Iterator[Record]:
    """A record for each point and system of a plan.

    Args:
        plan: that was checked.
        requests: of each; a tenth as many come before them.
        store: has what trained codes cost; what it lacks is taken to cost a task.
        seed: of arrivals and delays.

    Raises:
        SettingsError: contention that is more than delays.
    """
    for point in plan.points:
        straggler = plan.text.stragglers[point.straggler]
        if isinstance(straggler, ContentionText):
            contention, faults = _contention(plan, point, straggler), straggler.otherwise
        else:
            contention, faults = None, straggler
        for system in plan.systems(point.workers):
            if system.deployment is not None:  # Ray Serve decides by itself
                deployment = system.deployment
                setting = Setting(
                    deployment.code.make(),
                    (_workers(plan, point, faults),),
                    Poisson(point.load / plan.text.rows),
                    requests,
                    deployment.policy.make(),
                    rows=plan.text.rows,
                    limits=deployment.batching.limits(),
                    max_in_flight=deployment.batching.max_in_flight,
                    timeout_s=deployment.timeout_ms / 1e3,
                    overhead=WAY,
                    work=_work(deployment, store),
                    contention=contention,
                    seed=seed,
                )
                outcome = simulate(setting)
                yield {**_about(plan, point, system), **_figures(outcome)}


def cells(record: Record) -> tuple[str, ...]:
    """A record under `TITLES`."""
    return (
        record["title"],
        *("–" if record[name] is None else f"{record[name]:.0f}" for name in FIGURES),
        f"{record['sent']:.2f}",
        f"{100 * record['decoded']:.1f} %",
        f"{100 * record['missing']:.2f} %",
        f"{100 * record['busy']:.0f} %",
    )


def _workers(plan: Plan, point: Point, straggler: FaultsText) -> Workers:
    return Workers(
        point.workers - point.lost,
        faults=straggler.laws(),
        service=PASS,
        max_rows=plan.text.batch_rows or MAX_ROWS,
    )


def _contention(plan: Plan, point: Point, straggler: ContentionText) -> Contention:
    contended = straggler.contended.laws()
    if contended.delay is None or contended.failure is not None:
        raise SettingsError(
            f"{plan.source}: stragglers.{point.straggler}.contended must be a delay and nothing "
            f"else to be simulated."
        )
    return Contention(straggler.workers, straggler.every_s, contended.delay)


def _work(deployment: DeploymentConfig, store: Store) -> dict[str, float]:
    name = deployment.code.checkpoint
    if name is None or name not in store.codes.names():
        return {}
    return work_of(deployment, store.codes.card(name))


def _about(plan: Plan, point: Point, system: System) -> Record:
    return {
        "plan": plan.text.name,
        "dataset": plan.text.dataset,
        "point": point.name,
        "system": system.name,
        "title": system.text.title or system.name,
        "baseline": system.text.baseline,
    }


def _figures(outcome: Outcome) -> Record:
    answered = 1 - outcome.missing_share
    # Who is not answered waits for ever.
    tails = {
        name: 1e3 * outcome.latency.quantile(q / answered) if q < answered else None
        for name, q in QUANTILES.items()
    }
    p50_ms, p999_ms = tails["p50_ms"], tails["p999_ms"]
    return {
        "requests": outcome.requests,
        **tails,
        "gap_ms": None if p50_ms is None or p999_ms is None else p999_ms - p50_ms,
        "sent": outcome.sends_per_query,
        "decoded": outcome.decoded_share,
        "missing": outcome.missing_share,
        "busy": outcome.utilisation,
    }
