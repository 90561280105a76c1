"""The client's edge: images into request messages, reply messages into answers.

Pure functions. Nothing here sends, waits or retries.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from kofn.client.answers import Answers, Timings
from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import Internal, InvalidArgument, KofnError, from_status
from kofn.wire.tensors import input_tensor, output_array

Parameters = Mapping[str, bool | int | str]


SOURCE, EXPECTED_ERROR, MEAN = "source", "expected_error", "mean"  # outputs that are no model's


@dataclass(frozen=True)
class Names:
    """What a deployment calls its tensors.

    Attributes:
        query: its input.
        answers: of those outputs that are asked for, one a model.
        is_one: answers have no axis of models.
    """

    query: str
    answers: tuple[str, ...]
    is_one: bool = True

    def asking(self, models: str | Sequence[str] | None) -> "Names":
        """The same, for some models of a deployment of several; None: for all of them."""
        if models is None:
            return self
        is_one = isinstance(models, str)
        return Names(self.query, (models,) if isinstance(models, str) else (*models,), is_one)


def names_of(metadata: pb.ModelMetadataResponse) -> Names:
    """The names in a model's metadata; raises Internal when it has no input or output."""
    beside = (SOURCE, EXPECTED_ERROR, MEAN)
    answers = tuple(output.name for output in metadata.outputs if output.name not in beside)
    if not metadata.inputs or not answers:
        raise Internal(f"the metadata of {metadata.name!r} name no input or no output")
    return Names(metadata.inputs[0].name, answers, is_one=len(answers) == 1)


def infer_request(
    model: str,
    names: Names,
    images: npt.NDArray[Any],
    *,
    parameters: Parameters,
    request_id: str = "",
) -> pb.ModelInferRequest:
    """A request for the answers of `images` and where each came from.

    Args:
        model: its name.
        names: of the model's tensors.
        images: [rows, *query]; floating point, or uint8, which the master divides by 255.
        parameters: of the request.
        request_id: comes back with the answers.

    Raises:
        TypeError: images or a parameter of a type that cannot be sent.
    """
    array = np.asarray(images)
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype != np.uint8:
        raise TypeError(f"Argument 'images' must be floating point or uint8, not {array.dtype}.")
    tensor, raw = input_tensor(names.query, array)
    request = pb.ModelInferRequest(
        model_name=model, id=request_id, inputs=[tensor], raw_input_contents=[raw]
    )
    for name in (*names.answers, SOURCE, EXPECTED_ERROR):
        request.outputs.add(name=name)
    for name, value in parameters.items():
        _set_parameter(request.parameters[name], name, value)
    return request


def wishes(allow_partial: bool, wait: str | None, parameters: Parameters | None) -> Parameters:
    """The request parameters behind a call's arguments; those in `parameters` win."""
    said: dict[str, bool | int | str] = {}
    if allow_partial:
        said["allow_partial"] = True
    if wait is not None:
        said["wait"] = wait
    return said | dict(parameters or {})


def parse_answers(reply: pb.ModelInferResponse, names: Names, rows: int, total_s: float) -> Answers:
    """The answers in a reply; raises Internal when they do not fit the request.

    Args:
        reply: of the master.
        names: of the model's tensors.
        rows: how many were asked for.
        total_s: seconds since the caller called.
    """
    try:
        arrays = _outputs(reply)
        answers = [arrays[name] for name in names.answers]
        answer = answers[0] if names.is_one else np.stack(answers, axis=1)
        source, error = arrays[SOURCE], arrays[EXPECTED_ERROR]
        if names.is_one and source.shape == error.shape == (rows, 1):  # one of several models
            source, error = source[:, 0], error[:, 0]
        responders, n = _responders(reply)
        timings = Timings(
            **{f"{stage}_s": _micros(reply, stage) for stage in _STAGES}, total_s=total_s
        )
    except InvalidArgument as malformed:
        raise Internal(f"malformed reply: {malformed}") from malformed
    except KeyError as missing:
        raise Internal(f"malformed reply: there is no output {missing}") from missing
    except ValueError as malformed:
        raise Internal(f"malformed reply parameters: {malformed}") from malformed
    shape = (rows,) if names.is_one else (rows, len(names.answers))
    if answer.shape[: len(shape)] != shape or source.shape != shape or error.shape != shape:
        raise Internal(
            f"malformed reply: outputs {answer.shape}, source {source.shape} and expected_error "
            f"{error.shape} must have {rows} rows"
            + ("" if names.is_one else f" of {len(names.answers)} models")
        )
    return Answers(
        model=reply.model_name,
        request_id=reply.id,
        outputs=answer.astype(np.float32, copy=False),
        source=source.astype(np.uint8, copy=False),
        expected_error=error.astype(np.float32, copy=False),
        responders=responders,
        n=n,
        timings=timings,
        models=() if names.is_one else names.answers,
    )


def parse_error(text: str) -> KofnError:
    """The error in a stream's "STATUS_NAME: message"; INTERNAL when no status is named."""
    name, _, rest = text.partition(": ")
    known = getattr(grpc.StatusCode, name, None) if name.isupper() else None
    return from_status(known, rest) if known is not None else Internal(text)


def as_text(settings: str | Mapping[str, Any] | Sequence[Any] | None) -> str:
    """Settings as JSON, which is YAML too; a text is taken as it is, None is empty."""
    if settings is None:
        return ""
    return settings if isinstance(settings, str) else json.dumps(settings)


_STAGES = ("queue", "encode", "wait", "decode")


def _set_parameter(slot: pb.InferParameter, name: str, value: object) -> None:
    # The kinds that every published server and client knows.
    if isinstance(value, bool):
        slot.bool_param = value
    elif isinstance(value, int):
        slot.int64_param = value
    elif isinstance(value, str):
        slot.string_param = value
    else:
        raise TypeError(f"Parameter {name!r} must be bool, int or str, not {value!r}.")


def _outputs(reply: pb.ModelInferResponse) -> dict[str, npt.NDArray[Any]]:
    raws: Sequence[bytes | None] = reply.raw_output_contents or [None] * len(reply.outputs)
    if len(raws) != len(reply.outputs):
        raise InvalidArgument(f"{len(reply.outputs)} outputs with {len(raws)} raw contents")
    pairs = zip(reply.outputs, raws, strict=True)
    return {tensor.name: output_array(tensor, raw) for tensor, raw in pairs}


def _responders(reply: pb.ModelInferResponse) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Slots that answered, a batch each, and the slots of a group."""
    parameters = reply.parameters
    batches: tuple[tuple[int, ...], ...] = ()
    if "responders" in parameters:
        told = parameters["responders"].string_param
        batches = tuple(
            tuple(int(slot) for slot in batch.split(",") if slot) for batch in told.split(";")
        )
    first = parameters["slots"].string_param.split(";")[0] if "slots" in parameters else ""
    return batches, int(first.partition("/")[2] or 0)


def _micros(reply: pb.ModelInferResponse, stage: str) -> float:
    name = f"{stage}_us"
    value: int = reply.parameters[name].int64_param if name in reply.parameters else 0
    return value / 1e6
