"""What can be done to a worker from outside, and how it is undone."""

from abc import ABC, abstractmethod
from typing import ClassVar, final

from kofn.wire.errors import InvalidArgument, KofnError

KINDS = (
    "pause", "unpause", "kill", "restart", "disconnect", "connect", "limit-cpu", "unlimit-cpu",
)  # fmt: skip
REMEDIES = {
    "pause": "unpause",
    "kill": "restart",
    "disconnect": "connect",
    "limit-cpu": "unlimit-cpu",
}


class Chaos(ABC):
    """Harm to the workers of one cluster; remembers what is still in force.

    Attributes:
        remedies: what undoes what, of all that it can do.
    """

    remedies: ClassVar[dict[str, str]] = REMEDIES

    def __init__(self) -> None:
        self._in_force: dict[tuple[str, str], None] = {}  # worker and kind, in order

    @final
    async def act(self, worker: str, kind: str, cpus: float | None = None) -> None:
        """Do one thing to one worker; what is so already stays so.

        Args:
            worker: its name.
            kind: of `KINDS`.
            cpus: of "limit-cpu": how many CPUs it may use, such as 0.5.

        Raises:
            NotFound: no such worker.
            InvalidArgument: `cpus` with another kind, or a kind that this worker's home has not.
            KofnError: it could not be done.
        """
        if (kind == "limit-cpu") != (cpus is not None):
            raise InvalidArgument("'cpus' must be given with limit-cpu, and with nothing else.")
        await self._act(worker, kind, cpus)
        for harm, remedy in self.remedies.items():
            if kind == remedy:
                self._in_force.pop((worker, harm), None)
        if kind in self.remedies:
            self._in_force[worker, kind] = None

    @final
    async def undo(self) -> list[tuple[str, str]]:
        """Undo what is in force, the last first; returns worker and remedy each.

        Raises:
            KofnError: of the first that could not be undone, when all have been tried.
        """
        done, errors = [], []
        for worker, kind in reversed(list(self._in_force)):
            remedy = self.remedies[kind]
            try:
                await self.act(worker, remedy)
            except KofnError as error:
                errors.append(error)  # the others are undone all the same
            else:
                done.append((worker, remedy))
        if errors:
            raise errors[0]
        return done

    @abstractmethod
    async def workers(self) -> list[str]:
        """The names of all workers, dead ones included."""

    @abstractmethod
    async def close(self) -> None:
        """Hang up; what is in force stays."""

    @abstractmethod
    async def _act(self, worker: str, kind: str, cpus: float | None) -> None:
        """Of `act`, the doing."""
