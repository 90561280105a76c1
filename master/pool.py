"""The workers at hand: a link to each address, programs pushed to them, slots assigned to them.

The pool decides nothing about coding groups; which worker is next is `assignment`'s decision,
taken over the workers that are up, hold every deployed program and are not known to lie.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

import structlog

from kofn.wire.errors import KofnError
from master.assignment import Assignment
from master.dialling import Dialling
from master.discovery import RESOLVE_EVERY_S, needs_resolving, resolve
from master.link import Link
from master.trust import Trust

log = structlog.get_logger(__name__)

EventSink = Callable[[str, str, str], None]  # kind, subject, detail


class Pool:
    """Links to all workers, and which of them may be sent work.

    Args:
        targets: "host:port" each; names are looked up again every second.
        on_event: told of workers that come and go.
        dialling: how the links reach workers; by default in plaintext.
    """

    def __init__(
        self,
        targets: Sequence[str],
        on_event: EventSink,
        dialling: Dialling = Dialling(),  # noqa: B008 - frozen
    ) -> None:
        self.links: dict[str, Link] = {}  # by address
        self.assignment = Assignment()  # of addresses; members are up and hold all programs
        self.trust = Trust()  # in addresses
        self._targets = tuple(targets)
        self._on_event = on_event
        self._dialling = dialling
        self._programs: dict[str, bytes] = {}  # content hash -> archive, of all deployments
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by address: its link, running
        self._release_timer: asyncio.TimerHandle | None = None  # when the next quarantine ends
        self._changed = asyncio.Event()  # set whenever a worker comes or goes

    async def run(self) -> None:
        """Look for workers and keep a link to each, until cancelled."""
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    self._follow(await resolve(self._targets), group)
                    if not needs_resolving(self._targets):
                        await asyncio.Event().wait()  # fixed addresses: nothing more to find
                    await asyncio.sleep(RESOLVE_EVERY_S)
            finally:
                for task in self._tasks.values():
                    task.cancel()
                if self._release_timer is not None:
                    self._release_timer.cancel()

    @property
    def workers_up(self) -> int:
        """How many workers may be sent work."""
        return len(self.assignment)

    async def wait_for_workers(self, count: int, timeout_s: float) -> bool:
        """Wait until `count` workers are up; False when that took longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.workers_up < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def provide(self, program: str, archive: bytes) -> None:
        """Make a program one that every worker holds; those that are up get it now.

        A worker that does not take it gets no work until it has it: its link begins anew.
        """
        self._programs[program] = archive
        up = [link for link in self.links.values() if link.state == "up"]
        outcomes = await asyncio.gather(*(self._push(link) for link in up), return_exceptions=True)
        for link, outcome in zip(up, outcomes, strict=True):
            if isinstance(outcome, KofnError):
                self.assignment.drain(link.address)
                log.error("program-not-taken", worker=link.name, reason=str(outcome))
                self._on_event("worker-draining", link.name, f"it does not take {program[:12]}")
                link.renew(f"a program was not taken: {outcome}")
            elif isinstance(outcome, BaseException):
                raise outcome

    def forget(self, program: str) -> None:
        """No deployment needs this program any more."""
        self._programs.pop(program, None)

    def tell(self, kind: str, subject: str, detail: str) -> None:
        """An event that is about workers, and that somebody else found out."""
        self._on_event(kind, subject, detail)

    def heard(self, address: str, *, lied: bool, needed: int) -> None:
        """A result of this worker was judged; `needed` workers must stay, whoever lies."""
        has_spare = self.workers_up > needed
        if not self.trust.heard(address, lied, has_spare, monotonic()):
            return
        self.assignment.quarantine(address)
        self._await_release()
        name, lies = self.name(address), self.trust.lies(address)
        log.warning("worker-quarantined", worker=name, address=address, lies=lies)
        self._on_event("worker-quarantined", name, f"{lies} wrong results so far")

    def _await_release(self) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        due = self.trust.next_due()
        if due is not None:
            self._release_timer = asyncio.get_running_loop().call_at(due, self._release)

    def _release(self) -> None:
        for address in self.trust.release(monotonic()):
            if self.assignment.release(address):
                name = self.name(address)
                log.info("worker-on-probation", worker=name, address=address)
                self._on_event("worker-on-probation", name, address)
                self._changed.set()
        self._await_release()

    def name(self, address: str) -> str:
        """Its own, as far as known."""
        link = self.links.get(address)
        return address if link is None else link.name

    # Listener of the links.

    async def prepare(self, link: Link) -> None:
        """Push what the worker lacks."""
        await self._push(link)

    def up(self, link: Link) -> None:
        """Let it take work."""
        self.assignment.join(link.address)
        if self.trust.standing(link.address) == "quarantined":
            self.assignment.quarantine(link.address)
        self._changed.set()
        log.info("worker-up", worker=link.name, address=link.address)
        self._on_event("worker-up", link.name, link.address)

    def draining(self, link: Link) -> None:
        """Send it nothing new."""
        self.assignment.drain(link.address)
        self._on_event("worker-draining", link.name, link.address)

    def lost(self, link: Link, reason: str) -> None:
        """It is gone until it greets again."""
        self.assignment.leave(link.address)
        self._on_event("worker-down", link.name, reason)

    async def _push(self, link: Link) -> None:
        while missing := [name for name in self._programs if name not in link.programs]:
            await link.push(missing[0], self._programs[missing[0]])

    def _follow(self, addresses: Mapping[str, str], group: asyncio.TaskGroup) -> None:
        for address in sorted(addresses.keys() - self.links.keys()):
            link = Link(address, self, self._dialling, addresses[address])
            self.links[address] = link
            self._tasks[address] = group.create_task(link.run(), name=f"link {address}")
        for address in sorted(self.links.keys() - addresses.keys()):
            # A name server that forgets a living worker is no reason to drop its work.
            if self.links[address].state in ("connecting", "down"):
                del self.links[address]
                self.trust.forget(address)
                self._tasks.pop(address).cancel()
