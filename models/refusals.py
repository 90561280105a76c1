"""Why an archive is not taken: two errors, raised before anything in the archive can run.

In the query's way: nowhere; a refused program never gets to a worker's device.
"""


class ProgramRefused(ValueError):
    """The archive is not one that this system runs; the text says why."""


class HashMismatch(ProgramRefused):
    """The archive is sound, and not the one asked for.

    Attributes:
        expected: the content hash asked for, 64 hex digits.
        actual: the archive's own.
    """

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"The archive's content hash must be {expected}, not {actual}.")
        self.expected = expected
        self.actual = actual
