"""Carries out a schedule of troubles, and keeps the log of what really happened."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

import kofn
from bench.soak.cluster import Soakable
from bench.soak.plan import AFTER_LIE_S, Trouble
from bench.soak.systems import MOST_SLOTS

CLEAR_TRIES, CLEAR_PAUSE_S = 10, 1.0
ASK_S = 5.0
SERVING = ("up", "on probation")
BACK_S = 180.0  # after the last trouble; a new process imports torch and loads all programs
CPUS = 0.05  # of a worker that is starved


@dataclass
class Event:
    """A trouble as it came to pass.

    Attributes:
        trouble: as planned.
        began_s, ended_s: of the run; None while it has not.
        outcome: "done", or why it was left out or went wrong.
    """

    trouble: Trouble
    began_s: float | None = None
    ended_s: float | None = None
    outcome: str = "planned"


class Chaos:
    """Troubles of one run.

    Args:
        cluster: whose workers.
        client: of its master.
        schedule: in order of time.
        clock: seconds of the run.
        tell: called with a line for each event.
    """

    def __init__(
        self,
        cluster: Soakable,
        client: kofn.AsyncClient,
        schedule: Iterable[Trouble],
        clock: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self.events = [Event(trouble) for trouble in schedule]
        self._cluster = cluster
        self._client = client
        self._clock = clock
        self._tell = tell

    @property
    def now(self) -> list[Trouble]:
        """Those under way."""
        return [e.trouble for e in self.events if e.began_s is not None and e.ended_s is None]

    def lied_since(self, since_s: float) -> bool:
        """Some worker lied at a moment from then until now, or its lies may have been under way."""
        return any(
            event.began_s is not None
            and (inf if event.ended_s is None else event.ended_s) + AFTER_LIE_S >= since_s
            for event in self.events
            if event.trouble.is_lie
        )

    async def run(self) -> None:
        """Returns when all troubles are over; cancelled, it undoes what is under way."""
        async with asyncio.TaskGroup() as group:
            for event in self.events:
                group.create_task(self._carry_out(event), name=f"trouble {event.trouble.kind}")

    async def all_back(self) -> bool:
        """Wait until every worker serves, or would but for its lies; False when one does not."""
        try:
            async with asyncio.timeout(BACK_S):
                while True:
                    workers = (await self._client.status(timeout_s=ASK_S)).workers
                    if all(w.state in (*SERVING, "quarantined") for w in workers):
                        return True
                    await asyncio.sleep(CLEAR_PAUSE_S)
        except (TimeoutError, kofn.KofnError):
            return False

    async def _carry_out(self, event: Event) -> None:
        trouble = event.trouble
        await asyncio.sleep(max(0.0, trouble.at_s - self._clock()))
        try:
            if not await self._has_room(trouble):
                event.outcome = "left out: too few workers are up"
                return
            async with self._trouble(event):
                self._tell(f"{event.began_s:7.1f} s  {trouble.kind}: {trouble.worker}")
                await asyncio.sleep(trouble.lasts_s)
            event.outcome = "done"
        except (kofn.KofnError, OSError) as error:
            event.outcome = f"went wrong: {error}"
        finally:
            self._tell(f"{self._clock():7.1f} s  {trouble.kind}: {trouble.worker}: {event.outcome}")

    async def _has_room(self, trouble: Trouble) -> bool:
        workers = (await self._client.status(timeout_s=ASK_S)).workers
        troubled = {other.worker for other in self.now}
        up = {w.name for w in workers if w.state in SERVING} - troubled
        return trouble.worker in up and len(up) - 1 >= MOST_SLOTS

    @asynccontextmanager
    async def _trouble(self, event: Event) -> AsyncIterator[None]:
        trouble = event.trouble
        event.began_s = self._clock()
        try:
            if trouble.faults is None:
                await self._harm(trouble.kind, trouble.worker)
                try:
                    yield
                finally:
                    await asyncio.shield(self._mend(trouble.kind, trouble.worker))
            else:
                await self._inject(trouble)
                try:
                    yield
                finally:
                    await asyncio.shield(self._clear(trouble))
        finally:
            event.ended_s = self._clock()

    async def _harm(self, kind: str, worker: str) -> None:
        assert self._cluster.chaos is not None  # else no such trouble is planned
        await self._cluster.chaos.act(worker, kind, CPUS if kind == "limit-cpu" else None)

    async def _mend(self, kind: str, worker: str) -> None:
        assert self._cluster.chaos is not None
        if kind in self._cluster.chaos.remedies:  # else it comes back by itself
            await self._cluster.chaos.act(worker, self._cluster.chaos.remedies[kind])

    async def _inject(self, trouble: Trouble) -> None:
        reply = await self._client.set_faults(trouble.faults, [trouble.worker], timeout_s=ASK_S)
        if reply.workers[0].error:
            raise kofn.Unavailable(reply.workers[0].error)

    async def _clear(self, trouble: Trouble) -> None:
        """A worker that hangs, or whose stream breaks just then, is told again."""
        for _ in range(CLEAR_TRIES):
            try:
                reply = await self._client.set_faults(None, [trouble.worker], timeout_s=ASK_S)
                if not reply.workers[0].error:
                    return
            except kofn.KofnError:
                pass
            await asyncio.sleep(CLEAR_PAUSE_S)
        raise kofn.Unavailable(f"the faults of {trouble.worker} could not be cleared")
