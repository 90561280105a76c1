"""A worker's other calls, its injected failures and its end, over real gRPC."""

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kofn.wire import worker_pb2
from kofn.wire.errors import from_rpc_error
from kofn.wire.tensors import from_wire
from support.until import until
from worker.server import WORKER, WorkerServer

PATIENCE_S = 10.0
HELD = '{"delay": {"law": "constant", "value_ms": 600000, "interruptible": true}}'
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(master: Any, service: str = "", timeout: float = PATIENCE_S) -> Any:
    """What a health check says."""
    stub: Any = health_pb2_grpc.HealthStub(master.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return (await stub.Check(request, timeout=timeout)).status


async def refusal(call: Any) -> Any:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


# Programs


async def test_a_program_comes_in_chunks(start: Any, dial: Any, doubled: Any) -> None:
    """However it is cut; a worker that starts later in the same folder greets with it."""
    master = await dial(await start())
    await master.push(doubled.data, doubled.name, chunk_bytes=1000)
    later = await dial(await start(name="later"))
    assert list((await later.open()).programs) == [doubled.name]


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        (lambda data, name: (data, "0" * 64), "INVALID_ARGUMENT", "hash-mismatch"),
        (lambda data, name: (data, "../" + name), "INVALID_ARGUMENT", "invalid-argument"),
        (lambda data, name: (data, ""), "INVALID_ARGUMENT", "invalid-argument"),
        (lambda data, name: (b"no archive", "0" * 64), "FAILED_PRECONDITION", "program-refused"),
        (lambda data, name: (bytes(2 << 20), name), "RESOURCE_EXHAUSTED", "resource-exhausted"),
    ],
    ids=["another", "path", "nameless", "garbage", "large"],
)
async def test_programs_that_are_refused(
    start: Any, dial: Any, doubled: Any, change: Any, status: str, reason: str
) -> None:
    """Each with its status and reason, and nothing is kept of it."""
    master = await dial(await start(max_program_mb=1))
    error = await refusal(master.push(*change(doubled.data, doubled.name)))
    assert (error.status.name, error.reason) == (status, reason)
    assert list((await master.open()).programs) == [doubled.name]


async def test_an_empty_push(master: Any) -> None:
    """No chunk at all."""
    assert (await refusal(master.push(b"", ""))).status.name == "INVALID_ARGUMENT"


async def test_a_push_without_data_loads_what_is_held(
    start: Any, dial: Any, connect: Any, doubled: Any
) -> None:
    """From disk, before the call returns; NOT_FOUND asks for the archive."""
    await dial(await start())  # pushes the program
    again = connect((await start(name="again")).address)
    await again.push(b"", doubled.name)
    error = await refusal(again.push(b"", "0" * 64))
    assert (error.status.name, error.reason) == ("NOT_FOUND", "no-program")


def unloaded(worker: WorkerServer) -> WorkerServer:
    """The same, with its programs on disk only, as those are that it did not use last."""
    worker._service._programs._loaded.clear()
    return worker


async def test_a_file_that_rotted_is_discarded(
    start: Any, dial: Any, connect: Any, doubled: Any, tmp_path: Path
) -> None:
    """At the start, and when it happens later: the task is told to push, and a push cures it."""
    file = tmp_path / "cache" / f"{doubled.name}.pt2"
    file.parent.mkdir()
    file.write_bytes(doubled.data[:-100])
    worker = await start(max_loaded_programs=1)
    assert not file.exists()
    await dial(worker)
    assert file.read_bytes() == doubled.data
    again = unloaded(await start(name="again"))
    file.write_bytes(doubled.data[:-100])
    reader = connect(again.address)
    assert list((await reader.open()).programs) == [doubled.name]
    await reader.send(reader.task(1))
    (result,) = (await reader.results(1)).values()
    assert result.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert not file.exists()
    await reader.push(doubled.data, doubled.name)
    await reader.send(reader.task(2))
    (result,) = (await reader.results(1)).values()
    assert result.code == 0


async def test_a_program_on_disk_is_loaded_for_its_task(
    start: Any, dial: Any, connect: Any
) -> None:
    """Tasks wait for it and are answered; one cancelled meanwhile is not."""
    await dial(await start())
    reader = connect(unloaded(await start(name="later")).address)
    await reader.open()
    await reader.send(*(reader.task(i) for i in (1, 2, 3)))
    await reader.cancel(2)
    results = await reader.results(2)
    assert sorted(results) == [1, 3]
    assert from_wire(results[3].outputs[0]).tolist() == [[6.0] * 3]


# Faults


