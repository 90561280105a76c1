"""A sweep on a real cluster: every system at every point, and no point twice."""

from pathlib import Path

import pytest

from bench.sweep.folder import Folder
from bench.sweep.plan import read_plan
from bench.sweep.record import Record
from bench.sweep.run import sweep, turns
from models.store import Store

MARKS = {"table": "sweep", "command": "as tested"}
PLAN = """\
name: tiny
dataset: digits
model: digits-mlp
images: 60
turns: 2
seconds: 0.5
deadline_ms: 10000
batching: {max_groups: 1, max_delay_ms: 0}
batch_rows: 1
workers: [2]
lost: [0, 1]
loads: [30]
stragglers:
  brief: {delay: {law: expon, scale_ms: 1}}
systems:
  uncoded: {baseline: true, code: {name: uncoded, k: 1}, policy: {max_sends: 1}}
  replication: {baseline: true, code: {name: replication, k: 1, n: workers}, policy: {wait: first}}
"""

pytestmark = pytest.mark.long


@pytest.mark.timeout(400)
async def test_a_sweep_measures_every_system_at_every_point(
    digits_store: Store, tmp_path: Path
) -> None:
    """Two points, one with a dead worker; the same again measures nothing."""
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    plan = read_plan(file)
    systems = {point.name: ["uncoded", "replication"] for point in plan.points}
    steps: list[str] = []
    found: list[Record] = []
    with Folder(tmp_path / "out", plan, systems) as folder:
        async for records in sweep(plan, digits_store, folder, MARKS, step=steps.append):
            found += records
    assert [(r.lost, r.system) for r in found] == [
        (0, "uncoded"), (0, "replication"), (1, "uncoded"), (1, "replication"),
    ]  # fmt: skip
    assert len(steps) == turns(plan, plan.points)
    with Folder(tmp_path / "out", plan, systems) as folder:
        assert folder.records() == found
        assert [point async for point in sweep(plan, digits_store, folder, MARKS)] == []
    for record in found:
        assert not record.failure, record.failure
        seen = record.measured
        assert seen is not None
        assert seen.queries == seen.direct + seen.decoded + seen.missing > 5
        assert seen.missing == 0
        assert seen.clean is not None
        assert seen.clean.count == 60
        assert seen.clean.value > 0.9
        assert len(seen.turns) == 2
        assert 0 < seen.cost.utilisation < 1
        copies = 2 - record.lost if record.system == "replication" else 1
        assert seen.cost.measured_load_factor == pytest.approx(copies, rel=0.01)
        if copies == 1:  # 64 numbers; of two copies one may be cancelled before it leaves
            assert seen.cost.sent_bytes_per_query == 256
