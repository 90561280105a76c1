"""Streams, questions and control by both clients, and what `import kofn` gives."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import kofn

PYTHON_S = 20.0


def batches(count: int) -> Iterator[np.ndarray]:
    """Of 1, 2, 3, ... rows."""
    for number in range(count):
        yield np.full((number + 1, 2), number, np.float32)


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_a_stream_answers_each_batch_as_it_is_ready(ask: Any, count: int) -> None:
    replies = await ask.each("stream", "double", batches(count), wait="all")
    expected = [1, 0, 3, 2, 4][:count] if count > 1 else list(range(count))
    assert [reply.index for reply in replies] == expected
    for reply in replies:
        answers = reply.result()
        assert answers.outputs.tolist() == [[2.0 * reply.index] * 2] * (reply.index + 1)


async def test_a_failed_batch_does_not_end_the_stream(master: Any, ask: Any) -> None:
    master.inference.failures = [kofn.ResourceExhausted("the queue is full")]
    replies = await ask.each("stream", "double", batches(4))
    assert [reply.error is None for reply in replies] == [False, True, True, True]
    with pytest.raises(kofn.ResourceExhausted, match="the queue is full"):
        replies[0].result()


async def test_what_the_batches_raise_comes_behind_the_replies_before(ask: Any) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from batches(2)
        raise ZeroDivisionError("mine")

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError, match="mine"):
        await ask.each("stream", "double", failing(), tell=lambda reply: seen.append(reply.index))
    assert seen == [1, 0]


async def test_batches_may_come_asynchronously(master: Any) -> None:
    async def coming() -> Any:
        for batch in batches(3):
            await asyncio.sleep(0)
            yield batch

    async with kofn.AsyncClient(master.address) as client:
        assert [reply.index async for reply in client.stream("double", coming())] == [1, 0, 2]


async def test_a_stream_left_early_is_cancelled(master: Any, ask: Any) -> None:
    master.inference.gate.clear()
    replies = await ask.each("stream", "double", batches(4), most=1)
    assert [reply.index for reply in replies] == [1]
    await asyncio.wait_for(master.inference.stream_ended.wait(), 5)


async def test_a_stream_has_a_deadline(master: Any, ask: Any) -> None:
    master.inference.gate.clear()
    with pytest.raises(kofn.DeadlineExceeded):
        await ask.each("stream", "double", batches(1), timeout_s=0.3)


async def test_a_streams_reply_to_nobody_is_internal(master: Any, ask: Any) -> None:
    master.inference.garble = lambda reply: setattr(reply, "id", "17")
    with pytest.raises(kofn.Internal, match="id '17'"):
        await ask.each("stream", "double", batches(1))


async def test_questions(ask: Any) -> None:
    assert [tensor.name for tensor in (await ask("metadata", "double")).inputs] == ["pixels"]
    assert (await ask("server_metadata")).version == "9"
    assert (await ask("config", "double")).max_batch_size == 7
    assert [item.name for item in await ask("statistics")] == ["a", "b"]
    assert [item.name for item in await ask("statistics", "double")] == ["double"]
    assert await ask("is_live") is True
    assert await ask("is_ready") is False
    assert await ask("model_ready", "double") is True
    assert await ask("model_ready", "other") is False


async def test_is_live_raises_what_is_no_absence(master: Any, ask: Any) -> None:
    master.inference.silences = [kofn.Unavailable("leaving"), kofn.Internal("bug")]
    assert await ask("is_live") is False
    with pytest.raises(kofn.Internal):
        await ask("is_live")


async def test_control(ask: Any) -> None:
    assert [worker.name for worker in (await ask("status")).workers] == ["worker-0"]
    reply = await ask("set_faults", {"delay": {"law": "expon"}}, ["a", "b"])
    assert [item.worker for item in reply.workers] == ["a", "b"]
    assert json.loads(reply.workers[0].faults_json) == {"delay": {"law": "expon"}}
    assert (await ask("set_faults", None)).workers[0].faults_json == ""
    assert (await ask("set_faults", '{"seed": 1}')).workers[0].faults_json == '{"seed": 1}'
    assert [item.worker for item in (await ask("get_faults", ["c"])).workers] == ["c"]
    assert (await ask("deploy", "name: x")).name == "name: x"
    assert json.loads((await ask("deploy", {"name": "x"})).name) == {"name": "x"}
    with pytest.raises(kofn.NotFound, match="no deployment 'x'"):
        await ask("undeploy", "x")


async def test_events_end_when_nobody_listens(master: Any, ask: Any) -> None:
    events = await ask.each("events", most=3)
    assert [event.subject for event in events] == ["worker-0", "worker-1", "worker-2"]
    await asyncio.wait_for(master.control.watchers_gone.wait(), 5)


async def test_events_have_a_deadline_when_asked(ask: Any) -> None:
    with pytest.raises(kofn.DeadlineExceeded):
        await ask.each("events", timeout_s=0.3)


def python(code: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PYTHON_S
    )
    return done.stdout.strip()


def test_importing_kofn_imports_nothing_else() -> None:
    heavy = "{'grpc', 'numpy', 'torch', 'google.protobuf', 'yaml', 'pydantic'}"
    assert python(f"import sys, kofn; print({heavy} & set(sys.modules))") == "set()"


def test_the_client_needs_grpc_and_numpy_only() -> None:
    heavy = "{'torch', 'scipy', 'yaml', 'pydantic', 'structlog', 'codes', 'models', 'master'}"
    code = f"import sys, kofn; kofn.Client, kofn.AsyncClient; print({heavy} & set(sys.modules))"
    assert python(code) == "set()"


def test_every_public_name_is_there() -> None:
    for name in kofn.__all__:
        assert getattr(kofn, name).__name__ == name
    assert kofn.__version__
    assert set(kofn.__all__) <= set(dir(kofn))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kofn.nothing  # noqa: B018


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(kofn.Client) == public(kofn.AsyncClient)


async def test_a_client_of_an_event_loop_is_made_in_one() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        await asyncio.to_thread(kofn.AsyncClient)