async def test_faults_are_set_and_told(worker: WorkerServer, master: Any) -> None:
    """As JSON; an empty text clears them; a mistake changes nothing."""
    told = await master.set_faults('{"corruption": {"law": "sign-flip"}}')
    assert json.loads(told)["corruption"] == {"law": "sign-flip", "probability": 1.0}
    for bad in ('{"corruption": {"law": "sign"}}', "{", '{"delay": {"law": "trace", "file": "x"}}'):
        error = await refusal(master.set_faults(bad))
        assert (error.status.name, error.reason) == ("INVALID_ARGUMENT", "bad-faults")
    request = worker_pb2.GetFaultsRequest()
    assert (await master.stub.GetFaults(request)).faults_json == told
    result = await master.run(master.task(3))
    assert from_wire(result.outputs[0]).tolist() == [[-6.0] * 3]
    await master.set_faults("")
    result = await master.run(master.task(3))
    assert from_wire(result.outputs[0]).tolist() == [[6.0] * 3]


async def test_the_same_seed_the_same_fault(start: Any, dial: Any) -> None:
    """Whatever ran in between, and on another day; another worker's name draws otherwise."""
    faults = '{"seed": 3, "corruption": {"law": "gaussian", "probability": 0.5}}'

    async def answers(name: str, seeds: list[int]) -> dict[int, bytes]:
        master = await dial(await start(name=name))
        await master.set_faults(faults)
        await master.send(*(master.task(i, inputs=master.task(1).inputs, seed=i) for i in seeds))
        results = await master.results(len(seeds))
        return {i: result.outputs[0].data for i, result in results.items()}

    first = await answers("w", list(range(20)))
    assert await answers("w", list(range(19, -1, -1))) == first
    assert await answers("v", list(range(20))) != first
    clean = np.full((1, 3), 2, np.float32).tobytes()
    assert 2 < list(first.values()).count(clean) < 18


async def test_delays_are_in_service(worker: WorkerServer, master: Any) -> None:
    """The task behind a delayed one waits for it: the worker's own clock says so."""
    await master.set_faults('{"delay": {"law": "constant", "value_ms": 30}}')
    await master.send(master.task(1))
    await until(lambda: worker.dispatcher.in_hand == 1 and worker.dispatcher.depth == 0)
    await master.send(master.task(2))
    results = await master.results(2)
    assert results[1].compute_us >= 30_000
    assert results[2].compute_us >= 30_000
    assert results[2].queue_us > results[1].queue_us
    assert results[2].busy_us >= results[1].busy_us + 30_000


async def test_busy_time_counts_cancelled_work(worker: WorkerServer, master: Any) -> None:
    """The device was taken, although nobody wanted the result any more."""
    await master.set_faults('{"delay": {"law": "constant", "value_ms": 200}}')
    await master.send(master.task(1))
    await until(lambda: worker.dispatcher.in_hand == 1 and worker.dispatcher.depth == 0)
    await master.cancel(1)
    await until(lambda: worker.dispatcher.in_hand == 0)
    await until(lambda: worker.dispatcher.busy_s >= 0.2)
    await master.set_faults("")
    await master.send(master.task(2))
    assert (await master.results(1))[2].busy_us >= 200_000


async def test_refuse(worker: WorkerServer, master: Any) -> None:
    """Tasks are answered with UNAVAILABLE, on the stream and as calls."""
    await master.set_faults('{"failure": {"kind": "refuse", "at_s": 0}}')
    await master.send(master.task(1))
    (result,) = (await master.results(1)).values()
    assert result.code == grpc.StatusCode.UNAVAILABLE.value[0]
    assert result.reason.startswith("injected")
    error = await refusal(master.run(master.task(2)))
    assert (error.status.name, error.reason) == ("UNAVAILABLE", "injected")


async def test_drop(worker: WorkerServer, master: Any) -> None:
    """The task is run and its result is never sent; the next one's is."""
    # The delay keeps the task in hand for long enough to be seen there.
    delay = '"delay": {"law": "constant", "value_ms": 300}'
    await master.set_faults(f'{{{delay}, "failure": {{"kind": "drop", "at_s": 0}}}}')
    await master.send(master.task(1))
    await until(lambda: worker.dispatcher.in_hand == 1)
    await until(lambda: worker.dispatcher.in_hand == 0)
    await master.set_faults("")
    await master.send(master.task(2))
    assert list(await master.results(1)) == [2]


