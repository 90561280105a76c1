"""Tasks on a worker's stream, over real gRPC: answered, refused, cancelled, expired, dropped."""

from time import monotonic
from typing import Any

import grpc
import numpy as np
import pytest

from kofn.wire import worker_pb2
from kofn.wire.errors import from_rpc_error
from kofn.wire.tensors import from_wire, to_wire
from support.until import until
from worker.server import WorkerServer

HELD = '{"delay": {"law": "constant", "value_ms": 600000, "interruptible": true}}'
CODES = {code.value[0]: code.name for code in grpc.StatusCode}


async def hold(worker: WorkerServer, master: Any, task_id: int = 1000) -> None:
    """Keep the device busy with one task until it is cancelled; later tasks have no faults."""
    await master.set_faults(HELD)
    before = worker.dispatcher.in_hand
    await master.send(master.task(task_id))
    await until(lambda: worker.dispatcher.in_hand == before + 1 and worker.dispatcher.depth == 0)
    await master.set_faults("")


async def test_greeting_then_answers(worker: WorkerServer, master: Any) -> None:
    """Name, device and programs first; then each task's own results."""
    greeting = await master.open()
    assert greeting.worker == "w"
    assert greeting.device == "cpu"
    assert list(greeting.programs) == [master.program]
    assert greeting.version
    await master.send(*(master.task(i, rows=i) for i in range(1, 40)))
    for task_id, result in (await master.results(39)).items():
        assert result.code == 0
        answer = from_wire(result.outputs[0])
        np.testing.assert_array_equal(answer, np.full((task_id, 3), 2 * task_id, np.float32))
    assert worker.dispatcher.in_hand == 0


async def test_tasks_that_wait_share_a_forward_pass(worker: WorkerServer, master: Any) -> None:
    """Coalesced behind a busy device, and given each its own rows."""
    await hold(worker, master)
    await master.send(*(master.task(i, rows=2) for i in range(5)))
    await until(lambda: worker.dispatcher.depth == 5)
    await master.cancel(1000)
    results = await master.results(5)
    assert sorted(results) == list(range(5))
    assert len({result.compute_us for result in results.values()}) == 1
    for task_id, result in results.items():
        assert from_wire(result.outputs[0])[:, 0].tolist() == [2.0 * task_id] * 2
        assert result.queue_us > 0


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "nan": ({"inputs": [to_wire(np.array([[1, np.nan, 1]], "f4"))]}, "INVALID_ARGUMENT", "finite"),
    "bytes": (
        {"inputs": [worker_pb2.Tensor(datatype="FP32", shape=[1, 3], data=b"12")]},
        "INVALID_ARGUMENT",
        "must have 12 bytes, not 2",
    ),
    "shape": (
        {"inputs": [to_wire(np.zeros((1, 4), "f4"))]},
        "INVALID_ARGUMENT",
        "must have shape ['g', 3]",
    ),
    "rows": ({"inputs": [to_wire(np.zeros((0, 3), "f4"))]}, "INVALID_ARGUMENT", "g >= 1"),
    "scalar": ({"inputs": [to_wire(np.zeros((), "f4"))]}, "INVALID_ARGUMENT", "shape"),
    "datatype": (
        {"inputs": [to_wire(np.zeros((1, 3), "f8"))]},
        "INVALID_ARGUMENT",
        "['FP32'], not ['FP64']",
    ),
    "none": ({"inputs": []}, "INVALID_ARGUMENT", "['FP32'], not []"),
    "program": ({"program": "f" * 64}, "NOT_FOUND", "no-program"),
    "path": ({"program": "../../etc/passwd"}, "NOT_FOUND", "no-program"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_task_fails_alone(worker: WorkerServer, master: Any, kind: str) -> None:
    """Also when it shares its batch with good ones; the stream goes on. The same as a call."""
    fields, code, told = BAD[kind]
    await hold(worker, master)
    bad = master.task(2, **fields)
    await master.send(master.task(1), bad, master.task(3))
    await master.cancel(1000)
    results = await master.results(3)
    assert CODES[results[2].code] == code
    assert told in results[2].reason
    assert not results[2].outputs
    assert from_wire(results[1].outputs[0]).tolist() == [[2.0] * 3]
    assert from_wire(results[3].outputs[0]).tolist() == [[6.0] * 3]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await master.run(bad)
    assert caught.value.code().name == code
    assert worker.dispatcher.in_hand == 0


async def test_an_id_in_hand_is_refused_and_free_again_later(
    worker: WorkerServer, master: Any
) -> None:
    """One task an id at a time; a cancelled id may be used at once, and gets the new answer."""
    await hold(worker, master, 1)
    await master.send(master.task(1))
    (refused,) = (await master.results(1)).values()
    assert "duplicate-id" in refused.reason
    await master.cancel(1)
    await master.send(master.task(1, rows=4))
    (answered,) = (await master.results(1)).values()
    assert answered.code == 0
    assert from_wire(answered.outputs[0]).shape == (4, 3)


async def test_cancelled_tasks_are_not_run_or_answered(worker: WorkerServer, master: Any) -> None:
    """Waiting ones leave the queue; one in service ends its delay."""
    await hold(worker, master)
    await master.send(*(master.task(i) for i in (1, 2, 3)))
    await until(lambda: worker.dispatcher.depth == 3)
    await master.cancel(2, 999)
    await until(lambda: worker.dispatcher.depth == 2)
    await master.cancel(1000)
    assert sorted(await master.results(2)) == [1, 3]
    assert master.released == [2, 1000]
    assert worker.dispatcher.in_hand == 0


async def test_a_cancelled_task_is_released_when_the_device_is_rid_of_it(
    worker: WorkerServer, master: Any
) -> None:
    """Whoever sends the next one must know how long it will wait."""
    await master.set_faults('{"delay": {"law": "constant", "value_ms": 300}}')
    began_s = monotonic()
    await master.send(master.task(1))
    await until(lambda: worker.dispatcher.in_hand == 1 and worker.dispatcher.depth == 0)
    await master.set_faults("")
    await master.cancel(1)
    await master.send(master.task(9, program="f" * 64))  # answered at once, beside the device
    assert list(await master.results(1)) == [9]
    assert master.released == [], "it runs still"
    await master.send(master.task(2))
    assert list(await master.results(1)) == [2]
    assert master.released == [1]
    assert monotonic() - began_s > 0.3


async def test_what_a_fault_drops_is_released_without_a_result(
    worker: WorkerServer, master: Any
) -> None:
    await master.set_faults('{"failure": {"kind": "drop", "probability": 1}}')
    await master.send(master.task(1))
    await until(lambda: worker.dispatcher.in_hand == 0 and worker.dispatcher.ended["failed"] == 1)
    await master.set_faults("")
    await master.send(master.task(2))
    assert list(await master.results(1)) == [2]
    assert master.released == [1]


async def test_expired_tasks_are_dropped(worker: WorkerServer, master: Any) -> None:
    """On a stream they are released; a call ends with DEADLINE_EXCEEDED."""
    await hold(worker, master)
    late = master.task(1, deadline_ms=1)
    await master.send(late, master.task(2))
    await until(lambda: worker.dispatcher.depth == 2)
    single = master.stub.Run(master.task(3, deadline_ms=1))
    await until(lambda: worker.dispatcher.depth == 3)
    due_s = monotonic() + 0.002
    await until(lambda: monotonic() > due_s)
    await master.cancel(1000)
    assert list(await master.results(1)) == [2]
    assert sorted(master.released) == [1, 1000]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await single
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: worker.dispatcher.in_hand == 0)


