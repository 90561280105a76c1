"""Triton's own client, unchanged, against a live master."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import data
from support.cluster import cluster
from support.foreign import environment, told_by

CLIENT = Path(__file__).parent / "clients" / "triton.py"


@pytest.fixture(scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory, digits_store: Any) -> dict[str, Any]:
    """What the client saw, one entry a scenario."""
    folder = tmp_path_factory.mktemp("triton")
    python = await environment("tritonclient", "tritonclient[grpc]==2.73.0")
    images = data.load("digits", "test").images[:6].numpy()
    np.save(folder / "images.npy", images)
    deployment = {
        "name": "digits",
        "program": "digits-mlp",
        "code": {"name": "parity", "k": 2, "n": 3, "calibrated": True},
        "policy": {"wait": "all"},
        "timeout_ms": 5000,
    }
    async with cluster(folder, digits_store, [deployment], workers=3) as running:
        return await told_by(python, CLIENT, running.master.address, str(folder / "images.npy"))


@pytest.fixture(scope="module")
def expected(digits_program: Any) -> np.ndarray:
    """The uncoded model's logits for the same images."""
    return digits_program([data.load("digits", "test").images[:6]])[0].numpy()


pytestmark = pytest.mark.timeout(400)  # the first run installs the client


def test_descriptions(told: dict[str, Any]) -> None:
    """Health, metadata and configuration say what is deployed."""
    seen = told["describe"]
    assert seen["live"]
    assert seen["ready"]
    assert seen["model_ready"]
    assert not seen["unknown_ready"]
    assert seen["server"] == "kofn"
    assert "statistics" in seen["extensions"]
    assert seen["input"] == ["input", "FP32", [-1, 1, 8, 8]]
    assert seen["outputs"] == ["logits", "source", "expected_error"]
    assert seen["max_batch_size"] == 1024
    assert seen["config_dims"] == [1, 8, 8]
    assert "parity" in seen["code"].lower()


def test_answers_equal_the_uncoded_model(told: dict[str, Any], expected: np.ndarray) -> None:
    """Raw and typed contents, FP32 and UINT8, extra outputs, the request's id."""
    seen = told["infer"]
    for way in ("logits", "default", "typed"):
        np.testing.assert_allclose(seen[way], expected, rtol=1e-5, atol=1e-5)
    # Digits have 17 grey levels: 8 bits keep them to 1/510.
    np.testing.assert_allclose(seen["uint8"], expected, atol=0.3)
    assert np.argmax(seen["uint8"], 1).tolist() == np.argmax(expected, 1).tolist()
    assert seen["source"] == [1] * 6
    assert seen["id"] == "seven"
    assert seen["responders"] == "0,1,2"
    assert seen["default_outputs"] == ["logits"]


@pytest.mark.parametrize(
    ("scenario", "status", "words"),
    [
        ("unknown_model", "NOT_FOUND", "digits"),
        ("unknown_version", "NOT_FOUND", "served: 1"),
        ("wrong_shape", "INVALID_ARGUMENT", "1..1024, 1, 8, 8"),
        ("wrong_rank", "INVALID_ARGUMENT", "1..1024, 1, 8, 8"),
        ("wrong_dtype", "INVALID_ARGUMENT", "FP32"),
        ("wrong_name", "INVALID_ARGUMENT", "'input'"),
        ("not_finite", "INVALID_ARGUMENT", "row 1"),
        ("empty", "INVALID_ARGUMENT", "1..1024"),
        ("too_large", "INVALID_ARGUMENT", "1..1024"),
        ("unknown_output", "INVALID_ARGUMENT", "logits"),
        ("two_inputs", "INVALID_ARGUMENT", "exactly one"),
    ],
)
def test_refusals_say_what_is_accepted(
    told: dict[str, Any], scenario: str, status: str, words: str
) -> None:
    """The right status, and a message that helps."""
    refused = told["refusals"][scenario]
    assert refused is not None, "it was accepted"
    assert refused["status"] == f"StatusCode.{status}"
    assert words in refused["message"]


def test_connection_survives_refusals(told: dict[str, Any]) -> None:
    """After all of them the same connection still serves."""
    assert told["refusals"]["still_served"] is None


def test_asyncio_and_streams(told: dict[str, Any], expected: np.ndarray) -> None:
    """Eight requests at once, and a stream in which one request is bad."""
    seen = told["aio"]
    assert len(seen["concurrent"]) == 8
    for logits in seen["concurrent"]:
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert seen["streamed"] == ["0", "1", "2", "3", "4"]
    assert len(seen["stream_errors"]) == 1
    assert "no-such-model" in seen["stream_errors"][0]


def test_statistics_move(told: dict[str, Any]) -> None:
    """Counters count rows and requests, and time passes in them."""
    before, after = told["statistics"]
    assert after["rows"] - before["rows"] >= 6 * 13
    assert after["success"] > before["success"]
    assert after["compute_ns"] > before["compute_ns"]
