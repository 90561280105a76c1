"""A plan's systems at its points in virtual time: tails that no live run has the queries for.

The master's own decisions run (`simulator`), over the plan's laws, loads and policies. A task's
pass and way cost what they do on one machine that has nothing else to do, about; accuracy is not
asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bench.sweep.plan import Plan, Point, System
from bench.sweep.text import ContentionText
from codes.base import BASE
from codes.stages import STEM
from kofn.settings import SettingsError
from master.config import DeploymentConfig
from models.store import Store
from simulator import Outcome, Poisson, Setting, Workers, simulate
from simulator.setting import MAX_ROWS
from worker.faults import Faults
from worker.laws import Constant, Expon

PASS = Constant(0.001)  # of a small network, for a coding group
WAY = Expon(0.002, 0.001)  # a task's way to a worker and back, seconds
QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999}
TITLES = ("system", "p50 ms", "p90", "p95", "p99", "p99.9", "sent a query", "decoded", "missing",
          "busy")  # fmt: skip
Record = dict[str, Any]


def simulated(plan: Plan, requests: int, store: Store, seed: int = 0) -> Iterator[Record]:
    """A record for each point and system of a plan.

    Args:
        plan: that was checked.
        requests: of each; a tenth as many come before them.
        store: has what trained codes cost; what it lacks is taken to cost a task.
        seed: of arrivals and delays.

    Raises:
        SettingsError: the plan has workers that are slowed by wall time, which is not simulated.
    """
    for point in plan.points:
        straggler = plan.text.stragglers[point.straggler]
        if isinstance(straggler, ContentionText):
            raise SettingsError(
                f"{plan.source}: stragglers.{point.straggler} is contention, which moves by wall "
                f"time: it is measured live only."
            )
        for system in plan.systems(point.workers):
            if system.deployment is not None:  # Ray Serve decides by itself
                faults = straggler.laws()
                setting = _setting(plan, point, system.deployment, faults, store)
                outcome = simulate(replace(setting, requests=requests, seed=seed))
                yield {**_about(plan, point, system), **_figures(outcome)}


def cells(record: Record) -> tuple[str, ...]:
    """A record under `TITLES`."""
    return (
        record["title"],
        *("–" if record[name] is None else f"{record[name]:.0f}" for name in QUANTILES),
        f"{record['sent']:.2f}",
        f"{100 * record['decoded']:.1f} %",
        f"{100 * record['missing']:.2f} %",
        f"{100 * record['busy']:.0f} %",
    )


def _setting(
    plan: Plan, point: Point, deployment: DeploymentConfig, faults: Faults, store: Store
) -> Setting:
    text, code = plan.text, deployment.code.make()
    return Setting(
        code,
        (
            Workers(
                point.workers - point.lost,
                faults=faults,
                service=PASS,
                max_rows=text.batch_rows or MAX_ROWS,
            ),
        ),
        Poisson(point.load / text.rows),
        requests=1,
        policy=deployment.policy.make(),
        rows=text.rows,
        limits=deployment.batching.limits(),
        max_in_flight=deployment.batching.max_in_flight,
        timeout_s=deployment.timeout_ms / 1e3,
        overhead=WAY,
        work=_work(deployment, code.roles, store),
    )


def _work(deployment: DeploymentConfig, roles: Sequence[str], store: Store) -> dict[str, float]:
    """Of each role that is not the model itself, over the model's, as the trained code's card has
    it: the dearest stands for all."""
    name = deployment.code.checkpoint
    if name is None or name not in store.codes.names():
        return {}
    card = store.codes.card(name)
    known = dict.fromkeys({*roles} - {BASE}, card.cost) | {STEM: card.stem_cost}
    return {role: cost for role, cost in known.items() if cost}


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
    return {
        "requests": outcome.requests,
        # Who is not answered waits for ever.
        **{
            name: 1e3 * outcome.latency.quantile(q / answered) if q < answered else None
            for name, q in QUANTILES.items()
        },
        "sent": outcome.sends_per_query,
        "decoded": outcome.decoded_share,
        "missing": outcome.missing_share,
        "busy": outcome.utilisation,
    }
