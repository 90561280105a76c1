"""The least of many workers whose keys change all the time, without looking at each of them.

A heap in which a key that has changed leaves an entry behind; that is dropped when it comes up, and
all such are when they are more than the others.
"""

from collections.abc import Collection
from heapq import heapify, heappop, heappush

Key = tuple[int, ...]

FEW = 64  # entries: so many outdated ones are never worth a thought


class Ranking:
    """Names in the order of their keys, the least first; of equal keys any."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}  # of those that are ranked
        self._heap: list[tuple[Key, str]] = []  # holds each key, once or more, and outdated ones

    def __repr__(self) -> str:
        """Names in their order, for logs."""
        return f"Ranking({', '.join(sorted(self._keys, key=self._keys.__getitem__))})"

    @property
    def keys(self) -> dict[str, Key]:
        """Of those that are ranked."""
        return dict(self._keys)

    def put(self, name: str, key: Key) -> None:
        """Rank it, in place of where it was."""
        if self._keys.get(name) == key:
            return
        self._keys[name] = key
        heappush(self._heap, (key, name))
        if len(self._heap) > 2 * len(self._keys) + FEW:
            self._heap = [(key, name) for name, key in self._keys.items()]
            heapify(self._heap)

    def drop(self, name: str) -> None:
        """Rank it no more. Unknown names are ignored."""
        self._keys.pop(name, None)

    def least(self, count: int, exclude: Collection[str] = ()) -> list[str]:
        """The first so many outside `exclude`, fewer where there are not so many."""
        met: dict[str, Key] = {}  # the first ones, excluded ones too: they go back
        found: list[str] = []
        while self._heap and len(found) < count:
            key, name = heappop(self._heap)
            if name not in met and self._keys.get(name) == key:
                met[name] = key
                if name not in exclude:
                    found.append(name)
        for name, key in met.items():
            heappush(self._heap, (key, name))
        return found
