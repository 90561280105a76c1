"""What every foreign client asks of a master, and what must come of it: one list for all of them.

A scenario is a request in plain JSON, so that a client in any language can send it, and what is
expected of it. Models: `digits`; `wide`, the same with room for megabytes; `patient`, whose rows
wait a minute for company, so that only a deadline ends a request.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kofn.wire.tensors import datatype_of

IMAGES = 6
WIDE_ROWS = 20480  # of 256 bytes: 5 MiB, above gRPC's default limit of 4 MiB
LARGEST_MS = 30_000  # a generous deadline of what must be answered
DEPLOYMENTS: list[dict[str, Any]] = [
    {
        "name": name,
        "program": "digits-mlp",
        "code": {"name": "parity", "k": 2, "n": 3, "calibrated": True},
        "policy": {"wait": "all"},
        "batching": batching,
        "timeout_ms": LARGEST_MS,
    }
    for name, batching in (
        ("digits", {}),
        (
            "wide",
            {"max_groups": 2048, "max_request_rows": 2 * WIDE_ROWS, "queue_rows": 4 * WIDE_ROWS},
        ),
        ("patient", {"max_groups": 1024, "max_delay_ms": 60_000}),
    )
]


@dataclass(frozen=True)
class Scenario:
    """One request and what must come of it.

    Attributes:
        name: of the scenario.
        request: model, version, id, inputs, outputs, parameters, timeout_s.
        needs: what a client must be able to do, beside sending a raw tensor.
        status: of the refusal; None when an answer is expected.
        words: in the refusal's message.
        outputs: names of the answer's outputs, in order.
        copies: how often the images stand in the request.
        tolerance: of the logits, absolute.
    """

    name: str
    request: dict[str, Any]
    needs: frozenset[str] = frozenset()
    status: str | None = None
    words: str = ""
    outputs: tuple[str, ...] = ("logits",)
    copies: int = 1
    tolerance: float = field(default=1e-5)


def tensor(
    array: np.ndarray,
    name: str = "input",
    form: str = "raw",
    data: bytes | None = None,
) -> dict[str, Any]:
    """An input as JSON; `data` in place of the array's own little-endian bytes.

    Its form says where the bytes travel: "raw", "typed" in the tensor's contents, or in "both".
    """
    return {
        "name": name,
        "datatype": datatype_of(array),
        "shape": list(array.shape),
        "form": form,
        "data": base64.b64encode(array.tobytes() if data is None else data).decode(),
    }


def request(*inputs: dict[str, Any], model: str = "digits", **options: Any) -> dict[str, Any]:
    """A request as JSON, with what the client leaves empty left empty."""
    empty: dict[str, Any] = {"version": "", "id": "", "outputs": [], "parameters": {}}
    return empty | {"model": model, "inputs": inputs, "timeout_s": LARGEST_MS / 1e3} | options


def scenarios(images: np.ndarray) -> tuple[Scenario, ...]:
    """All of them, with these images, [b, 1, 8, 8] float32."""
    return (*_answered(images), *_refused(images), *_late(images))


def plan(items: Sequence[Scenario], images: np.ndarray) -> dict[str, Any]:
    """What a client is handed: the requests, and a stream of five good ones around a bad one."""
    good = request(tensor(images))
    streamed = [good | {"id": str(number)} for number in range(5)]
    streamed.insert(2, good | {"id": "bad", "model": "no-such-model"})
    return {
        "requests": {item.name: item.request | {"needs": sorted(item.needs)} for item in items},
        "concurrent": good,
        "stream": streamed,
    }


def _answered(images: np.ndarray) -> Iterator[Scenario]:
    as_bytes = (images * 255).round().astype(np.uint8)
    typed = frozenset({"typed"})
    yield Scenario("raw-fp32", request(tensor(images)))
    yield Scenario("typed-fp32", request(tensor(images, form="typed")), typed)
    # Digits have 17 grey levels: 8 bits keep them to 1/510.
    yield Scenario("raw-uint8", request(tensor(as_bytes)), tolerance=0.3)
    yield Scenario("typed-uint8", request(tensor(as_bytes, form="typed")), typed, tolerance=0.3)
    yield Scenario("raw-fp16", request(tensor(images.astype(np.float16))), tolerance=0.05)
    yield Scenario("version", request(tensor(images), version="1"))
    yield Scenario(
        "all-outputs",
        request(
            tensor(images),
            id="seven",
            outputs=["expected_error", "logits", "source"],
            parameters={"timeout_ms": LARGEST_MS, "allow_partial": True, "wait": "all"},
        ),
        outputs=("expected_error", "logits", "source"),
    )
    yield Scenario("one-output", request(tensor(images), outputs=["source"]), outputs=("source",))
    # What MLServer's codec for requests says of every one of them.
    yield Scenario("content-type", request(tensor(images), parameters={"content_type": "np"}))
    wide = np.tile(images, (-(-WIDE_ROWS // len(images)), 1, 1, 1))
    yield Scenario(
        "five-megabytes", request(tensor(wide), model="wide"), copies=len(wide) // len(images)
    )


def _refused(images: np.ndarray) -> Iterator[Scenario]:
    not_finite = images.copy()
    not_finite[1, 0, 3, 3] = np.nan
    many = np.tile(images, (4096 // len(images) + 1, 1, 1, 1))
    text = np.full(images.shape[:1], b"x", object)
    stubs = frozenset({"stubs"})

    def refused(
        name: str, asked: dict[str, Any], words: str, status: str = "INVALID_ARGUMENT", *needs: str
    ) -> Scenario:
        return Scenario(name, asked, frozenset(needs), status, words)

    good = tensor(images)
    yield refused("unknown-model", request(good, model="none"), "served: digits", "NOT_FOUND")
    yield refused("unknown-version", request(good, version="9"), "served: 1", "NOT_FOUND")
    yield refused("wrong-shape", request(tensor(images[:, :, :4])), "[1..1024, 1, 8, 8]")
    yield refused("wrong-rank", request(tensor(images[0])), "[1..1024, 1, 8, 8]")
    yield refused("no-rows", request(tensor(images[:0])), "[1..1024, 1, 8, 8]")
    yield refused("too-many-rows", request(tensor(many)), "[1..1024, 1, 8, 8]")
    yield refused("int32", request(tensor(images.astype(np.int32))), "must be FP32")
    yield refused("bytes", request(tensor(text, data=b"\1\0\0\0x" * len(text))), "must be FP32")
    yield refused("wrong-name", request(tensor(images, "image")), "must be named 'input'")
    not_a_number = request(tensor(not_finite))
    yield refused("not-finite", not_a_number, "row 1", "INVALID_ARGUMENT", "nan")
    yield refused("two-inputs", request(good, tensor(images, "other")), "exactly one input")
    yield refused("unknown-output", request(good, outputs=["depth"]), "logits, source")
    unknown = request(good, parameters={"patience": 3})
    yield refused("unknown-parameter", unknown, "'patience'; accepted: allow_partial")
    wrong_kind = request(good, parameters={"timeout_ms": "soon"})
    yield refused("wrong-kind", wrong_kind, "of kind int, not string_param")
    short = request(tensor(images, data=images.tobytes()[:-4]))
    yield Scenario("short-raw", short, stubs, "INVALID_ARGUMENT", "bytes")
    few = request(tensor(images, data=images.tobytes()[:-4], form="typed"))
    yield Scenario("short-typed", few, stubs, "INVALID_ARGUMENT", "elements in fp32_contents")
    yield Scenario("no-inputs", request(), stubs, "INVALID_ARGUMENT", "exactly one input")
    both = request(tensor(images, form="both"))
    yield Scenario("raw-and-typed", both, stubs, "INVALID_ARGUMENT", "not both")


def _late(images: np.ndarray) -> Iterator[Scenario]:
    late = request(tensor(images), model="patient")
    status = "DEADLINE_EXCEEDED"
    yield Scenario("deadline-of-the-call", late | {"timeout_s": 0.5}, status=status)
    own = late | {"parameters": {"timeout_ms": 300}}
    yield Scenario("deadline-of-the-request", own, status=status)
    # The connection is as good as before all refusals.
    yield Scenario("still-served", request(tensor(images)))
