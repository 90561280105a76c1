"""What a client may ask, said once for both of its stacks: method, message, parsing, repetition.

A `Call` is data; `aio` and `sync` make it. When a failed call may be made again is decided here:

- A question (metadata, status) is asked again whenever the master could not be reached.
- Inference and what changes the master are sent again only where they were certainly not taken:
  no connection was had, or the master said that it is draining or not ready. A connection lost
  halfway is the caller's to judge, although inference repeats nothing but work.
- Never past the call's deadline, and at most `Retry.attempts` times in all.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy.typing as npt

from kofn.client.answers import Answers
from kofn.client.messages import (
    Names,
    Parameters,
    as_text,
    infer_request,
    names_of,
    parse_answers,
)
from kofn.wire import control_pb2
from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import NEVER_TAKEN, KofnError, Unavailable

T = TypeVar("T")

# The master is asked to answer this much before the client hangs up, so that an answer, or a part
# of one, is not on its way when time is up: a tenth of the time, and a tenth of a second at most.
REPLY_SHARE, REPLY_MOST_S = 0.1, 0.1

TIMEOUT_S = 10.0  # of a call that is given no other
MESSAGE_MB = 64  # as of a master that is given no other
DEPLOY_TIMEOUT_S = (
    120.0  # programs of some 100 MB to each worker, and a calibration of 1000 queries
)


@dataclass(frozen=True)
class Retry:
    """How often a call is made again, and after which pauses; they double and are jittered.

    Attributes:
        attempts: calls in all, the first included; 1 never repeats.
        first_pause_s: before the second attempt, at most; at least half of it.
        longest_pause_s: bound of the doubling.
    """

    attempts: int = 4
    first_pause_s: float = 0.1  # a lost connection is dialled again after 0.1 s at the earliest
    longest_pause_s: float = 1.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"Argument 'attempts' must be at least 1, not {self.attempts}.")
        if not 0 < self.first_pause_s <= self.longest_pause_s:
            raise ValueError(
                f"Argument 'first_pause_s' must be in 0..longest_pause_s = "
                f"{self.longest_pause_s}, not {self.first_pause_s}."
            )

    def pause_s(self, failed: int, left_s: float) -> float | None:
        """Seconds until the next attempt after `failed` ones; None when there shall be none."""
        if failed >= self.attempts:
            return None
        longest = min(self.first_pause_s * 2.0 ** (failed - 1), self.longest_pause_s)
        pause_s = longest * random.uniform(0.5, 1.0)  # clients that failed together come apart
        return pause_s if pause_s < left_s else None


@dataclass(frozen=True)
class Call(Generic[T]):
    """One unary call.

    Attributes:
        service: which stub has the method.
        method: its name.
        request: the message.
        parse: the reply's message to what the caller gets.
        repeats: when it may be made again: "always" (a question), "untaken", "never".
        is_timed: `request` tells the master how long it has; set anew for each attempt.
    """

    service: Literal["inference", "control"]
    method: str
    request: Any
    parse: Callable[[Any], T]
    repeats: Literal["always", "untaken", "never"] = "always"
    is_timed: bool = False

    def message(self, left_s: float) -> Any:
        """The message of an attempt that has `left_s` seconds."""
        if self.is_timed:
            own_s = left_s - min(REPLY_SHARE * left_s, REPLY_MOST_S)
            self.request.parameters["timeout_ms"].int64_param = max(1, int(own_s * 1e3))
        return self.request

    def may_repeat(self, error: KofnError) -> bool:
        """Making the call again after `error` is safe and not pointless."""
        if not isinstance(error, Unavailable) or self.repeats == "never":
            return False
        return self.repeats == "always" or error.reason in NEVER_TAKEN


def split(
    images: npt.NDArray[Any], batch_size: int, concurrency: int
) -> Iterator[npt.NDArray[Any]]:
    """Batches of consecutive images, the last one perhaps smaller.

    Raises:
        ValueError: `batch_size` or `concurrency` below 1.
    """
    for name, value in (("batch_size", batch_size), ("concurrency", concurrency)):
        if value < 1:
            raise ValueError(f"Argument {name!r} must be at least 1, not {value}.")
    return (images[start : start + batch_size] for start in range(0, len(images), batch_size))


def infer(
    model: str,
    names: Names,
    images: npt.NDArray[Any],
    parameters: Parameters,
    request_id: str | None,
    is_timed: bool,
    elapsed_s: Callable[[], float],
) -> Call[Answers]:
    """ModelInfer; a `timeout_ms` among the parameters is the caller's word and stays."""
    request = infer_request(
        model, names, images, parameters=parameters, request_id=request_id or ""
    )
    return Call(
        "inference",
        "ModelInfer",
        request,
        lambda reply: parse_answers(reply, names, len(images), elapsed_s()),
        repeats="untaken",
        is_timed=is_timed and "timeout_ms" not in parameters,
    )