async def test_disconnect(worker: WorkerServer, dial: Any) -> None:
    """By chance: the stream of the task that met it. At a time: all streams. Both may return."""
    one, two = await dial(worker), await dial(worker)
    await one.set_faults('{"failure": {"kind": "disconnect", "probability": 1}}')
    await one.send(one.task(1))
    assert await one.ended() is grpc.StatusCode.UNAVAILABLE
    assert (await refusal(one.run(one.task(1)))).status is grpc.StatusCode.UNAVAILABLE
    await one.set_faults("")
    await two.send(two.task(1))
    assert list(await two.results(1)) == [1]
    await one.open()
    await one.set_faults('{"failure": {"kind": "disconnect", "at_s": 0.01}}')
    assert await one.ended() is grpc.StatusCode.UNAVAILABLE
    assert await two.ended() is grpc.StatusCode.UNAVAILABLE
    assert worker.dispatcher.in_hand == 0


async def test_hang(worker: WorkerServer, master: Any) -> None:
    """Nothing is answered, health included, the connection stays; new faults end it."""
    await master.set_faults('{"failure": {"kind": "hang", "at_s": 0}}')
    await until(lambda: not worker.dispatcher.awake.is_set())
    await master.send(master.task(1))
    call = master.stub.Run(master.task(2))
    error = await refusal(health(master, timeout=0.1))
    assert error.status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not call.done()
    assert worker.dispatcher.in_hand == 0
    await master.set_faults("")
    assert list(await master.results(1)) == [1]
    assert (await call).id == 2
    assert await health(master) == SERVING


async def test_hang_by_chance(worker: WorkerServer, master: Any) -> None:
    """The task that meets it is held, and answered when it is over."""
    await master.set_faults('{"failure": {"kind": "hang", "probability": 1}}')
    await master.send(master.task(1))
    await until(lambda: not worker.dispatcher.awake.is_set())
    await master.set_faults("")
    assert list(await master.results(1)) == [1]


# Health, reflection, the end


async def test_health_and_reflection(worker: WorkerServer, master: Any) -> None:
    """Both names; the services are listed."""
    assert [await health(master, name) for name in ("", WORKER)] == [SERVING] * 2
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(master.channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    reply = await call.read()
    await call.done_writing()
    names = [service.name for service in reply.list_services_response.service]
    assert WORKER in names
    assert "grpc.health.v1.Health" in names
    await call.code()


async def test_drain(start: Any, dial: Any) -> None:
    """Masters are told, no task is taken, those in hand are answered, streams end well."""
    worker = await start(drain_s=PATIENCE_S)
    master = await dial(worker)
    await master.set_faults('{"delay": {"law": "constant", "value_ms": 100}}')
    await master.send(master.task(1))
    await until(lambda: worker.dispatcher.in_hand == 1 and worker.dispatcher.depth == 0)
    leaving = asyncio.create_task(worker.__aexit__(None, None, None))
    try:
        assert (await master.read()).HasField("draining")
        assert await health(master) == NOT_SERVING
        await master.send(master.task(2))
        results = await master.results(2)
        assert results[1].code == 0
        assert results[2].code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert results[2].reason.startswith("draining")
        assert await master.ended() is grpc.StatusCode.OK
    finally:
        await leaving


async def test_what_does_not_end_is_cut_off(start: Any, dial: Any) -> None:
    """After the limit: a delay of ten minutes does not hold the worker."""
    worker = await start(drain_s=0.05)
    master = await dial(worker)
    await master.set_faults(HELD)
    await master.send(master.task(1))
    await until(lambda: worker.dispatcher.in_hand == 1)
    async with asyncio.timeout(PATIENCE_S):
        await worker.__aexit__(None, None, None)
    assert await master.ended() is not grpc.StatusCode.OK


async def test_a_port_that_is_taken(worker: WorkerServer, start: Any) -> None:
    """Is an error, and not shared."""
    port = int(worker.address.rpartition(":")[2])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
        await start(port=port)


async def test_a_part_that_dies_is_loud(
    worker: WorkerServer, master: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health says so, streams break, and whoever runs the worker is told."""

    def broken(now: float) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(worker.dispatcher._queue, "take", broken)
    await master.send(master.task(1))
    with pytest.raises(ZeroDivisionError, match="planted"):
        await worker.run()
    assert await master.ended() is grpc.StatusCode.INTERNAL
    assert await health(master) == NOT_SERVING


async def test_a_worker_that_comes_back_has_its_program_loaded(
    start: Any, dial: Any, doubled: Any
) -> None:
    """Before it serves: a master that connects again waits for no loading."""
    first = await start(name="before")
    await dial(first)
    again = await start(name="after")  # the same folder
    assert again._service._programs.loaded(doubled.name) is not None
    greeting = await (await dial(again)).open()
    assert list(greeting.programs) == [doubled.name]
