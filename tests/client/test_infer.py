"""Inference by both clients against a real server: answers, refusals, deadlines, cancellation."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import numpy as np
import pytest

import kofn
from kofn.wire import inference_pb2 as pb

IMAGES = np.arange(10, dtype=np.float32).reshape(5, 2)


def parameters(request: pb.ModelInferRequest) -> dict[str, Any]:
    """Of a request, as plain values."""
    return {
        name: getattr(item, item.WhichOneof("parameter_choice"))
        for name, item in request.parameters.items()
    }


async def test_answers_come_with_their_origin(master: Any, ask: Any) -> None:
    answers = await ask("infer", "double", IMAGES, request_id="seven")
    np.testing.assert_array_equal(answers.outputs, 2 * IMAGES)
    assert answers.outputs.dtype == np.float32
    assert answers.source.tolist() == [1, 2, 0, 1, 2]
    assert answers.source.dtype == np.uint8
    assert answers.expected_error.shape == (5,)
    assert np.isnan(answers.expected_error).all()
    assert answers.responders == ((0, 1, 3), (2,))
    assert (answers.n, answers.model, answers.request_id) == (6, "double", "seven")
    assert answers.missing.tolist() == [False, False, True, False, False]
    assert not answers.is_whole
    assert len(answers) == 5
    timings = answers.timings
    stages = (timings.queue_s, timings.encode_s, timings.wait_s, timings.decode_s)
    assert stages == (0.001, 0.002, 0.003, 0.004)
    assert 0 < timings.total_s < 10


async def test_the_request_is_as_the_protocol_has_it(master: Any, ask: Any) -> None:
    await ask("infer", "double", IMAGES)
    [request] = master.inference.requests
    assert request.model_name == "double"
    [tensor] = request.inputs
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("pixels", "FP32", [5, 2])
    assert list(request.raw_input_contents) == [IMAGES.tobytes()]
    assert [item.name for item in request.outputs] == ["logits", "source", "expected_error"]
    assert parameters(request) == {}


async def test_wishes_travel_as_parameters(master: Any, ask: Any) -> None:
    await ask(
        "infer", "double", IMAGES, allow_partial=True, wait="all", parameters={"a": 1, "b": "x"}
    )
    await ask("infer", "double", IMAGES, wait="all", parameters={"wait": "first"})
    first, second = map(parameters, master.inference.requests)
    assert first == {"allow_partial": True, "wait": "all", "a": 1, "b": "x"}
    assert second == {"wait": "first"}


async def test_names_are_asked_once_and_again_after_a_refusal(master: Any, ask: Any) -> None:
    await ask("infer", "double", IMAGES)
    await ask("infer", "double", IMAGES)
    assert master.inference.asked == 1
    master.inference.answer_name = "scores"
    master.inference.failures = [kofn.InvalidArgument("Unknown output 'logits'.")]
    with pytest.raises(kofn.InvalidArgument):
        await ask("infer", "double", IMAGES)
    assert (await ask("infer", "double", IMAGES)).outputs.shape == (5, 2)
    assert master.inference.asked == 2


@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [(np.float64, "FP32"), (np.float16, "FP32"), (np.uint8, "UINT8")],
)
async def test_images_are_sent_as_float32_or_uint8(
    master: Any, ask: Any, dtype: type, datatype: str
) -> None:
    answers = await ask("infer", "double", IMAGES.astype(dtype))
    assert master.inference.requests[0].inputs[0].datatype == datatype
    np.testing.assert_array_equal(answers.outputs, 2 * IMAGES)


@pytest.mark.parametrize("images", [IMAGES.astype(np.int64), IMAGES > 3, np.array(["a"])])
async def test_other_images_are_a_type_error(master: Any, ask: Any, images: np.ndarray) -> None:
    with pytest.raises(TypeError, match="'images' must be floating point or uint8, not"):
        await ask("infer", "double", images)
    assert master.inference.requests == []


async def test_a_parameter_of_another_kind_is_a_type_error(ask: Any) -> None:
    with pytest.raises(TypeError, match=r"'x' must be bool, int or str, not 1\.5"):
        await ask("infer", "double", IMAGES, parameters={"x": 1.5})


async def test_an_unknown_model_is_not_found(ask: Any) -> None:
    with pytest.raises(kofn.NotFound, match="There is no model 'none' here"):
        await ask("infer", "none", IMAGES)


@pytest.mark.parametrize(
    "error",
    [
        kofn.InvalidArgument("no"),
        kofn.ResourceExhausted("full", "queue-full"),
        kofn.DeadlineExceeded("late"),
        kofn.Unavailable("few", "too-few-workers"),
        kofn.Internal("bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_masters_errors_come_through_and_are_not_repeated(
    master: Any, ask: Any, error: kofn.KofnError
) -> None:
    master.inference.failures = [error]
    with pytest.raises(type(error)) as caught:
        await ask("infer", "double", IMAGES)
    assert (str(caught.value), caught.value.reason) == (str(error), error.reason)
    assert len(master.inference.requests) == 1


async def test_the_deadline_ends_a_call_and_reaches_the_server(master: Any, ask: Any) -> None:
    await ask("infer", "double", IMAGES)
    master.inference.gate.clear()
    began = monotonic()
    with pytest.raises(kofn.DeadlineExceeded):
        await ask("infer", "double", IMAGES, timeout_s=0.2)
    assert 0.15 < monotonic() - began < 3
    await asyncio.wait_for(master.inference.cancelled.wait(), 5)


async def test_the_master_is_told_to_answer_a_little_earlier(master: Any, ask: Any) -> None:
    for timeout_s in (5.0, 0.5):
        await ask("infer", "double", IMAGES, timeout_s=timeout_s)
    await ask("infer", "double", IMAGES)
    await ask("infer", "double", IMAGES, timeout_s=5, parameters={"timeout_ms": 70})
    told = [parameters(request).get("timeout_ms") for request in master.inference.requests]
    assert 4500 < told[0] <= 4900
    assert 300 < told[1] <= 450
    assert told[2:] == [None, 70]
    # gRPC rounds the time that it tells the server up, by less than a tenth.
    assert all(
        left < 1.1 * most
        for left, most in zip(master.inference.left_s, (5, 0.5, 10, 5), strict=True)
    )


async def test_the_clients_own_bound_holds_where_none_is_given(
    master: Any, connect: Callable[..., Any]
) -> None:
    master.inference.gate.clear()
    ask = connect(master.address, timeout_s=0.3)
    with pytest.raises(kofn.DeadlineExceeded):
        await ask("infer", "double", IMAGES)
    await ask("close")


async def test_cancelling_the_task_reaches_the_server(master: Any) -> None:
    master.inference.gate.clear()
    async with kofn.AsyncClient(master.address) as client:
        task = asyncio.create_task(client.infer("double", IMAGES))
        await asyncio.wait_for(master.inference.waiting.acquire(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(master.inference.cancelled.wait(), 5)
        master.inference.gate.set()
        assert len(await client.infer("double", IMAGES)) == 5


async def test_closing_ends_calls_in_flight(master: Any, ask: Any) -> None:
    master.inference.gate.clear()
    task = asyncio.create_task(ask("infer", "double", IMAGES))
    await asyncio.wait_for(master.inference.waiting.acquire(), 5)
    await ask("close")
    with pytest.raises(kofn.Cancelled):
        await task
    with pytest.raises(kofn.Cancelled, match="the client is closed"):
        await ask("infer", "double", IMAGES)
    with pytest.raises(kofn.Cancelled, match="the client is closed"):
        await ask.each("stream", "double", [IMAGES])


@pytest.mark.parametrize(
    ("garble", "said"),
    [
        (lambda reply: reply.outputs.pop(), "3 raw contents"),
        (lambda reply: (reply.outputs.pop(1), reply.raw_output_contents.pop(1)), "'source'"),
        (lambda reply: reply.outputs[0].shape.__setitem__(0, 4), "must have 32 bytes, not 40"),
        (lambda reply: reply.outputs[0].shape.__setitem__(slice(None), [2, 5]), "5 rows"),
        (lambda reply: setattr(reply.outputs[0], "datatype", "FP33"), "not 'FP33'"),
        (lambda reply: setattr(reply.parameters["slots"], "string_param", "3/x"), "parameters"),
    ],
)
async def test_a_malformed_reply_is_internal(
    master: Any, ask: Any, garble: Callable[..., Any], said: str
) -> None:
    master.inference.garble = garble
    with pytest.raises(kofn.Internal, match=said):
        await ask("infer", "double", IMAGES)


@pytest.mark.parametrize(("rows", "batch_size"), [(23, 5), (20, 5), (3, 5), (0, 5), (4, 1)])
async def test_batches_keep_their_order(ask: Any, rows: int, batch_size: int) -> None:
    images = np.random.default_rng(1).random((rows, 2), np.float32)
    parts = await ask.each("infer_batches", "double", images, batch_size=batch_size, concurrency=3)
    assert [len(part) for part in parts] == [
        min(batch_size, rows - start) for start in range(0, rows, batch_size)
    ]
    if parts:
        whole = kofn.Answers.joined(parts)
        np.testing.assert_array_equal(whole.outputs, 2 * images)
        assert len(whole.source) == rows
        assert len(whole.responders) == 2 * len(parts)


async def test_batches_are_in_flight_together_and_not_more(master: Any, ask: Any) -> None:
    master.inference.gate.clear()
    images = np.zeros((9, 2), np.float32)
    task = asyncio.create_task(
        ask.each("infer_batches", "double", images, batch_size=1, concurrency=3)
    )
    for _ in range(3):
        await asyncio.wait_for(master.inference.waiting.acquire(), 5)
    master.inference.gate.set()
    assert len(await task) == 9
    assert master.inference.most_in_flight == 3


async def test_the_first_failed_batch_ends_the_rest(master: Any, ask: Any) -> None:
    master.inference.failures = [kofn.ResourceExhausted("full")]
    with pytest.raises(kofn.ResourceExhausted):
        await ask.each(
            "infer_batches", "double", np.zeros((50, 2), np.float32), batch_size=1, concurrency=2
        )
    assert len(master.inference.requests) < 10


async def test_leaving_batches_early_sends_no_more_of_them(master: Any, ask: Any) -> None:
    """The asynchronous client cancels those in flight, the blocking one waits for them."""
    inference, loop = master.inference, asyncio.get_running_loop()
    await ask("infer", "double", IMAGES)
    inference.gate.clear()
    inference.passing = 2

    def open_gate(part: kofn.Answers) -> None:
        if ask.is_blocking:
            loop.call_soon_threadsafe(inference.gate.set)

    images = np.zeros((50, 2), np.float32)
    taken = ask.each(
        "infer_batches", "double", images, batch_size=1, concurrency=3, most=1, tell=open_gate
    )
    assert len(await asyncio.wait_for(taken, 5)) == 1
    assert len(inference.requests) <= 4
    if not ask.is_blocking:
        await asyncio.wait_for(inference.cancelled.wait(), 5)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1, "concurrency": 0}])
async def test_batches_need_a_size(ask: Any, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        await ask.each("infer_batches", "double", IMAGES, **wrong)
