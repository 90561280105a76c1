"""A whole master in this process over scripted workers: the edges that clients see."""

import asyncio
import json
import math
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import kofn
from master.config import MasterConfig
from master.gateway import STREAM_LIMIT
from master.server import MasterServer
from models.programs import content_hash
from models.store import Store
from support.live import deployment, live
from support.scripted import doubled
from support.serving import queries, truth
from support.until import until


async def test_programs_are_pushed_and_served(archive: Path) -> None:
    """Workers that lack the program get the very bytes; answers are the uncoded ones."""
    async with live(archive) as now:
        rows = queries(5)
        data = await asyncio.to_thread(archive.read_bytes)
        answers = await now.client.infer("doubled", rows)
        np.testing.assert_allclose(answers.outputs, truth(rows), rtol=1e-4, atol=1e-5)
        assert answers.source.min() >= kofn.Source.DIRECT
        assert now.workers[0].pushed == data
        program = content_hash(data)
        assert now.workers[0].tasks[0].program == program


async def test_a_reply_tells_responders_and_stages(archive: Path) -> None:
    """Who answered, and where the time went."""
    async with live(archive) as now:
        answers = await now.client.infer("doubled", queries(2), wait="all")
        assert answers.responders == ((0, 1, 2),)
        assert answers.n == 3
        assert answers.timings.wait_s > 0
        assert answers.timings.total_s >= answers.timings.wait_s


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"timeout_ms": "soon"}, "int"),
        ({"wait": "sometimes"}, "first, soft, all"),
        ({"recovery_threshold": 1}, "k = 2 .. n = 3"),
        ({"recovery_threshold": "some"}, "a whole number or"),
        ({"gain_limit": "low"}, "a number above 0"),
        ({"patience": 3}, "allow_partial, gain_limit, recovery_threshold, timeout_ms, wait"),
    ],
)
async def test_bad_parameters_are_refused(
    archive: Path, parameters: dict[str, Any], words: str
) -> None:
    """The message says what is accepted."""
    async with live(archive) as now:
        with pytest.raises(kofn.InvalidArgument, match=words):
            await now.client.infer("doubled", queries(2), parameters=parameters)
        assert (await now.client.infer("doubled", queries(2))).is_whole


async def test_one_client_s_wish_for_adaptive_redundancy_does_without_the_hedge(
    archive: Path,
) -> None:
    """Of any deployment: late slots are sent again by what is learned."""
    hedged = deployment(archive, policy={"wait": "soft", "hedge": "10ms"})
    async with live(archive, hedged) as now:
        assert (await now.client.infer("doubled", queries(2), wait="adaptive")).is_whole


async def test_the_deadline_of_the_call_is_kept(archive: Path) -> None:
    """All workers hold: the reply says how many slots came, in time."""
    async with live(archive) as now:
        for worker in now.workers:
            worker.script = lambda number: "hold"
        with pytest.raises(kofn.DeadlineExceeded):
            await now.client.infer("doubled", queries(2), timeout_s=0.2)


async def test_deployments_come_and_go(archive: Path) -> None:
    """Deploy beside, replace, undeploy; bad ones are refused by field."""
    async with live(archive) as now:
        other = deployment(archive, name="other", code={"name": "uncoded", "k": 1})
        told = await now.client.deploy(other)
        assert (told.name, told.n, told.ready) == ("other", 1, True)
        assert await now.client.model_ready("other")
        replaced = await now.client.deploy({**other, "code": {"name": "uncoded", "k": 3}})
        assert replaced.k == 3
        rows = queries(3)
        np.testing.assert_array_equal(
            (await now.client.infer("other", rows)).outputs, doubled(rows)
        )
        await now.client.undeploy("other")
        with pytest.raises(kofn.NotFound, match="served: doubled"):
            await now.client.infer("other", rows)
        with pytest.raises(kofn.InvalidArgument, match="k"):
            await now.client.deploy({**other, "code": {"name": "parity", "k": 0, "n": 3}})
        with pytest.raises(kofn.NotFound):
            await now.client.deploy({**other, "program": "no-such-program"})


async def test_a_worker_that_lost_its_program_gets_it_again(archive: Path) -> None:
    """It says so of a task; the answer comes from elsewhere, and the program is pushed anew."""
    async with live(archive) as now:
        forgetful = now.workers[0]
        before = len(forgetful.pushed)
        forgetful.script = lambda number: "forget" if number == 0 else "reply"
        asked = 0
        while len(forgetful.pushed) == before:
            asked += 1
            assert asked < 1000
            rows = queries(2)
            answers = await now.client.infer("doubled", rows)
            np.testing.assert_allclose(answers.outputs, truth(rows), rtol=1e-4, atol=1e-5)


async def test_a_worker_that_was_too_slow_for_a_program_gets_it_again(archive: Path) -> None:
    """It is out of use only until it has the program."""
    async with live(archive) as it:
        pool = it.master.pool
        it.workers[1].refusals = 1
        await pool.provide("b" * 64, b"another")
        assert pool.workers_up == 2
        assert await pool.wait_for_workers(3, 10)
        assert it.workers[1].refusals == 0
        assert all("b" * 64 in link.programs for link in pool.links.values())


