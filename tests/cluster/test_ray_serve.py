"""Ray Serve in turns with a coded system: the same queries, the same answers, the same stragglers.

Ray runs in processes of its own here: what it warns of is not ours to mend.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from bench.sweep.record import read
from models.store import Store

PLAN = """\
name: beside-ray
dataset: digits
model: digits-mlp
images: 40
turns: 1
seconds: 1
deadline_ms: 10000
rows: 2
batching: {max_groups: 1}
batch_rows: 1
workers: [2]
loads: [20]
stragglers:
  fixed: {delay: {law: constant, value_ms: 20}}
systems:
  ray-serve: {baseline: true, ray: true}
  uncoded: {baseline: true, code: {name: uncoded, k: 2}, policy: {max_sends: 1}}
"""

pytest.importorskip("starlette", reason="Ray Serve is an extra of its own")

pytestmark = pytest.mark.long


@pytest.mark.timeout(400)
async def test_ray_serve_answers_the_same(digits_store: Store, tmp_path: Path) -> None:
    """As many processes each, and each query takes as long."""
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench", "sweep", str(file), "--out", str(tmp_path / "out"),
        "--store", str(digits_store.root),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, words = await process.communicate()
    assert process.returncode == 0, words.decode()
    ray, uncoded = read(tmp_path / "out" / "cells.jsonl")
    assert (ray.system, ray.code_name, uncoded.system) == ("ray-serve", "ray-serve", "uncoded")
    assert ray.measured is not None
    assert uncoded.measured is not None
    assert ray.measured.clean == uncoded.measured.clean
    assert ray.measured.queries == uncoded.measured.queries > 10
    assert ray.measured.overall == uncoded.measured.overall
    assert ray.measured.missing == 0
    for seen in (ray.measured, uncoded.measured):
        assert seen.cost.measured_load_factor == pytest.approx(1, rel=0.01)
        assert 0.02 <= seen.cost.worker_s_per_query < 0.5
        assert seen.cost.sent_bytes_per_query == 256
        assert seen.cost.master_cpu_s_per_query > 0
        assert seen.cost.master_peak_mib is not None
        assert seen.cost.worker_peak_mib is not None
