"""Which calls are made again: those that were not taken, and questions; counted at the server."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
import pytest

import kofn
from kofn.client.calls import status as ask_status
from kofn.client.messages import parse_error

IMAGES = np.zeros((2, 2), np.float32)


@dataclass(frozen=True)
class Telling(kofn.Retry):
    """Tells when the first pause begins."""

    pausing: threading.Event = field(default_factory=threading.Event)

    def pause_s(self, failed: int, left_s: float) -> float | None:
        self.pausing.set()
        return super().pause_s(failed, left_s)

    async def has_paused(self) -> bool:
        return await asyncio.to_thread(self.pausing.wait, 5)


@pytest.mark.parametrize("reason", ["draining", "not-ready"])
async def test_inference_that_was_not_taken_is_sent_again(
    master: Any, ask: Any, reason: str
) -> None:
    master.inference.failures = [kofn.Unavailable("later", reason) for _ in range(3)]
    assert len(await ask("infer", "double", IMAGES)) == 2
    assert len(master.inference.requests) == 4


@pytest.mark.parametrize("reason", ["unavailable", "too-few-workers", "connection-lost"])
async def test_inference_that_may_have_been_taken_is_not(
    master: Any, ask: Any, reason: str
) -> None:
    master.inference.failures = [kofn.Unavailable("hm", reason)]
    with pytest.raises(kofn.Unavailable):
        await ask("infer", "double", IMAGES)
    assert len(master.inference.requests) == 1


async def test_the_number_of_attempts_is_bounded(master: Any, ask: Any) -> None:
    master.inference.failures = [kofn.Unavailable("later", "draining") for _ in range(9)]
    with pytest.raises(kofn.Unavailable, match="later"):
        await ask("infer", "double", IMAGES)
    assert len(master.inference.requests) == 4


async def test_one_attempt_is_never_repeated(master: Any, connect: Callable[..., Any]) -> None:
    master.inference.failures = [kofn.Unavailable("later", "draining")]
    ask = connect(master.address, retry=kofn.Retry(attempts=1))
    with pytest.raises(kofn.Unavailable):
        await ask("infer", "double", IMAGES)
    await ask("close")
    assert len(master.inference.requests) == 1


async def test_no_pause_goes_past_the_deadline(master: Any, connect: Callable[..., Any]) -> None:
    master.inference.failures = [kofn.Unavailable("later", "draining") for _ in range(9)]
    ask = connect(master.address, retry=kofn.Retry(first_pause_s=5, longest_pause_s=5))
    began = monotonic()
    with pytest.raises(kofn.Unavailable, match="later"):
        await ask("infer", "double", IMAGES, timeout_s=2)
    assert monotonic() - began < 2
    await ask("close")
    assert len(master.inference.requests) == 1


async def test_closing_cuts_a_pause_short(master: Any, connect: Callable[..., Any]) -> None:
    master.inference.failures = [kofn.Unavailable("later", "draining")]
    retry = Telling(first_pause_s=9, longest_pause_s=9)
    ask = connect(master.address, retry=retry)
    began = monotonic()
    task = asyncio.create_task(ask("infer", "double", IMAGES))
    assert await retry.has_paused()
    await ask("close")
    with pytest.raises(kofn.Cancelled, match="the client is closed"):
        await task
    assert monotonic() - began < 4


async def test_questions_are_asked_again_whatever_the_reason(master: Any, ask: Any) -> None:
    master.inference.silences = [kofn.Unavailable("hm"), kofn.Unavailable("hm", "connection-lost")]
    assert (await ask("metadata", "double")).name == "double"
    assert master.inference.asked == 3
    master.control.failures = [kofn.Unavailable("hm")]
    assert (await ask("status")).version == "9"
    assert master.control.calls == 2


async def test_questions_are_not_asked_again_after_an_answer(master: Any, ask: Any) -> None:
    master.inference.silences = [kofn.Internal("bug")]
    with pytest.raises(kofn.Internal):
        await ask("metadata", "double")
    assert master.inference.asked == 1


async def test_changes_are_sent_again_only_when_not_taken(master: Any, ask: Any) -> None:
    master.control.failures = [kofn.Unavailable("hm", "not-ready"), kofn.Unavailable("hm")]
    with pytest.raises(kofn.Unavailable):
        await ask("deploy", {"name": "x"})
    assert master.control.calls == 2


async def test_a_client_waits_for_a_master_that_starts(
    start_master: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """No connection yet: the call is made again until there is one."""
    first = await start_master()
    await first.stop()
    retry = Telling(attempts=50, first_pause_s=0.05, longest_pause_s=0.2)
    ask = connect(first.address, retry=retry)
    task = asyncio.create_task(ask("infer", "double", IMAGES))
    assert await retry.has_paused()
    await start_master(first.address)
    assert len(await asyncio.wait_for(task, 10)) == 2
    await ask("close")


async def test_nobody_there_is_unavailable_after_the_last_attempt(
    connect: Callable[..., Any],
) -> None:
    ask = connect("127.0.0.1:1")  # a port nobody listens on
    with pytest.raises(kofn.Unavailable) as caught:
        await ask("infer", "double", IMAGES)
    assert caught.value.reason == "not-connected"
    assert await ask("is_live") is False
    assert await ask("is_ready") is False
    assert await ask("model_ready", "double") is False
    await ask("close")


def test_pauses_double_and_are_bounded() -> None:
    retry = kofn.Retry(attempts=6, first_pause_s=0.1, longest_pause_s=0.5)
    for failed, longest in enumerate((0.1, 0.2, 0.4, 0.5, 0.5), 1):
        pauses = [retry.pause_s(failed, 100) for _ in range(100)]
        assert all(pause is not None and longest / 2 <= pause <= longest for pause in pauses)
    assert retry.pause_s(6, 100) is None
    assert retry.pause_s(1, 0.01) is None


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"first_pause_s": 0}, {"first_pause_s": 2.0, "longest_pause_s": 1.0}],
)
def test_a_retry_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        kofn.Retry(**wrong)


def test_a_question_is_no_change() -> None:
    assert ask_status().may_repeat(kofn.Unavailable("x"))
    assert not ask_status().may_repeat(kofn.DeadlineExceeded("x"))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("NOT_FOUND: no x: y", kofn.NotFound, "no x: y"),
        ("something: else", kofn.Internal, "something: else"),
        ("", kofn.Internal, ""),
        ("mro: x", kofn.Internal, "mro: x"),
        ("UNHEARD: x", kofn.Internal, "UNHEARD: x"),
    ],
)
def test_a_streams_error_names_its_status(text: str, kind: type, said: str) -> None:
    error = parse_error(text)
    assert (type(error), str(error)) == (kind, said)
