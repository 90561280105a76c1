"""From what was seen of a system at a point to its record's figures. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.load.figures import Kept, Latency
from bench.load.histogram import LogHistogram
from bench.load.seen import Seen
from bench.sweep.counters import Counters
from bench.sweep.record import Cost, Measured, Turn
from kofn.wire.source import Source
from models.cards import Metric, wilson


@dataclass(frozen=True, eq=False)
class Truth:
    """The queries' true classes, and what the base model says.

    Attributes:
        labels: [m] true class of each image.
        outputs: [m, c] of the base model, uncoded.
    """

    labels: npt.NDArray[np.int64]
    outputs: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Taken:
    """One turn of a system.

    Attributes:
        seen: what became of its requests.
        spent: what was counted meanwhile.
        master_mib, worker_mib: resident memory at its end, of the largest worker; None unknown.
    """

    seen: Seen
    spent: Counters
    master_mib: float | None = None
    worker_mib: float | None = None


@dataclass(frozen=True)
class Sizes:
    """Of the code of a system: answers and slots of a group, and whether a query has a slot of its
    own, without which every answer is decoded."""

    k: int
    n: int
    is_systematic: bool


def measured(
    turns: Sequence[Taken],
    truth: Truth,
    sizes: Sizes,
    clean: Metric | None,
    *,
    alive: int,
    seconds: float,
) -> Measured:
    """All turns of a system at a point.

    Args:
        turns: at least one, of at least one request each.
        clean: accuracy with no worker lost.
        alive: workers that were.
        seconds: that a turn took.
    """
    seen = Seen.joined([turn.seen for turn in turns])
    spent = turns[0].spent
    for turn in turns[1:]:
        spent += turn.spent
    credit = np.where(
        seen.is_missing,
        1 / truth.outputs.shape[1],
        seen.predictions == truth.labels[seen.rows],
    )
    decoded = seen.source == Source.DECODED
    lost = seen.source != Source.DIRECT
    if not sizes.is_systematic:  # nothing is direct: what counts is whether a result lacked
        lost = seen.is_missing | (seen.responders < sizes.n)[:, None]
    told = ~np.isnan(seen.responders)
    queries = seen.source.size
    return Measured(
        queries=queries,
        direct=int((seen.source == Source.DIRECT).sum()),
        decoded=int(decoded.sum()),
        missing=int(seen.is_missing.sum()),
        refused=len(seen.errors) * seen.rows.shape[1],
        groups=int(spent.groups),
        clean=clean,
        overall=_share(credit),
        lost_only=_share(credit[lost]) if lost.any() else None,
        **_decoded(seen, decoded, truth),
        mean_responders=float(seen.responders[told].mean()) if told.any() else None,
        latency=Latency.of(LogHistogram.of(seen.latency_s)),
        turns=tuple(_turn(turn.seen) for turn in turns),
        cost=Cost(
            load_factor=sizes.n / sizes.k,
            measured_load_factor=_slots(spent) / queries,
            worker_s_per_query=spent.busy_s / queries,
            utilisation=spent.busy_s / (alive * seconds * len(turns)),
            sent_bytes_per_query=spent.sent_bytes / queries,
            master_cpu_s_per_query=spent.master_cpu_s / queries,
            master_peak_mib=_largest([turn.master_mib for turn in turns]),
            worker_peak_mib=_largest([turn.worker_mib for turn in turns]),
        ),
        load=Kept.of(seen),
    )


def _decoded(seen: Seen, decoded: npt.NDArray[np.bool_], truth: Truth) -> dict[str, object]:
    """How decoded answers compare with the base model's."""
    if not decoded.any():
        return {"agreement": None, "error": None}
    answers, wanted = seen.outputs[decoded], truth.outputs[seen.rows[decoded]]
    agrees = answers.argmax(axis=1) == wanted.argmax(axis=1)
    off = np.linalg.norm(answers - wanted) / np.linalg.norm(wanted)
    return {"agreement": _share(agrees.astype(float)), "error": float(off)}


def _share(credit: npt.NDArray[np.float64]) -> Metric:
    """The mean credit of at least one query; guesses are worth a part of one."""
    hits = float(credit.sum())
    return Metric(
        value=hits / credit.size, count=credit.size, interval=wilson(round(hits), credit.size)
    )


def _slots(spent: Counters) -> float:
    """Slots sent to workers: tasks, of as many groups as a batch had on average."""
    return spent.tasks * spent.groups / spent.batches if spent.batches else 0.0


def _turn(seen: Seen) -> Turn:
    latency = Latency.of(LogHistogram.of(seen.latency_s))
    return Turn(
        queries=seen.source.size,
        p50_ms=latency.p50_ms,
        p90_ms=latency.p90_ms,
        p99_ms=latency.p99_ms,
        p999_ms=latency.p999_ms,
        max_ms=latency.max_ms,
        late_share=seen.late_share,
    )


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
