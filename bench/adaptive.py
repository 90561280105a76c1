"""Adaptive redundancy beside static policies: simulated, and on a live cluster in turns.

Tasks take as long as the plan says, or `SLOW` times as long with some chance; a request is one
coding group, and its latency counts from its intended time. All systems have the same workers and
requests. The simulator runs the master's own decisions (`docs/simulator.md`); there a task's way
costs what it costs about on one machine.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import codes
from bench.load.arrivals import choose, poisson
from bench.load.driving import Server, drive
from bench.load.seen import Seen
from kofn.client.aio import AsyncClient
from kofn.launch import Cluster, LocalWorkers
from kofn.wire.source import Source
from master.batcher import Limits
from master.config import DeploymentConfig
from models import data
from simulator import Poisson, Setting, Workers, simulate
from worker.faults import Delay, Faults
from worker.laws import Bimodal, Expon

MODEL = "digits-mlp"
K, N = 4, 6
SLOW = 10.0
TIMEOUT = 200.0  # times a usual task's time
WAY = Expon(0.002, 0.001)  # a task's way to a worker and back, seconds
UP_S = 60.0
WARM_UP = 200  # requests before those that count: enough to learn from
QUANTILES = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}

_UNCODED = {"name": "uncoded", "k": K}
_PARITY = {"name": "parity", "k": K, "n": N}
SYSTEMS: dict[str, dict[str, Any]] = {
    "uncoded": {"code": _UNCODED, "policy": {"wait": "first", "max_sends": 1}},
    "hedge": {"code": _UNCODED, "policy": {"wait": "first", "hedge": "p95"}},
    "coded": {"code": _PARITY, "policy": {"wait": "first", "max_sends": 1}},
    "adaptive": {"code": _PARITY, "policy": "adaptive"},
}
TITLES = ("stragglers", "system", "p50 ms", "p99 ms", "p99.9 ms", "p99 of uncoded", "extra load",
          "decoded", "missing")  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        workers: how many.
        load: share of the workers' time that a usual task of each query takes.
        stragglers: shares of tasks that are slow.
        requests: of each system and share that count.
        seed: of arrivals and delays.
        usual_ms: what a task takes that is not slow.
    """

    workers: int
    load: float
    stragglers: tuple[float, ...]
    requests: int
    seed: int = 0
    usual_ms: float = 10.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.load * self.workers / (K * self.usual_ms / 1e3)

    @property
    def timeout_ms(self) -> int:
        """Of a request."""
        return round(TIMEOUT * self.usual_ms)


def deployments(timeout_ms: int) -> list[dict[str, Any]]:
    """Every system, as a deployment file has it: a request is a batch of its own."""
    batching = {"max_groups": 1, "max_delay_ms": 0}
    return [
        {"name": name, "program": MODEL, "timeout_ms": timeout_ms, "batching": batching, **system}
        for name, system in SYSTEMS.items()
    ]


def simulated(plan: Plan) -> Iterator[dict[str, Any]]:
    """A row for each share of stragglers and system, in virtual time."""
    for share in plan.stragglers:
        law = Bimodal(plan.usual_ms / 1e3, SLOW * plan.usual_ms / 1e3, share)
        faults = Faults(delay=Delay(law, interruptible=True))
        for given in deployments(plan.timeout_ms):
            config = DeploymentConfig.model_validate(given)
            outcome = simulate(
                Setting(
                    codes.make(config.code.name, **config.code.parameters),
                    (Workers(plan.workers, faults=faults),),
                    Poisson(plan.rate),
                    plan.requests,
                    config.policy.make(),
                    rows=K,
                    limits=Limits(max_groups=1, max_delay_s=0.0, queue_rows=4096),
                    timeout_s=plan.timeout_ms / 1e3,
                    overhead=WAY,
                    seed=plan.seed,
                )
            )
            yield {
                "how": "simulated",
                "system": config.name,
                "stragglers": share,
                **{name: 1e3 * outcome.latency.quantile(q) for name, q in QUANTILES.items()},
                "extra_load": outcome.sends_per_query - 1,
                "decoded": outcome.decoded_share,
                "missing": outcome.missing_share,
            }


async def live(plan: Plan, turns: int) -> AsyncIterator[dict[str, Any]]:
    """The same on a cluster of processes here: the systems in turns, on the same workers."""
    images = data.load("digits", "test").images.numpy()
    async with Cluster(LocalWorkers(plan.workers), deployments(plan.timeout_ms)) as cluster:
        await cluster.all_up(UP_S)
        async with AsyncClient(cluster.address) as client:
            for share in plan.stragglers:
                await client.set_faults(_faults(share, plan))
                seen: dict[str, list[Seen]] = {name: [] for name in SYSTEMS}
                tasks = dict.fromkeys(SYSTEMS, 0)
                for name in SYSTEMS:
                    await _turn(cluster, name, images, plan, WARM_UP, turns)
                for turn in range(turns):
                    for name in SYSTEMS:
                        before = await _sent(client, name)
                        count = plan.requests // turns
                        seen[name].append(await _turn(cluster, name, images, plan, count, turn))
                        tasks[name] += await _sent(client, name) - before
                for name, parts in seen.items():
                    yield _row(name, share, Seen.joined(parts), tasks[name])


async def _turn(
    cluster: Cluster, name: str, images: np.ndarray, plan: Plan, requests: int, turn: int
) -> Seen:
    seed = plan.seed + turn
    times = poisson(plan.rate, 2 * requests / plan.rate + 1, seed)[:requests]
    rows = choose(len(images), len(times), K, seed)
    return await drive(Server(cluster.address, name, plan.timeout_ms / 1e3), images, rows, times)


async def _sent(client: AsyncClient, name: str) -> int:
    status = await client.status()
    return next(int(d.tasks_sent) for d in status.deployments if d.name == name)


def _faults(share: float, plan: Plan) -> Mapping[str, Any]:
    law = {
        "law": "bimodal",
        "fast_ms": plan.usual_ms,
        "slow_ms": SLOW * plan.usual_ms,
        "slow_probability": share,
        "interruptible": True,
    }
    return {"seed": plan.seed, "delay": law}


def _row(name: str, share: float, seen: Seen, tasks: int) -> dict[str, Any]:
    return {
        "how": "live",
        "system": name,
        "stragglers": share,
        **{key: 1e3 * float(np.quantile(seen.latency_s, q)) for key, q in QUANTILES.items()},
        "extra_load": tasks / (K * len(seen)) - 1,
        "decoded": float((seen.source == Source.DECODED).mean()),
        "missing": float((seen.source == Source.MISSING).mean()),
    }


def cells(row: Mapping[str, Any], rows: list[dict[str, Any]]) -> tuple[object, ...]:
    """A row of the table, under `TITLES`; `rows` are all of them."""
    same = ("how", "stragglers")
    (uncoded,) = (
        other
        for other in rows
        if other["system"] == "uncoded" and all(other[key] == row[key] for key in same)
    )
    return (
        f"{100 * row['stragglers']:g} %",
        row["system"],
        *(f"{row[name]:.1f}" for name in QUANTILES),
        f"{100 * (row['p99_ms'] / uncoded['p99_ms'] - 1):+.0f} %",
        f"{100 * row['extra_load']:+.1f} %",
        f"{100 * row['decoded']:.1f} %",
        f"{100 * row['missing']:.2f} %",
    )
