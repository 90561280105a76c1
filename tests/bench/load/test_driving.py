"""Open loop against a whole master in this process, and its process of its own."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch

import kofn
from bench.load.driving import Server, drive
from bench.load.process import LoadProcess
from kofn.wire.source import Source
from models.programs import export_program
from support.live import Doubled, deployment, live
from support.scripted import doubled
from support.until import until

IMAGES = np.arange(24, dtype=np.float32).reshape(6, 1, 2, 2)
PATIENT_S = 20.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the scripted workers."""
    path = tmp_path_factory.mktemp("program") / "doubled.pt2"
    path.write_bytes(export_program(Doubled(), torch.zeros(1, 1, 2, 2)))
    return path


async def test_every_query_gets_its_own_answer(archive: Path) -> None:
    """In order of the requests, whatever came first; one query each, and several."""
    async with live(archive) as now:
        server = Server(now.master.address, "doubled", PATIENT_S)
        for rows in (1, 3):
            requests = np.arange(6).reshape(-1, rows)
            seen = await drive(server, IMAGES, requests, np.zeros(len(requests)))
            assert np.array_equal(seen.rows, requests)
            assert np.allclose(seen.outputs, doubled(IMAGES).reshape(-1, rows, 2), atol=1e-4)
            assert not seen.is_missing.any()
            assert not seen.errors
            assert (seen.responders >= 1).all()  # of a query alone in its group, its own


async def test_what_should_have_left_earlier_took_longer(archive: Path) -> None:
    """Latency counts from the intended time: half a minute ago for the first request."""
    async with live(archive) as now:
        server = Server(now.master.address, "doubled", PATIENT_S)
        times = np.array([-30.0, 0.0])
        seen = await drive(server, IMAGES, np.array([[0], [1]]), times)
        assert seen.late_s[0] >= 30
        assert seen.latency_s[0] >= seen.late_s[0]
        assert seen.latency_s[1] < 30
        assert not seen.kept_up


async def test_requests_leave_though_none_before_was_answered(archive: Path) -> None:
    """Eight are at the workers before the first may reply."""
    async with live(archive, deployment(archive, batching={"max_delay_ms": 0})) as now:
        for worker in now.workers:
            worker.script = lambda number: "hold"
        server = Server(now.master.address, "doubled", PATIENT_S)
        requests = np.arange(8)[:, None] % 6
        ended: list[int] = []
        loading = asyncio.create_task(
            drive(server, IMAGES, requests, np.linspace(0, 0.02, 8), lambda: ended.append(1))
        )
        await until(lambda: max(len(worker.tasks) for worker in now.workers) >= 8)
        assert not ended
        for worker in now.workers:
            worker.gate.set()
        seen = await loading
        assert len(ended) == 8
        assert not seen.is_missing.any()


async def test_what_does_not_come_in_time_is_missing(archive: Path) -> None:
    """The deadline ends it, with what is there: nothing."""
    async with live(archive) as now:
        for worker in now.workers:
            worker.script = lambda number: "ignore"
        server = Server(now.master.address, "doubled", 0.2)
        seen = await drive(server, IMAGES, np.array([[0, 1, 2]]), np.zeros(1))
        assert (seen.source == Source.MISSING).all()
        assert seen.latency_s[0] > 0.1


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(kofn.Unavailable):
        await drive(
            Server("127.0.0.1:1", "doubled", 1.0), IMAGES, np.zeros((1, 1), int), np.zeros(1)
        )


async def test_a_process_of_its_own_sees_the_same(archive: Path) -> None:
    """Load after load; what it cannot ask for is told, and the next load is none the worse."""
    async with live(archive) as now, LoadProcess() as process:
        requests = np.arange(6)[:, None]
        for model in ("doubled", "no-such-model", "doubled"):
            server = Server(now.master.address, model, PATIENT_S, parameters={"wait": "all"})
            if model != "doubled":
                with pytest.raises(kofn.Unavailable, match="no-such-model"):
                    await process.prepare(server, IMAGES, requests, np.zeros(6))
                continue
            await process.prepare(server, IMAGES, requests, np.zeros(6))
            seen = await process.run()
            assert np.allclose(seen.outputs[:, 0], doubled(IMAGES), atol=1e-4)
            assert (seen.source == Source.DIRECT).all()


async def test_every_request_that_failed_says_why(archive: Path) -> None:
    """A parameter that the master does not know; far more errors than a pipe's line holds."""
    async with live(archive) as now, LoadProcess() as process:
        server = Server(now.master.address, "doubled", PATIENT_S, parameters={"no_such": 1})
        await process.prepare(server, IMAGES, np.zeros((1000, 1), int), np.zeros(1000))
        seen = await process.run()
        assert seen.is_missing.all()
        assert set(seen.errors) == set(range(1000))
        assert "INVALID_ARGUMENT" in seen.errors[0]
        assert "no_such" in seen.errors[0]