async def test_a_long_stream_is_answered_whole(archive: Path) -> None:
    """Three times as many requests as one stream may have in hand, each answered once."""
    async with live(archive) as now:
        batches = [queries(1, seed) for seed in range(3 * STREAM_LIMIT)]
        stream = now.client.stream("doubled", batches)
        replies = {reply.index: reply.result() async for reply in stream}
        assert sorted(replies) == list(range(len(batches)))
        for index, answers in replies.items():
            np.testing.assert_allclose(answers.outputs, truth(batches[index]), rtol=1e-4)


async def test_faults_reach_their_workers(archive: Path) -> None:
    """By name, or all; one worker's refusal is told beside the others."""
    law = json.dumps({"delay": {"law": "constant", "shift_ms": 1}})
    async with live(archive) as now:
        await now.client.set_faults(law, workers=["w1"])
        assert [worker.faults_json for worker in now.workers] == ["", law, ""]
        told = await now.client.get_faults()
        assert sorted(item.worker for item in told.workers) == ["w0", "w1", "w2"]
        await now.client.set_faults("")
        assert [worker.faults_json for worker in now.workers] == ["", "", ""]
        with pytest.raises(kofn.NotFound, match="w7"):
            await now.client.set_faults(law, workers=["w7"])


async def test_status_shows_workers_and_deployments(archive: Path) -> None:
    """Counters move, states are told."""
    async with live(archive) as now:
        await now.client.infer("doubled", queries(6), wait="all")
        status = await now.client.status()
        assert {worker.name: worker.state for worker in status.workers} == {
            "w0": "up", "w1": "up", "w2": "up",
        }  # fmt: skip
        (told,) = status.deployments
        assert (told.k, told.n, told.recovery_threshold, told.ready) == (2, 3, 2, True)
        assert (told.answered_rows, told.direct_rows, told.tasks_sent) == (6, 6, 3)
        assert told.p50_ms > 0


async def test_events_tell_what_changes(archive: Path) -> None:
    """A watcher hears of deployments and of a worker that breaks off."""
    async with live(archive) as now:
        heard: list[str] = []

        async def listen() -> None:
            async for event in now.client.events():
                heard.append(f"{event.kind} {event.subject}")  # noqa: PERF401 - read meanwhile

        listening = asyncio.create_task(listen())
        await until(lambda: bool(now.master.state.events.watchers))
        await now.client.deploy(deployment(archive, name="other"))
        now.workers[0].script = lambda number: "break"
        while "worker-down w0" not in heard:
            await now.client.infer("doubled", queries(2))
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        assert heard[0] == "deployed other"


async def test_metrics_and_status_show_a_liar(archive: Path) -> None:
    """Its lies, its trust, and that it gets no work; probation when its time has come."""
    async with live(archive) as now:
        told: list[str] = []

        async def listen() -> None:
            async for event in now.client.events():
                told.append(f"{event.kind} {event.subject}")  # noqa: PERF401 - it never ends

        listening = asyncio.create_task(listen())
        pool = now.master.state.pool
        try:
            await until(lambda: bool(now.master.state.events.watchers))
            for _ in range(4):
                pool.heard(now.workers[1].address, lied=True, needed=2)
            await until(lambda: bool(told))
            url = f"http://{now.master.metrics_address}/metrics"
            text = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
            assert 'kofn_worker_lies_total{worker="w1"} 4.0' in text
            assert 'kofn_worker_quarantined{worker="w1"} 1.0' in text
            assert 'kofn_worker_up{worker="w1"} 0.0' in text
            assert 'kofn_worker_trust{worker="w1"} 0.4' in text
            assert 'kofn_worker_quarantined{worker="w0"} 0.0' in text
            states = {w.name: w.state for w in (await now.client.status()).workers}
            assert states == {"w0": "up", "w1": "quarantined", "w2": "up"}
            pool.trust.release(math.inf)  # as if its time had come
            pool.assignment.release(now.workers[1].address)
            states = {w.name: w.state for w in (await now.client.status()).workers}
            assert states["w1"] == "on probation"
            assert pool.workers_up == 3
            assert told == ["worker-quarantined w1"]
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_a_quarantine_ends_by_itself(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool keeps the time: on probation, and told so."""
    monkeypatch.setattr("master.trust.FIRST_QUARANTINE_S", 0.05)
    async with live(archive) as now:
        pool, liar = now.master.state.pool, now.workers[1].address
        async with now.master.state.events.watch() as events:
            for _ in range(4):
                pool.heard(liar, lied=True, needed=2)
            assert pool.workers_up == 2
            await until(lambda: pool.workers_up == 3)
            kinds = [events.get_nowait() for _ in range(events.qsize())]
        assert [event.kind for event in kinds if event] == [
            "worker-quarantined", "worker-on-probation",
        ]  # fmt: skip
        assert pool.trust.standing(liar) == "on probation"


async def test_health_and_reflection(archive: Path) -> None:
    """The standard services answer, for the whole and for a model."""
    async with live(archive) as now, grpc.aio.insecure_channel(now.master.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "doubled", "inference.GRPCInferenceService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert (await health.Check(request, timeout=5)).status == 1
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=5)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {item.name for item in (await call.read()).list_services_response.service}
        call.cancel()
        assert {"inference.GRPCInferenceService", "kofn.control.v1.Control"} <= names


async def test_a_taken_port_is_an_error(archive: Path) -> None:
    """Two masters never share a port silently."""
    async with live(archive) as now:
        port = int(now.master.address.rpartition(":")[2])
        config = MasterConfig.model_validate({"server": {"port": port, "metrics_port": None}})
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with MasterServer(config, Store(archive.parent / "store")):
                pass
