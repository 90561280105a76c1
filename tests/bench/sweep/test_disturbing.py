"""Faults while a load lasts, at three workers of a master in this process."""

import json
from pathlib import Path

import pytest
import torch

import kofn
from bench.sweep.disturbing import disturbed
from bench.sweep.text import ContentionText
from models.programs import export_program
from support.live import Doubled, live
from support.until import until
from worker.faults_text import FaultsText

SLOW = {"delay": {"law": "constant", "value_ms": 50}}
QUICK = {"delay": {"law": "constant", "value_ms": 5}}
WORKERS = ["w0", "w1", "w2"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the scripted workers."""
    path = tmp_path_factory.mktemp("program") / "doubled.pt2"
    path.write_bytes(export_program(Doubled(), torch.zeros(1, 1, 2, 2)))
    return path


def value_ms(faults_json: str) -> float:
    delay = json.loads(faults_json or "{}").get("delay") or {"value_ms": 0}
    return float(delay["value_ms"])


async def test_only_the_workers_that_are_named_are_disturbed(archive: Path) -> None:
    """With the seed of the turn."""
    async with live(archive) as now:
        faults = FaultsText.model_validate(SLOW)
        async with disturbed(now.client, faults, ["w0", "w2"], seed=7):
            assert [value_ms(worker.faults_json) for worker in now.workers] == [50, 0, 50]
            assert json.loads(now.workers[0].faults_json)["seed"] == 7


async def test_contention_moves_and_has_as_many_workers_at_every_moment(archive: Path) -> None:
    """Until it has been everywhere; then it stays where it is."""
    contention = ContentionText.model_validate(
        {"contended": SLOW, "otherwise": QUICK, "workers": 1, "every_s": 0.1}
    )
    async with live(archive) as now:
        seen: set[int] = set()

        def been_everywhere() -> bool:
            slow = [i for i, w in enumerate(now.workers) if value_ms(w.faults_json) == 50]
            assert len(slow) <= 1  # none for the moment in which it moves
            seen.update(slow)
            return len(seen) == 3

        async with disturbed(now.client, contention, WORKERS, seed=3):
            assert sorted(value_ms(w.faults_json) for w in now.workers) == [5, 5, 50]
            await until(been_everywhere)


async def test_faults_that_a_worker_refuses_are_told(archive: Path) -> None:
    """And not taken for done."""
    async with live(archive) as now:
        faults = FaultsText.model_validate(SLOW)
        with pytest.raises(kofn.KofnError, match="no-such-worker"):
            async with disturbed(now.client, faults, ["no-such-worker"], seed=0):
                pass
