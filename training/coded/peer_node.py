"""A node that trains together with its peers, without a master.

Every node has the data, its coded blocks, and nothing else of the weights. For each product it
computes its share, gathers the others' from their nodes, locates the wrong ones, decodes, activates
and encodes for itself: what goes wrong in that only spoils its own next share, where the others see
it. Before an update reaches its block all nodes compare random projections of what they are about
to use; who is wrong goes through the step again by the answers that it kept. Blocks are compared
now and then; a wrong one is made anew from the node's own copy and the updates since.

All that computes runs in a thread, one piece after the other, so that peers are answered meanwhile.

Who fell behind, or was killed and starts with nothing, makes its block from the others' copies of
theirs, and replays what it has missed. Nobody waits for it: its share is erased until it is back.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from training.coded.gathering import Lost, gathered
from training.coded.local import NO_FAULTS, Rates
from training.coded.network import Wanted
from training.coded.nodes import Array, Part
from training.coded.peer_joining import WITNESSES, rebuilt, witnessed
from training.coded.peer_plan import NodeReport, Plan
from training.coded.peer_state import Done, NodeState
from training.coded.peer_work import Answered, Work, key_of
from training.coded.peers import Factors, Gone, Key, Peers, Standing
from training.coded.scheme import UNDECODABLE, Answer, Scheme
from training.coded.weight import SPARE_COLUMNS, StateLost

RETRIES = 8

T = TypeVar("T")


class Spoilt(RuntimeError):
    """This node's blocks and its own copy are wrong: only the others' copies are left."""


@dataclass
class _Moment:
    """What this node has to give at a key: computed once for every attempt."""

    make: Callable[[], Awaitable[Array]]
    by_attempt: dict[int, "asyncio.Future[Array]"] = field(default_factory=dict)

    async def result(self, attempt: int) -> Array:
        if attempt not in self.by_attempt:
            self.by_attempt[attempt] = asyncio.ensure_future(self.make())
        return await asyncio.shield(self.by_attempt[attempt])  # one who asks may give up


class PeerNode:
    """One node.

    Args:
        number: of this node.
        plan: that all share.
        peers: the others.
        rates: of faults of its own.
        seed: of these.

    Attributes:
        state: what it holds.
        report: what has happened.
    """

    def __init__(
        self, number: int, plan: Plan, peers: Peers, rates: Rates = NO_FAULTS, seed: int = 0
    ) -> None:
        self.number = number
        self.report = NodeReport()
        self._plan = plan
        self._peers = peers
        self._work = Work(number, plan, rates, seed)
        self._moments: dict[Key, _Moment] = {}
        self._turn = asyncio.Lock()  # to compute
        self._updating = 0  # the step whose update has begun, or is done
        self._changed = asyncio.Event()  # set, and replaced, whenever moments or the step change
        self.state = NodeState(number, plan, self._work.updated)

    @property
    def faults(self) -> int:
        """That have struck here."""
        return self._work.faults

    @property
    def is_done(self) -> bool:
        """Whether all steps are done; what others still need can be had even then."""
        return self.state.step >= self._plan.recipe.steps

    async def run(self) -> None:
        """Train to the last step.

        Raises:
            StateLost: too few peers are left, or too much was wrong for too long.
        """
        await self._join()
        while not self.is_done:
            try:
                await self._descend(self.state.step + 1)
            except Gone:
                await self._join()
            except Spoilt:
                await self._join(anew=True)

    async def result(self, key: Key, attempt: int) -> Array:
        """What this node has to give at a moment; waits until it has come there. Raises Gone."""
        while key not in self._moments:
            if key.step < self.state.step:
                raise Gone
            changed = self._changed
            await changed.wait()
        if attempt and key.step <= self._updating and key.phase != "scrub":
            raise Gone  # its block has changed since
        return await self._moments[key].result(min(attempt, RETRIES))

    async def _descend(self, step: int) -> None:
        answered: dict[Key, Mapping[int, Array]] = {}
        passes, reached = await self._computed(lambda: self._work.begun(step))
        while isinstance(reached, Wanted):
            key = key_of(step, reached)
            answered[key], answer = await self._product(key, reached)
            reached = await self._computed(partial(self._work.advanced, passes, answer))
        await self._commit(step, await self._verified(step, reached, answered))
        if step % self._plan.scrub_every == 0 or self.is_done:
            await self._scrub(step)
        if step % self._plan.recipe.checkpoint_every == 0 or self.is_done:
            self.state.checkpoint()
        self._forget(step)

    async def _product(self, key: Key, wanted: Wanted) -> tuple[Mapping[int, Array], Answer]:
        block = self.state.blocks[wanted.layer]
        found, answer = await self._gathered(
            key,
            lambda: self._work.share(wanted, block),
            lambda some: self._work.decoded(wanted, some, key.step),
        )
        self.report.located += len(answer.liars - {self.number})
        return found, answer

    async def _verified(
        self,
        step: int,
        factors: list[Factors],
        answered: Answered,
    ) -> Done:
        """An update whose inputs fit the others'. Raises Gone, where this node finds none."""
        done, projected = await self._computed(lambda: self._work.done(step, factors))
        found, wrong = await self._gathered(
            Key(step, "verify"), lambda: projected, self._plan.wrong_inputs
        )

        def again() -> tuple[Done, frozenset[int]]:
            done, projected = self._work.done(step, self._work.again(step, answered))
            return done, self._plan.wrong_inputs({**found, self.number: projected})

        for _ in range(RETRIES):
            if self.number not in wrong:
                return done
            self.report.redone += 1
            with suppress(*UNDECODABLE):
                done, wrong = await self._computed(again)
        raise Gone

    async def _commit(self, step: int, done: Done) -> None:
        self._updating = step
        await self._computed(lambda: self.state.apply(step, done))
        self.state.commit(step, done)

    async def _scrub(self, step: int) -> None:
        columns = self._plan.count + SPARE_COLUMNS
        for layer, scheme in enumerate(self._plan.schemes):
            for part in self._plan.parts:
                key = Key(step, "scrub", layer, part)

                def sketch(layer: int = layer, part: Part = part) -> Array:
                    with np.errstate(all="ignore"):
                        return self.state.blocks[layer].sketch(part, step, columns)

                def wrong(some: Mapping[int, Array], scheme: Scheme = scheme) -> frozenset[int]:
                    return scheme.wrong_blocks(some, step)

                found, liars = await self._gathered(key, sketch, wrong)
                if self.number in liars:
                    await self._restore()
                    if self.number in await self._computed(
                        lambda: wrong({**found, self.number: sketch()})  # noqa: B023 - at once
                    ):
                        raise Spoilt

    async def _restore(self) -> None:
        self.report.restored += 1
        await self._computed(self.state.restore)

    async def _join(self, *, anew: bool = False) -> None:
        """Be where most others are: by replay, or by their copies and replay.

        Args:
            anew: nothing of what this node holds is any good.

        Raises:
            StateLost: too few peers are left, or they go on faster than this node comes after.
        """
        for _ in range(RETRIES):
            try:
                return await self._catch_up(anew=anew)
            except Gone:  # peers forgot a step before it was asked for: from a newer copy of theirs
                continue
        raise StateLost(f"Node {self.number}: the others forget steps before it has replayed them.")

    async def _catch_up(self, *, anew: bool) -> None:
        others = await self._standings()
        if len(others) + 1 < self._plan.needed:
            raise StateLost(
                f"Node {self.number}: {len(others)} of {self._plan.count - 1} peers answer, and "
                f"{self._plan.needed} nodes are needed."
            )
        steps = [one.step for one in others.values()] or [self.state.step]
        where = statistics.median_high(steps)
        first = self.state.step + 1
        tellers = [node for node, one in others.items() if one.oldest <= first <= one.step]
        if anew or (first <= where and len(tellers) < WITNESSES):
            self.report.rebuilt += 1
            self.state.replace(*await rebuilt(self.number, self._plan, self._peers, others))
            self._updating = self.state.step
        while self.state.step < where:
            step = self.state.step + 1
            factors = await witnessed(self._peers, step, others)
            inputs = await self._computed(partial(self._work.inputs, factors))
            await self._commit(step, Done(factors, inputs))
            self.report.replayed += 1
            if step % self._plan.recipe.checkpoint_every == 0 or self.is_done:
                self.state.checkpoint()
        self._forget(self.state.step)

    async def _standings(self) -> dict[int, Standing]:
        others = [node for node in range(self._plan.count) if node != self.number]
        asked = (self._peers.standing(node) for node in others)
        found = await asyncio.gather(*asked, return_exceptions=True)
        return {
            node: one for node, one in zip(others, found, strict=True) if isinstance(one, Standing)
        }

    async def _gathered(
        self, key: Key, make: Callable[[], Array], decode: Callable[[Mapping[int, Array]], T]
    ) -> tuple[Mapping[int, Array], T]:
        """All nodes' results at a moment, and what they decode to; asked for again where they do
        not. Raises Gone, where the others have gone on; StateLost."""
        moment = self._moments[key] = _Moment(lambda: self._computed(make))
        self._tell_waiting()
        others = [node for node in range(self._plan.count) if node != self.number]
        for attempt in range(RETRIES + 1):
            own = {self.number: await moment.result(attempt)}
            calls = {node: self._peers.result(node, key, attempt) for node in others}
            try:
                return await gathered(own, calls, lambda some: self._computed(lambda: decode(some)))
            except Lost as error:
                if error.are_gone:
                    raise Gone from error
                why = error
            self.report.retries += 1
            if attempt and key.phase in ("forward", "backward"):
                await self._restore()
        raise StateLost(f"Node {self.number} at {key}: {why}") from why

    def _forget(self, step: int) -> None:
        """Moments that nobody asks for any more: who needs them has fallen behind."""
        self._moments = {key: one for key, one in self._moments.items() if key.step >= step}
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _computed(self, work: Callable[[], T]) -> T:
        async with self._turn:
            return await asyncio.to_thread(work)
