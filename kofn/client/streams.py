"""One stream of batches, as its client remembers it: what was sent, and whose a reply is.

Both stacks use it; it neither sends nor waits.
"""

from time import monotonic
from typing import Any

import numpy.typing as npt

from kofn.client.answers import StreamReply
from kofn.client.messages import Names, Parameters, infer_request, parse_answers, parse_error
from kofn.wire import inference_pb2 as pb
from kofn.wire.errors import Internal


class BatchStream:
    """The requests of one stream; a request's id is its number.

    Args:
        model: name of a deployment.
        names: of the model's tensors.
        parameters: of each request.
    """

    def __init__(self, model: str, names: Names, parameters: Parameters) -> None:
        self._model = model
        self._names = names
        self._parameters = parameters
        self._sent: list[tuple[int, float]] = []  # rows of each batch, and when it went out
        # What the caller's batches raised; gRPC would log and swallow it.
        self.broken: Exception | None = None

    def request(self, batch: npt.NDArray[Any]) -> pb.ModelInferRequest:
        """The next batch's message; raises TypeError as `infer_request`."""
        request = infer_request(
            self._model,
            self._names,
            batch,
            parameters=self._parameters,
            request_id=str(len(self._sent)),
        )
        self._sent.append((len(batch), monotonic()))
        return request

    def reply(self, message: pb.ModelStreamInferResponse) -> StreamReply:
        """Whose reply a message is, and what it says; raises Internal when it is nobody's."""
        told = message.infer_response.id
        if not told.isdecimal() or int(told) >= len(self._sent):
            raise Internal(f"malformed stream reply: id {told!r}: {message.error_message}")
        index = int(told)
        if message.error_message:
            return StreamReply(index, None, parse_error(message.error_message))
        rows, began = self._sent[index]
        answers = parse_answers(message.infer_response, self._names, rows, monotonic() - began)
        return StreamReply(index, answers, None)
