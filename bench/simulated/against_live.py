"""A live cluster and the simulator under the same laws and the same load, in one go.

Workers are processes of this machine whose service time is an injected delay law, so that its cores
are no limit; they serve task by task. What a request takes beside its service (the network, the
master, the program) is measured first, where none waits for another, and given to the simulator as
a law: that of its overhead. (Of cores that sleep between rare requests it took 24 ms, of cores that
are awake 9.) The simulator gets the law of the delays itself, not the delays.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.load.arrivals import choose, poisson
from bench.load.driving import Server
from bench.load.process import LoadProcess
from bench.load.seen import Seen
from kofn.launch import Cluster, LocalWorkers
from kofn.wire.source import Source
from master.config import DeploymentConfig
from models import data
from simulator import Outcome, Poisson, Setting, Workers, simulate
from worker.faults_text import parse_faults
from worker.laws import Trace

WORKERS = 6
UP_S = 180.0
DEADLINE_S = 2.0
FAST_MS, SLOW_MS, SLOW_SHARE = 10, 100, 0.05
LAW = {"law": "bimodal", "fast_ms": FAST_MS, "slow_ms": SLOW_MS, "slow_probability": SLOW_SHARE}
MEAN_S = 1e-3 * (FAST_MS * (1 - SLOW_SHARE) + SLOW_MS * SLOW_SHARE)
PROBE, PROBE_RATE = "probe", 60.0  # requests a second: some worker is idle, and cores do not sleep
WARM_UP_S = 5.0  # of each load, not counted: before it the master knows no latencies
SIMULATED = 20_000  # requests, so that the noise is the live side's
BARS = {0.5: 0.10, 0.99: 0.20}  # quantile -> share that the simulator may be off
QUANTILES = (0.5, 0.9, 0.99)

_BATCHING = {"max_groups": 1, "max_delay_ms": 2, "max_in_flight": 64}
SYSTEMS: dict[str, dict[str, Any]] = {
    "uncoded": {"code": {"name": "uncoded", "k": 1}},
    "hedged": {"code": {"name": "uncoded", "k": 1}, "policy": {"hedge": "p90"}},
    "replication": {"code": {"name": "replication", "k": 2, "n": 4}},
    "parity, soft": {"code": {"name": "parity", "k": 4, "n": 6}},
    "parity, first": {"code": {"name": "parity", "k": 4, "n": 6}, "policy": {"wait": "first"}},
}


@dataclass(frozen=True)
class Load:
    """How a system is asked.

    Attributes:
        load: share of the workers' time that its tasks would take if none were cancelled.
        seconds: counted.
        probe_s: of the measurement of the overhead.
        seed: of arrivals and delays.
    """

    load: float
    seconds: float
    probe_s: float
    seed: int


async def compare(load: Load) -> AsyncIterator[dict[str, Any]]:
    """A row a system: percentiles and shares, live and simulated."""
    faults = parse_faults(f'{{"seed": {load.seed}, "delay": {json.dumps(LAW)}}}')
    flags = ("--faults", faults.json_text(), "--max-batch-rows", "1")
    deployments = [_deployment(name, system) for name, system in SYSTEMS.items()]
    probe = _deployment(PROBE, SYSTEMS["uncoded"])
    async with (
        Cluster(LocalWorkers(WORKERS, flags=flags), [probe, *deployments]) as cluster,
        LoadProcess() as process,
    ):
        await cluster.all_up(UP_S)
        seen = await _drive(process, cluster.address, PROBE, 1, PROBE_RATE, load.probe_s, load.seed)
        overheads = _overheads(seen)
        for name, deployment in zip(SYSTEMS, deployments, strict=True):
            config = DeploymentConfig.model_validate(deployment)
            code = config.code.make()
            rate = load.load * WORKERS / (code.n * MEAN_S)
            seen = await _drive(
                process, cluster.address, deployment["name"], code.q, rate, load.seconds, load.seed
            )
            workers = Workers(WORKERS, faults=faults.laws(), max_rows=1)
            setting = Setting(
                code=code,
                workers=(workers,),
                arrivals=Poisson(rate),
                requests=SIMULATED,
                policy=config.policy.make(),
                rows=code.q,
                limits=config.batching.limits(),
                max_in_flight=config.batching.max_in_flight,
                timeout_s=DEADLINE_S,
                overhead=Trace(tuple(overheads.tolist())),
                seed=load.seed,
            )
            yield {
                "system": name,
                "code": repr(code),
                "policy": str(setting.policy),
                "rate": rate,
                "overhead_ms": 1e3 * float(np.median(overheads)),
                **_row(seen, simulate(setting)),
            }


async def _drive(
    process: LoadProcess,
    address: str,
    model: str,
    rows: int,
    rate: float,
    seconds: float,
    seed: int,
) -> Seen:
    """Poisson load for a while; what was seen of the requests after the warm-up."""
    images = data.load("digits", "test").images.numpy()
    times = poisson(rate, WARM_UP_S + seconds, seed)
    requests = choose(len(images), len(times), rows, seed)
    await process.prepare(Server(address, model, DEADLINE_S), images, requests, times)
    seen = await process.run()
    counted = int(np.searchsorted(times, WARM_UP_S))
    return Seen(
        rows=seen.rows[counted:],
        late_s=seen.late_s[counted:],
        latency_s=seen.latency_s[counted:],
        source=seen.source[counted:],
        outputs=seen.outputs[counted:],
        responders=seen.responders[counted:],
    )


def _overheads(seen: Seen) -> np.ndarray:
    """What requests that did not wait took beside their delay: one of two, as is plain to see."""
    latency_s = seen.latency_s[~seen.is_missing[:, 0]]
    fast_s, slow_s = FAST_MS / 1e3, SLOW_MS / 1e3
    return np.where(latency_s < slow_s, latency_s - fast_s, latency_s - slow_s)


def _row(seen: Seen, simulated: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {
        "requests": len(seen),
        "late_share": seen.late_share,
        "kept_up": seen.kept_up,
        "simulated_requests": simulated.requests,
        "method": simulated.method,
    }
    for q in QUANTILES:
        live_s, simulated_s = float(np.quantile(seen.latency_s, q)), simulated.latency.quantile(q)
        row[f"p{100 * q:g}"] = {
            "live_ms": 1e3 * live_s,
            "simulated_ms": 1e3 * simulated_s,
            "difference": simulated_s / live_s - 1,
        }
    shares = {
        "decoded": (float((seen.source == Source.DECODED).mean()), simulated.decoded_share),
        "missing": (float(seen.is_missing.mean()), simulated.missing_share),
    }
    for name, (live, told) in shares.items():
        row[name] = {"live": live, "simulated": told}
    row["is_within"] = all(
        abs(row[f"p{100 * q:g}"]["difference"]) <= bar for q, bar in BARS.items()
    )
    return row


def _deployment(name: str, system: Mapping[str, Any]) -> dict[str, Any]:
    batching = {**_BATCHING, "max_delay_ms": 0} if name == PROBE else _BATCHING
    return {
        "name": name.replace(", ", "-"),
        "program": "digits-mlp",
        "timeout_ms": int(1e3 * DEADLINE_S),
        "batching": batching,
        **system,
    }
