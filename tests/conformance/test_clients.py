"""Clients that nobody here wrote, unchanged, against a live master."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kofn.wire.tensors import DTYPES
from support.foreign import CLIENTS, Client, Suite
from support.scenarios import IMAGES, Scenario, scenarios

pytestmark = pytest.mark.timeout(900)  # the first test of a client installs it

SCENARIOS = scenarios(np.zeros((IMAGES, 1, 8, 8), np.float32))  # for names and needs
DATATYPES = {"logits": "FP32", "source": "UINT8", "expected_error": "FP32"}


def clients(*needs: str) -> Callable[..., Any]:
    """A test runs with every client that can do that."""
    able = [client for client in CLIENTS if client.can.issuperset(needs)]
    return pytest.mark.parametrize(
        "client",
        [pytest.param(c, marks=c.marks, id=c.name) for c in able],
        indirect=True,
        scope="session",
    )


def pairs(are_refused: bool) -> Callable[..., Any]:
    """A test runs with every client in every scenario that it can play."""
    return pytest.mark.parametrize(
        ("client", "name"),
        [
            pytest.param(client, item.name, marks=client.marks, id=f"{client.name}-{item.name}")
            for client in CLIENTS
            for item in SCENARIOS
            if item.needs <= client.can and (item.status is not None) == are_refused
        ],
        indirect=["client"],
        scope="session",
    )


@clients()
def test_descriptions(suite: Suite, client: Client) -> None:
    """Health, metadata and configuration say what is deployed, as far as the client asks."""
    seen = suite.seen_by(client)["describe"]
    expected = {
        "live": True,
        "ready": True,
        "model_ready": True,
        "unknown_ready": False,
        "server": "kofn",
        "extensions": ["model_configuration", "statistics"],
        "inputs": [["input", "FP32", [-1, 1, 8, 8]]],
        "outputs": ["logits", "source", "expected_error"],
        "max_batch_size": 1024,
        "dims": [1, 8, 8],
        "health": "SERVING",
        "model_health": "SERVING",
        "unknown_health": "NOT_FOUND",
    }
    assert "parity" in seen.pop("code", "parity").lower()
    assert len(seen) >= 4
    assert seen == {key: expected[key] for key in seen}


@pairs(are_refused=False)
def test_answers_equal_the_uncoded_model(suite: Suite, client: Client, name: str) -> None:
    """Values, datatypes, shapes and order of the outputs; the request's id."""
    scenario = suite.scenarios[name]
    check_answer(suite.seen_by(client)["answers"][name], scenario, suite.expected)


@pairs(are_refused=True)
def test_refusals_say_what_is_accepted(suite: Suite, client: Client, name: str) -> None:
    """The right status, and a message that helps."""
    scenario, seen = suite.scenarios[name], suite.seen_by(client)["answers"][name]
    assert seen.get("status") == scenario.status
    assert scenario.words in seen["message"]


@clients()
def test_eight_requests_at_once(suite: Suite, client: Client) -> None:
    """They share coded batches, and nobody gets another's answer."""
    seen = suite.seen_by(client)["concurrent"]
    assert len(seen) == 8
    for answer in seen:
        check_answer(answer, suite.scenarios["raw-fp32"], suite.expected)


@clients("stream")
def test_streams(suite: Suite, client: Client) -> None:
    """Requests of one stream are answered one by one, and a bad one ends only itself."""
    seen = suite.seen_by(client)["stream"]
    assert seen["ids"] == ["0", "1", "2", "3", "4"]
    assert len(seen["errors"]) == 1
    assert "no-such-model" in seen["errors"][0]


@clients("statistics")
def test_statistics_move(suite: Suite, client: Client) -> None:
    """Counters count rows and requests, and time passes in them."""
    before, after = suite.seen_by(client)["statistics"]
    answered = [item for item in SCENARIOS if item.status is None and item.needs <= client.can]
    on_digits = [item for item in answered if item.request["model"] == "digits"]
    requests = len(on_digits) + 8 + 5  # at once, and streamed
    assert after["success"] - before["success"] == requests
    assert after["rows"] - before["rows"] == requests * IMAGES
    assert after["compute_ns"] > before["compute_ns"]


def check_answer(answer: dict[str, Any], scenario: Scenario, expected: np.ndarray) -> None:
    """An answer is what the uncoded model gives."""
    assert "outputs" in answer, answer
    assert answer["model"] == scenario.request["model"]
    assert answer["version"] == "1"
    assert answer["id"] == scenario.request["id"]
    assert [item["name"] for item in answer["outputs"]] == list(scenario.outputs)
    arrays = {item["name"]: array_of(item) for item in answer["outputs"]}
    wanted = np.tile(expected, (scenario.copies, 1))
    if "logits" in arrays:
        assert arrays["logits"].shape == wanted.shape
        np.testing.assert_allclose(arrays["logits"], wanted, rtol=1e-5, atol=scenario.tolerance)
    if "source" in arrays:
        assert arrays["source"].tolist() == [1] * len(wanted)
    if "expected_error" in arrays:
        assert arrays["expected_error"].tolist() == [0] * len(wanted)


def array_of(output: dict[str, Any]) -> np.ndarray:
    """An output as it came, as an array."""
    assert output["datatype"] == DATATYPES[output["name"]]
    data = base64.b64decode(output["data"])
    return np.frombuffer(data, DTYPES[output["datatype"]]).reshape(output["shape"])