async def test_a_call_that_is_given_up_is_dropped(worker: WorkerServer, master: Any) -> None:
    """Run: at its caller's deadline and at its cancellation."""
    await hold(worker, master)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await master.run(master.task(1), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call = master.stub.Run(master.task(2))
    await until(lambda: worker.dispatcher.depth == 1)
    call.cancel()
    await until(lambda: worker.dispatcher.in_hand == 1)
    await master.cancel(1000)
    assert from_wire((await master.run(master.task(3))).outputs[0]).tolist() == [[6.0] * 3]


async def test_a_full_queue_refuses(start: Any, dial: Any) -> None:
    """The first too many, and no other."""
    worker = await start(max_queue_tasks=2)
    master = await dial(worker)
    await hold(worker, master)
    await master.send(*(master.task(i) for i in (1, 2, 3)))
    (refused,) = (await master.results(1)).values()
    assert refused.id == 3
    assert CODES[refused.code] == "RESOURCE_EXHAUSTED"
    await master.cancel(1000)
    assert sorted(await master.results(2)) == [1, 2]


async def test_a_broken_stream_leaves_nothing(worker: WorkerServer, dial: Any) -> None:
    """Its tasks are dropped, in service and waiting; another master's of the same ids are not."""
    one, two = await dial(worker), await dial(worker)
    await hold(worker, one)
    await one.send(one.task(1), one.task(2))
    await two.send(two.task(1, rows=2), two.task(2, rows=2))
    await until(lambda: worker.dispatcher.depth == 4)
    one.stream.cancel()
    results = await two.results(2)
    assert [from_wire(results[i].outputs[0]).shape for i in (1, 2)] == [(2, 3), (2, 3)]
    await until(lambda: worker.dispatcher.in_hand == 0)


async def test_a_master_that_says_no_more_is_answered(worker: WorkerServer, master: Any) -> None:
    """Half-closed: the tasks in hand are answered, then the stream ends well."""
    await hold(worker, master)
    await master.send(master.task(1))
    await master.cancel(1000)
    await master.stream.done_writing()
    assert list(await master.results(1)) == [1]
    assert await master.ended() is grpc.StatusCode.OK


async def test_an_empty_message_breaks_the_stream(worker: WorkerServer, master: Any) -> None:
    """Neither task nor cancellation: the two sides do not speak the same protocol."""
    await master.stream.write(worker_pb2.ToWorker())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await master.read()
    assert from_rpc_error(caught.value).status is grpc.StatusCode.INVALID_ARGUMENT


async def test_faults_in_force_are_told(start: Any, dial: Any) -> None:
    """At the start where there are any, then whenever they change: by kind."""
    worker = await start(faults={"delay": {"law": "constant", "value_ms": 0}})
    master = await dial(worker)
    await master.set_faults('{"failure": {"kind": "drop", "at_s": 100}}')
    await master.set_faults("")
    await master.send(master.task(1))
    await master.results(1)
    assert master.faults == [["delay"], ["drop"], []]