def names(model: str) -> Call[Names]:
    """Names of a model's tensors."""
    return Call("inference", "ModelMetadata", pb.ModelMetadataRequest(name=model), names_of)


def metadata(model: str) -> Call[pb.ModelMetadataResponse]:
    """Inputs and outputs of a model."""
    return Call("inference", "ModelMetadata", pb.ModelMetadataRequest(name=model), _same)


def server_metadata() -> Call[pb.ServerMetadataResponse]:
    """Name, version and extensions of the server."""
    return Call("inference", "ServerMetadata", pb.ServerMetadataRequest(), _same)


def config(model: str) -> Call[pb.ModelConfig]:
    """Triton's configuration of a model."""
    request = pb.ModelConfigRequest(name=model)
    return Call("inference", "ModelConfig", request, lambda reply: reply.config)


def statistics(model: str) -> Call[tuple[pb.ModelStatistics, ...]]:
    """Counters of one model, or of all."""
    request = pb.ModelStatisticsRequest(name=model)
    return Call("inference", "ModelStatistics", request, lambda reply: tuple(reply.model_stats))


def is_live() -> Call[bool]:
    """ServerLive; asked once, for now is what counts."""
    request = pb.ServerLiveRequest()
    return Call("inference", "ServerLive", request, lambda reply: bool(reply.live), "never")


def is_ready() -> Call[bool]:
    """ServerReady; asked once."""
    request = pb.ServerReadyRequest()
    return Call("inference", "ServerReady", request, lambda reply: bool(reply.ready), "never")


def model_ready(model: str) -> Call[bool]:
    """ModelReady; asked once."""
    request = pb.ModelReadyRequest(name=model)
    return Call("inference", "ModelReady", request, lambda reply: bool(reply.ready), "never")


def status() -> Call[control_pb2.Status]:
    """Workers and deployments."""
    return Call("control", "GetStatus", control_pb2.GetStatusRequest(), _same)


def set_faults(
    faults: str | Mapping[str, Any] | None, workers: Sequence[str]
) -> Call[control_pb2.FaultsReply]:
    """Replace injected faults."""
    request = control_pb2.SetFaultsRequest(workers=workers, faults_json=as_text(faults))
    return Call("control", "SetFaults", request, _same, repeats="untaken")


def get_faults(workers: Sequence[str]) -> Call[control_pb2.FaultsReply]:
    """Injected faults."""
    return Call("control", "GetFaults", control_pb2.GetFaultsRequest(workers=workers), _same)


def deploy(deployment: str | Mapping[str, Any]) -> Call[control_pb2.DeploymentStatus]:
    """Start or replace a deployment."""
    request = control_pb2.DeployRequest(deployment_yaml=as_text(deployment))
    return Call("control", "Deploy", request, _same, repeats="untaken")


def undeploy(name: str) -> Call[None]:
    """End a deployment."""
    request = control_pb2.UndeployRequest(name=name)
    return Call("control", "Undeploy", request, lambda _: None, repeats="untaken")


def _same(reply: Any) -> Any:
    return reply
