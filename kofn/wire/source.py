"""Where a row's answer came from: the values of the output "source"."""

from enum import IntEnum


class Source(IntEnum):
    """Where a row's answer came from."""

    MISSING = 0  # there is none; its outputs are meaningless
    DIRECT = 1  # its own worker answered: exactly what the uncoded model gives
    DECODED = 2  # computed from other workers' results
