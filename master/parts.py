"""Which rows of which requests a coded batch holds, and to which of them its answers belong."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from master.batcher import Plan
from master.query import Request


class Place(NamedTuple):
    """Where an answer belongs: these entries of the request are the answer in these groups."""

    request: Request
    entries: slice | tuple[slice, int]  # rows, and where it asks several models, which of them
    groups: slice
    answers: int


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
        model, b = divmod(j, q)
        places, position = [], 0
        for request, start, stop in self._parts:
            first = position + (b - position) % q  # first place of this part that is query b
            end = position + stop - start
            asked = (0,) if request.wishes.models is None else request.wishes.models
            if first < end and model in asked:
                rows = slice(start + first - position, stop, q)
                groups = slice(first // q, (end - 1 - b) // q + 1)
                entries = rows if request.wishes.models is None else (rows, asked.index(model))
                answers = len(range(rows.start, rows.stop, rows.step))
                places.append(Place(request, entries, groups, answers))
            position = end
        return places

    def wanted(self) -> frozenset[int]:
        """The answers that some request waits for: the rest is padding, or other models'."""
        rows = sum(stop - start for _, start, stop in self._parts)
        models = {m for request in self.requests for m in request.wishes.models or (0,)}
        return frozenset(m * self._q + b for m in models for b in range(min(self._q, rows)))
