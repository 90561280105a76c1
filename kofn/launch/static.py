"""Workers that run already, wherever and by whomever they were started."""

from collections.abc import Sequence
from pathlib import Path

from kofn.launch.launcher import Launcher, Worker
from kofn.wire.errors import FailedPrecondition


class StaticWorkers(Launcher):
    """Neither started nor ended here.

    Args:
        targets: "host:port" each; a name stands for all its addresses, and `file:PATH` for the
            addresses in a file, one a line. The master looks both up again and again.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        super().__init__([Worker(target, target) for target in targets])

    async def kill(self, name: str) -> None:
        """See `Launcher`; refused."""
        raise self._refusal(name)

    async def restart(self, name: str) -> None:
        """See `Launcher`; refused."""
        raise self._refusal(name)

    async def logs(self, name: str) -> str:
        """See `Launcher`; refused."""
        raise self._refusal(name)

    async def _start(self, folder: Path) -> None:
        """Nothing to do."""

    async def _end(self) -> None:
        """Nothing to do."""

    def _refusal(self, name: str) -> FailedPrecondition:
        worker = self._named(name)
        return FailedPrecondition(
            f"{worker.name} was not started here: whoever started it can end it and has its log."
        )
