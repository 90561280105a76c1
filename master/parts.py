"""Which rows of which requests a coded batch holds, and to which of them its answers belong."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from master.batcher import Plan
from master.query import Request


class Place(NamedTuple):
    """Where an answer belongs: these rows of the request are the answer in these groups."""

    request: Request
    rows: slice
    groups: slice


class Parts:
    """The requests' rows of one batch, in the order in which they are coded.

    Args:
        plan: of the batch.
        requests: those that it names, by their id.
        q: queries in a coding group.
    """

    def __init__(self, plan: Plan, requests: Mapping[int, Request], q: int) -> None:
        self._padding = plan.padding
        self._parts = [(requests[s.request], s.start, s.stop) for s in plan.segments]
        self._q = q

    @property
    def requests(self) -> list[Request]:
        """Whose rows these are, oldest first."""
        return [request for request, _, _ in self._parts]

    def stacked(self) -> np.ndarray:
        """All rows [groups * q, *query], the last group filled up."""
        pieces = [request.rows[start:stop] for request, start, stop in self._parts]
        if self._padding:  # repeats a real row: a shape of zeros could be out of range
            pieces.append(np.repeat(pieces[-1][-1:], self._padding, axis=0))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def places(self, j: int) -> list[Place]:
        """For answer j: each request's rows that it holds, and the groups they are in."""
        q = self._q
        places, position = [], 0
        for request, start, stop in self._parts:
            first = position + (j - position) % q  # first place of this part that is answer j
            end = position + stop - start
            if first < end:
                rows = slice(start + first - position, stop, q)
                groups = slice(first // q, (end - 1 - j) // q + 1)
                places.append(Place(request, rows, groups))
            position = end
        return places
