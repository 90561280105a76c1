"""Matrices a tile at a time: small enough that it, and what is made of it, stay in the cache."""

from collections.abc import Iterator

TILE_BYTES = 1 << 19  # of all that is in hand, in float64: the quickest of 2^17 to 2^22
# Multiply-adds of a product that OpenBLAS does in one thread: its threads wait for each other in
# loops, and beside other work on the same cores a decode of 0.07 s took 1.2 s.
ALONE = 1 << 18
FEWEST, MOST = 512, 1 << 13  # entries: calls cost as much as what they do; sums in one thread


def tiles(height: int, width: int, entries: int) -> Iterator[tuple[slice, slice]]:
    """Where tiles of so many entries are in matrices of this shape: whole lines if these are short
    enough, else parts of one."""
    down, across = max(1, entries // width), -(-width // -(-width // entries))
    for top in range(0, height, down):
        lines = slice(top, min(top + down, height))
        for left in range(0, width, across):
            yield lines, slice(left, min(left + across, width))


def entries_of_tile(given: int, made: int = 1) -> int:
    """Of each of so many matrices, of which so many mixes are made."""
    return max(FEWEST, min(TILE_BYTES // (8 * (given + made)), ALONE // (given * made), MOST))
