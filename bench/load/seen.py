"""What became of the requests of an open-loop load, in columns; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kofn.wire.source import Source

# A request that left so long after its time was late: a timer of an event loop is 1 ms late.
LATE_S = 0.01
MOST_LATE = 0.01  # share of late requests from which on the generator did not keep up


@dataclass(frozen=True, eq=False)
class Seen:
    """m requests of r queries each, in the order of their times.

    Attributes:
        rows: [m, r] int64, which images each held.
        late_s: [m] from the intended time to the moment when it was sent.
        latency_s: [m] from the intended time to the reply, or to giving up.
        source: [m, r] uint8, a `kofn.Source` each; MISSING where the request failed.
        outputs: [m, r, c] float32; meaningless where missing.
        responders: [m] float64, results that a coding group had when it was decoded, on average
            over the request's batches; NaN where the server does not tell.
        errors: why a request failed, by its number.
    """

    rows: npt.NDArray[np.int64]
    late_s: npt.NDArray[np.float64]
    latency_s: npt.NDArray[np.float64]
    source: npt.NDArray[np.uint8]
    outputs: npt.NDArray[np.float32]
    responders: npt.NDArray[np.float64]
    errors: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def joined(cls, parts: "Sequence[Seen]") -> "Seen":
        """Several loads of one kind of request as one.

        Raises:
            ValueError: there is no part.
        """
        if not parts:
            raise ValueError("Argument 'parts' must hold at least one Seen, not none.")
        starts = np.cumsum([0, *(len(part) for part in parts)])
        return cls(
            rows=np.concatenate([part.rows for part in parts]),
            late_s=np.concatenate([part.late_s for part in parts]),
            latency_s=np.concatenate([part.latency_s for part in parts]),
            source=np.concatenate([part.source for part in parts]),
            outputs=np.concatenate([part.outputs for part in parts]),
            responders=np.concatenate([part.responders for part in parts]),
            errors={
                int(start) + number: text
                for start, part in zip(starts[:-1], parts, strict=True)
                for number, text in part.errors.items()
            },
        )

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """[m, r] top class; meaningless where missing."""
        classes: npt.NDArray[np.int64] = self.outputs.argmax(axis=-1)
        return classes

    @property
    def is_missing(self) -> npt.NDArray[np.bool_]:
        """[m, r] no answer came."""
        return np.equal(self.source, Source.MISSING)

    @property
    def late_share(self) -> float:
        """Of requests, those sent more than LATE_S after their time."""
        return float((self.late_s > LATE_S).mean()) if len(self) else 0.0

    @property
    def kept_up(self) -> bool:
        """The generator sent in time; else it, or its machine, was too slow for this load."""
        return self.late_share <= MOST_LATE
