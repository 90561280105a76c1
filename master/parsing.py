"""From an Open Inference request to rows, wishes and a policy; refusals say what is accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, get_args

import numpy as np

from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import InvalidArgument
from kofn.wire.tensors import input_array
from master.config import ANY, EXPECTED_ERROR, SOURCE, check_recovery_threshold
from master.deployment import Deployment
from master.policy import Policy, Wait
from master.query import Wishes

LONGEST_TIMEOUT_S = 600.0
PARAMETERS: dict[str, tuple[type, ...]] = {
    "timeout_ms": (int,),
    "allow_partial": (bool,),
    "wait": (str,),
    "recovery_threshold": (int, str),  # responders to wait for, or "any"
    "gain_limit": (float, int, str),  # some clients know no parameters of kind double
}
# What clients of other servers send as a matter of course; they mean nothing here and do no harm.
IGNORED_PARAMETERS = frozenset({
    "sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "binary_data_output",
    "triton_enable_empty_final_response", "triton_final_response", "headers", "content_type",
})  # fmt: skip


def parse_rows(request: pb.ModelInferRequest, deployment: Deployment) -> np.ndarray:
    """The request's images as [r, *query] float32.

    FP32 is taken as it is, FP16 is widened, UINT8 is divided by 255.

    Raises:
        InvalidArgument: not exactly one input, or its name, datatype, shape, size or values.
    """
    spec = deployment.binding.query
    if len(request.inputs) != 1:
        raise InvalidArgument(
            f"Model {deployment.config.name!r} takes exactly one input, {spec.name!r}, "
            f"not {len(request.inputs)}."
        )
    tensor = request.inputs[0]
    if tensor.name != spec.name:
        raise InvalidArgument(f"The input must be named {spec.name!r}, not {tensor.name!r}.")
    if tensor.datatype not in ("FP32", "FP16", "UINT8"):
        raise InvalidArgument(
            f"Input {spec.name!r} must be FP32, FP16, or UINT8 (divided by 255), "
            f"not {tensor.datatype or 'without a datatype'}."
        )
    if len(request.raw_input_contents) > 1:
        raise InvalidArgument(
            f"There must be one raw_input_contents entry an input, "
            f"not {len(request.raw_input_contents)} for 1."
        )
    most = deployment.config.batching.max_request_rows
    shape = tuple(tensor.shape)
    if shape[1:] != tuple(spec.shape) or not shape or not 1 <= shape[0] <= most:
        accepted = ", ".join(map(str, (f"1..{most}", *spec.shape)))
        raise InvalidArgument(
            f"Input {spec.name!r} must have shape [{accepted}], not {list(shape)}."
        )
    raw = request.raw_input_contents[0] if request.raw_input_contents else None
    array = input_array(tensor, raw)
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    rows = np.array(array, np.float32)  # a copy: the message's bytes are read-only
    if not np.isfinite(rows).all():
        bad = int(np.argmin(np.isfinite(rows).reshape(len(rows), -1).all(axis=1)))
        raise InvalidArgument(f"Input {spec.name!r} must be finite; row {bad} is not.")
    return rows


def parse_wishes(
    parameters: Mapping[str, pb.InferParameter],
    deployment: Deployment,
    left_s: float | None,
    outputs: Sequence[str] = (),
) -> tuple[Wishes, Policy]:
    """Deadline and options of a request.

    Args:
        parameters: of the request.
        deployment: gives the defaults.
        left_s: until the gRPC deadline, None when the client set none.
        outputs: that were asked for; of several models they say whose answers are wanted.

    Raises:
        InvalidArgument: an unknown parameter, one of the wrong kind or out of range.
    """
    values = {name: _value(name, item) for name, item in parameters.items()}
    for name in values.keys() - PARAMETERS.keys() - IGNORED_PARAMETERS:
        raise InvalidArgument(
            f"Unknown request parameter {name!r}; accepted: {', '.join(sorted(PARAMETERS))}."
        )
    timeout_s = deployment.config.timeout_ms / 1e3
    if "timeout_ms" in values:
        timeout_s = values["timeout_ms"] / 1e3
        if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
            raise InvalidArgument(
                f"Parameter 'timeout_ms' must be in 1..{LONGEST_TIMEOUT_S * 1e3:.0f}, "
                f"not {values['timeout_ms']}."
            )
    elif left_s is not None:
        timeout_s = min(timeout_s, left_s)
    policy = deployment.policy
    if "wait" in values:
        if values["wait"] not in get_args(Wait):
            raise InvalidArgument(
                f"Parameter 'wait' must be one of {', '.join(get_args(Wait))}, "
                f"not {values['wait']!r}."
            )
        hedge = None if values["wait"] == "adaptive" else policy.hedge
        policy = replace(policy, wait=values["wait"], hedge=hedge)
    if "recovery_threshold" in values:
        policy = replace(policy, recovery_threshold=_threshold(values, deployment))
    if "gain_limit" in values:
        policy = replace(policy, gain_limit=_gain_limit(values["gain_limit"]))
    wishes = Wishes(
        deadline=monotonic() + timeout_s,
        allow_partial=values.get("allow_partial", False),
        models=_asked_models(outputs, deployment),
    )
    return wishes, policy


def _asked_models(outputs: Sequence[str], deployment: Deployment) -> tuple[int, ...] | None:
    """Whose answers are wanted, in the order of the outputs; None where there is but one model."""
    models = deployment.binding.models
    if not models:
        return None
    known = deployment.outputs
    asked = tuple(known.index(name) for name in outputs if name in known)
    return asked or tuple(range(len(models)))


def _threshold(values: Mapping[str, Any], deployment: Deployment) -> int:
    wanted = values["recovery_threshold"]
    if isinstance(wanted, str) and wanted.isdecimal():
        wanted = int(wanted)
    try:
        if isinstance(wanted, str) and wanted != ANY:
            raise ValueError(f'recovery_threshold must be a whole number or "any", not {wanted!r}.')
        check_recovery_threshold(wanted, deployment.binding.code)
    except ValueError as error:
        raise InvalidArgument(f"Parameter {error}") from error
    return 1 if wanted == ANY else int(wanted)


def _gain_limit(wanted: float | str) -> float:
    try:
        limit = float(wanted)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise InvalidArgument(f"Parameter 'gain_limit' must be a number above 0, not {wanted!r}.")
    return limit


def requested_outputs(request: pb.ModelInferRequest, deployment: Deployment) -> tuple[str, ...]:
    """Names of the outputs to return: those asked for, else the model's own, or all models'.

    Raises:
        InvalidArgument: a name that is none of this model's outputs, or twice the same.
    """
    own = deployment.outputs
    names = tuple(item.name for item in request.outputs) or deployment.binding.models or own
    accepted = (*own, SOURCE, EXPECTED_ERROR)
    if len(set(names)) != len(names):
        raise InvalidArgument(f"Outputs must differ, not be {', '.join(names)}.")
    for name in names:
        if name not in accepted:
            raise InvalidArgument(f"Unknown output {name!r}; accepted: {', '.join(accepted)}.")
    return names


def _value(name: str, parameter: pb.InferParameter) -> Any:
    kind = parameter.WhichOneof("parameter_choice")
    value = getattr(parameter, kind) if kind else None
    expected = PARAMETERS.get(name)
    if expected is not None and type(value) not in expected:
        kinds = " or ".join(accepted.__name__ for accepted in expected)
        raise InvalidArgument(f"Parameter {name!r} must be of kind {kinds}, not {kind or 'empty'}.")
    return value
