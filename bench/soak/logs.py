"""Logs of the services, read for what nobody handled. Pure."""

import re
from collections.abc import Iterator

from bench.soak.ledger import Violation

# Python's and asyncio's words for an exception that nobody took; the services' for an error.
SIGNS = re.compile(
    r"Traceback \(most recent call last\)|exception was never retrieved|was never awaited"
    r"|Exception ignored in|Exception in callback|Exception in thread|Unhandled exception"
    r'|failed unexpectedly|Task was destroyed|Fatal Python error|"level": "(?:error|critical)"'
)
# A worker that was too slow to load a program at the start greets anew, and is sent it again.
MENDED = "program-not-taken"
LONGEST = 300  # letters of a line that are told


def suspicious(name: str, text: str) -> Iterator[Violation]:
    """Lines of a log that tell of an unhandled exception.

    Args:
        name: of the service.
        text: its whole log.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if SIGNS.search(line) and MENDED not in line:
            yield Violation("log", f"{name}.log:{number}: {line.strip()[:LONGEST]}")
