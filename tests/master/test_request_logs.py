"""Log lines by request id: none for a good request, one for one that failed or was slow."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

import kofn
from kofn.wire import inference_pb2, inference_pb2_grpc
from kofn.wire.tensors import input_tensor
from master.callers import LONGEST_ID, REQUEST_ID
from support.live import Live, deployment, live
from support.serving import queries
from support.until import until

STAGES = ("queue_ms", "encode_ms", "wait_ms", "decode_ms")


def message(rows: int = 2, **fields: Any) -> inference_pb2.ModelInferRequest:
    """A request of the protocol's own."""
    tensor, raw = input_tensor("input", queries(rows))
    request = inference_pb2.ModelInferRequest(model_name="doubled", inputs=[tensor], **fields)
    request.raw_input_contents.append(raw)
    return request


async def ask(
    now: Live, request: inference_pb2.ModelInferRequest, *metadata: tuple[str, str]
) -> tuple[inference_pb2.ModelInferResponse, str]:
    """The reply to a request, and the id that its metadata tells."""
    async with grpc.aio.insecure_channel(now.master.address) as channel:
        call = inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
            request, metadata=metadata, timeout=5
        )
        reply = await call
        told = dict(await call.trailing_metadata())
    return reply, told[REQUEST_ID]


async def test_the_clients_id_wins_then_the_metadatas_then_one_is_made(archive: Path) -> None:
    """Told in the reply's metadata; the message's id is echoed as it came."""
    async with live(archive) as now:
        header = (REQUEST_ID, "from-a-proxy")
        reply, told = await ask(now, message(id="mine"), header)
        assert (reply.id, told) == ("mine", "mine")
        reply, told = await ask(now, message(), header)
        assert (reply.id, told) == ("", "from-a-proxy")
        made = {(await ask(now, message()))[1] for _ in range(3)}
        assert len(made) == 3
        assert all(made)
        assert (await ask(now, message(id="ä" * 1000)))[1] == ascii("ä" * LONGEST_ID)


async def test_a_good_request_is_told_at_debug_only(archive: Path) -> None:
    """By its id."""
    async with live(archive) as now:
        await ask(now, message())  # connects
        with structlog.testing.capture_logs() as lines:
            await ask(now, message(id="good"))
    (line,) = lines
    assert (line["log_level"], line["event"], line["request"]) == ("debug", "request-ok", "good")


async def test_a_failed_request_is_told_once_with_its_stages(archive: Path) -> None:
    """And its metadata tell the id beside the reason."""
    async with live(archive) as now:
        for worker in now.workers:
            worker.script = lambda number: "nan"
        with structlog.testing.capture_logs() as lines, pytest.raises(grpc.RpcError) as caught:
            await ask(now, message(id="bad"))
    told = dict(caught.value.trailing_metadata())  # type: ignore[attr-defined]
    assert told[REQUEST_ID] == "bad"
    assert told["kofn-reason"] == "unavailable"
    (line,) = [line for line in lines if line.get("request") == "bad"]
    assert (line["log_level"], line["event"]) == ("warning", "request-unavailable")
    assert all(line[stage] >= 0 for stage in STAGES)
    assert line["took_ms"] >= line["wait_ms"]
    assert "0 of 3 slots replied" in line["reason"]
    assert line["rows"] == 2
    unusable = [line for line in lines if line["event"] == "unusable-result"]
    assert unusable
    for line in unusable:
        assert line["requests"] == ["bad"]
        assert line["batch"] > 0


async def test_a_slow_request_is_told_once(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow is a share of what the client allows; here any time at all."""
    monkeypatch.setattr("master.deployment.SLOW_SHARE", 0.0)
    async with live(archive) as now:
        with structlog.testing.capture_logs() as lines:
            await ask(now, message(id="slow"))
    (line,) = [line for line in lines if line.get("request") == "slow"]
    assert (line["log_level"], line["event"]) == ("warning", "request-slow")
    assert line["wait_ms"] > 0


async def test_what_a_client_got_wrong_is_told_at_info(archive: Path) -> None:
    """No warning: an operator can do nothing about it."""
    async with live(archive) as now:
        with structlog.testing.capture_logs() as lines, pytest.raises(grpc.RpcError):
            await ask(now, message(id="odd", model_version="9"))
    (line,) = [line for line in lines if line.get("request") == "odd"]
    assert (line["log_level"], line["event"]) == ("info", "request-invalid")
    assert "version" in line["reason"]


async def test_refusals_of_a_full_queue_are_told(archive: Path) -> None:
    """By id, as warnings."""
    small = deployment(
        archive, batching={"max_groups": 1, "queue_rows": 2, "max_request_rows": 2,
                           "max_in_flight": 1, "max_delay_ms": 60_000},
    )  # fmt: skip
    async with live(archive, small) as now:
        waiting = asyncio.create_task(now.client.infer("doubled", queries(1), timeout_s=0.5))
        await until(lambda: now.master.state.deployments["doubled"].queued_rows == 1)
        with structlog.testing.capture_logs() as lines, pytest.raises(kofn.ResourceExhausted):
            await now.client.infer("doubled", queries(2), request_id="late")
        await asyncio.gather(waiting, return_exceptions=True)
    (line,) = [line for line in lines if line["event"] == "request-refused"]
    assert (line["log_level"], line["request"]) == ("warning", "late")
    assert "full" in line["reason"]
