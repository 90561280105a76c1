"""What a client gets: answers with their origin, row by row, and where the time went.

Frozen objects; nothing here knows messages or connections.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from kofn.wire.errors import Internal, KofnError
from kofn.wire.source import Source


@dataclass(frozen=True)
class Timings:
    """Seconds of one request: four stages as the master measured them, and all as the caller did.

    Attributes:
        queue_s: until its last row was in a coded batch.
        encode_s: encoding.
        wait_s: until enough workers had answered.
        decode_s: decoding.
        total_s: from the call to its return, network and retries included.
    """

    queue_s: float
    encode_s: float
    wait_s: float
    decode_s: float
    total_s: float


@dataclass(frozen=True, eq=False)
class Answers:
    """What came of one request, row by row; arrays are read-only views of the reply.

    Attributes:
        model: name of the model that answered.
        request_id: as the request had it.
        outputs: [rows, *answer] float32; [rows, models, *answer] where several models were asked.
        source: [rows] uint8, or [rows, models], see `Source`.
        expected_error: as source, float32: expected squared error over the answer's own size;
            0 for direct answers, NaN where the code cannot tell.
        responders: for each coded batch that held rows of the request, the slots that answered.
        n: slots of a coding group; 0 when the master did not tell.
        timings: where the time went.
        models: those that were asked, where they were several.
    """

    model: str
    request_id: str
    outputs: npt.NDArray[np.float32]
    source: npt.NDArray[np.uint8]
    expected_error: npt.NDArray[np.float32]
    responders: tuple[tuple[int, ...], ...]
    n: int
    timings: Timings
    models: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.outputs)

    @classmethod
    def joined(cls, parts: "Iterable[Answers]") -> "Answers":
        """Answers of consecutive batches as those of one; the times are the longest of each.

        Raises:
            ValueError: there is no part.
        """
        parts = list(parts)
        if not parts:
            raise ValueError("Argument 'parts' must hold at least one Answers, not none.")
        stages = (field.name for field in fields(Timings))
        return cls(
            model=parts[0].model,
            request_id=parts[0].request_id,
            outputs=np.concatenate([part.outputs for part in parts]),
            source=np.concatenate([part.source for part in parts]),
            expected_error=np.concatenate([part.expected_error for part in parts]),
            responders=tuple(slots for part in parts for slots in part.responders),
            n=parts[0].n,
            timings=Timings(
                *(max(getattr(part.timings, stage) for part in parts) for stage in stages)
            ),
            models=parts[0].models,
        )

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """As source, bool: rows without an answer; none unless `allow_partial` was asked for."""
        return np.equal(self.source, Source.MISSING)

    @property
    def is_whole(self) -> bool:
        """Every row has an answer."""
        return not self.missing.any()


@dataclass(frozen=True)
class StreamReply:
    """One reply of a stream: answers or an error, never both.

    Attributes:
        index: which of the stream's batches, from 0; replies come in the order they are ready.
        answers: None when the batch failed.
        error: None when it did not.
    """

    index: int
    answers: Answers | None
    error: KofnError | None

    def result(self) -> Answers:
        """The answers; raises the batch's KofnError when there are none."""
        if self.answers is None:
            raise self.error or Internal("the stream's reply was empty")
        return self.answers
