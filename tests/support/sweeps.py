"""Records of sweeps whose latencies are drawn, as `bench.sweep.record` writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

LOWEST_S, GROWTH = 1e-5, 1.02  # of `bench.load.histogram`

# title: k, n, kind, share of slow queries and how slow, overall, lost-only, slots a query
SYSTEMS: dict[str, tuple[int, int, str, float, float, float, float | None, float]] = {
    "uncoded": (4, 4, "baseline", 0.05, 200.0, 0.88, 0.10, 1.0),
    "replication": (4, 6, "baseline", 0.02, 180.0, 0.91, 0.62, 1.5),
    "hedged": (4, 4, "baseline", 0.02, 60.0, 0.92, None, 1.07),
    "backup": (4, 5, "baseline", 0.004, 40.0, 0.918, 0.888, 1.25),
    "split-lagrange R=4": (4, 6, "coded", 0.001, 30.0, 0.893, 0.893, 1.5),
    "split-lagrange R=5": (4, 6, "coded", 0.006, 60.0, 0.905, 0.905, 1.5),
    "parity, calibrated": (4, 5, "coded", 0.004, 50.0, 0.915, 0.72, 1.25),
}


def sweep_record(
    title: str, *, seed: int = 0, queries: int = 20_000, **others: Any
) -> dict[str, Any]:
    """One system at one point.

    Args:
        title: one of SYSTEMS.
        seed: of the latencies.
        queries: how many.
        others: take the place of fields of the record.
    """
    k, n, kind, slow, slow_ms, overall, lost_only, load = SYSTEMS[title]
    rng = np.random.default_rng(seed)
    latencies = 0.008 + rng.exponential(0.003, queries)
    is_slow = rng.random(queries) < slow
    latencies[is_slow] += 1e-3 * slow_ms + rng.exponential(1e-3 * slow_ms, is_slow.sum())
    family, _, threshold = title.partition(" R=")
    lost = round(0.05 * queries)
    record = {
        "table": "sweep", "plan": "losses", "plan_hash": "0" * 64, "point": "w6-l0",
        "system": title, "family": family, "kind": kind, "title": title,
        "dataset": "fashion-mnist", "model": "fashion-mnist-lenet", "code": f"{family}()",
        "code_name": family, "k": k, "n": n,
        "recovery_threshold": int(threshold) if threshold else k, "policy": "soft 3*p50",
        "faults": {}, "straggler": "bimodal 5 %", "service_ms": None, "workers": 6, "lost": 0,
        "offered_qps": 120.0, "request_rows": 1, "deadline_ms": 1000, "backend": "local",
        "seed": seed, "seconds": 60.0,
        "measured": {
            "queries": queries, "direct": queries - lost, "decoded": lost, "missing": 0,
            "refused": 0, "groups": queries // k,
            "clean": _metric(0.92, 10_000), "overall": _metric(overall, queries),
            "lost_only": None if lost_only is None else _metric(lost_only, lost),
            "agreement": _metric(0.9, lost), "error": 0.21, "mean_responders": 4.2,
            "latency": _latency(latencies), "turns": [],
            "cost": {
                "load_factor": n / k, "measured_load_factor": load,
                "worker_s_per_query": 0.011 * load, "utilisation": 0.3,
                "sent_bytes_per_query": 3136.0 * load, "master_cpu_s_per_query": 4e-4,
                "master_peak_mib": 460.0, "worker_peak_mib": 380.0,
            },
            "load": {"kept_up": True, "late_share": 0.0, "late_p50_ms": 0.1, "late_p99_ms": 0.9,
                     "late_max_ms": 2.0},
        },
        "failure": "", "published": None, "run": "2026-11-26T10:00:00+00:00",
        "command": "python -m bench sweep losses", "machine": "2 cores", "versions": {},
        "commit": "abcdef1", "dirty": False, "time": "2026-11-26T10:01:00+00:00",
    }  # fmt: skip
    return record | others


def sweep_file(path: Path, lost: tuple[int, ...] = (0, 1, 2)) -> Path:
    """All systems at a point for each number of dead workers, as JSON lines."""
    lines = []
    for dead in lost:
        for number, title in enumerate(SYSTEMS):
            record = sweep_record(title, seed=10 * dead + number, lost=dead, point=f"w6-l{dead}")
            overall = record["measured"]["overall"]["value"] - 0.02 * dead
            record["measured"]["overall"] = _metric(overall, record["measured"]["queries"])
            lines.append(json.dumps(record))
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def _metric(value: float, count: int) -> dict[str, Any]:
    spread = 1.96 * (value * (1 - value) / count) ** 0.5
    return {"value": value, "count": count, "interval": [value - spread, value + spread]}


def _latency(latencies_s: Any) -> dict[str, Any]:
    ms = 1e3 * np.asarray(latencies_s)
    places = np.floor(np.log(ms / (1e3 * LOWEST_S)) / np.log(GROWTH)).astype(int)
    numbers, counts = np.unique(places, return_counts=True)
    p50, p90, p99, p999 = (float(q) for q in np.quantile(ms, (0.5, 0.9, 0.99, 0.999)))
    return {
        "count": len(ms), "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "p999_ms": p999,
        "max_ms": float(ms.max()), "tail_gap_ms": p999 - p50,
        "p999_interval_ms": [0.9 * p999, 1.2 * p999],
        "bins": [list(pair) for pair in zip(numbers.tolist(), counts.tolist(), strict=True)],
    }  # fmt: skip
