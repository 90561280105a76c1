"""Makes records of sweeps and what they are made from, and a small plan."""

from pathlib import Path

import numpy as np

from bench.load.seen import Seen
from bench.sweep.counters import Counters
from bench.sweep.figures import Sizes, Taken, Truth, measured
from bench.sweep.record import Record
from kofn.wire.source import Source
from models.cards import proportion

GOOD = """\
name: small
dataset: digits
model: "{dataset}-lenet"
workers: [4, 6]
lost: [0, 1]
loads: [10, 20.5]
stragglers:
  none: {}
  slow: {delay: {law: expon, scale_ms: 5}}
policies:
  patient: {wait: all}
  quick: {wait: first}
systems:
  uncoded: {baseline: true, code: {name: uncoded, k: 2}, policy: {max_sends: 1}}
  parity: {code: {name: parity, k: 2, n: workers, calibrated: true}}
  berrut: {code: {name: berrut, k: 2, n: 4}, policy: {wait: first}, thresholds: [2, 3]}
  shipped: {only: [digits], policy: {}, code: {name: backup, k: 2, n: 3, checkpoint: x}}
"""

DIRECT, DECODED, MISSING = Source.DIRECT, Source.DECODED, Source.MISSING
# Four images of two classes; the base model is wrong about the last one.
TRUTH = Truth(np.array([0, 1, 0, 1]), np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32))


def turn(sources: list[int], wrong: tuple[int, ...] = (), responders: float = 3.0) -> Seen:
    """Requests of one query each, in order of the images; answers at `wrong` are turned round."""
    rows = np.arange(len(sources)) % 4
    outputs = TRUTH.outputs[rows].copy()
    outputs[list(wrong)] = outputs[list(wrong)][:, ::-1]
    source = np.array(sources, np.uint8)
    return Seen(
        rows=rows[:, None],
        late_s=np.zeros(len(rows)),
        latency_s=np.linspace(0.01, 0.02, len(rows)),
        source=source[:, None],
        outputs=outputs[:, None],
        responders=np.where(source == MISSING, np.nan, responders),
        errors={},
    )


def record(point: str, system: str, **changes: object) -> Record:
    """A record of one turn."""
    spent = Counters(tasks=6, batches=2, groups=2, busy_s=0.4, sent_bytes=800, master_cpu_s=0.02)
    found = measured(
        [Taken(turn([DIRECT, DIRECT, DECODED, MISSING]), spent, 100.0, 200.0)],
        TRUTH, Sizes(2, 3, is_systematic=True), proportion(3, 4), alive=3, seconds=1.0,
    )  # fmt: skip
    said: dict[str, object] = {
        "table": "sweep", "plan": "small", "plan_hash": "0" * 8, "point": point, "system": system,
        "family": system, "kind": "coded", "title": system, "dataset": "digits", "model": "m",
        "code": "Parity(k=2, n=3)", "code_name": "parity", "k": 2, "n": 3,
        "recovery_threshold": 2, "policy": "first", "faults": {}, "straggler": "none",
        "service_ms": 0.0, "workers": 3, "lost": 0, "offered_qps": 10.0, "request_rows": 1,
        "deadline_ms": 1000, "backend": "local", "seed": 0, "seconds": 1.0, "measured": found,
        "run": "2026-01-01T00:00:00+00:00", "command": "python -m bench sweep small",
        "machine": "one", "versions": {}, "commit": "abc", "dirty": False, "time": "now",
        **changes,
    }  # fmt: skip
    return Record.model_validate(said)


def write(folder: Path, text: str) -> Path:
    """A plan's file."""
    path = folder / "plan.yaml"
    path.write_text(text)
    return path
