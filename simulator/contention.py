"""Contention in a run: some workers' tasks are delayed for a while, then others'."""

from collections.abc import Sequence

import numpy as np

from simulator import draws
from simulator.engine import Engine
from simulator.setting import Contention
from simulator.worker import Worker


class Moving:
    """It begins at once and goes on as long as the clock.

    Args:
        contention: what and how often.
        workers: all of them.
        engine: the clock.
        rng: of choices and delays.
    """

    def __init__(
        self,
        contention: Contention,
        workers: Sequence[Worker],
        engine: Engine,
        rng: np.random.Generator,
    ) -> None:
        self._contention, self._workers, self._engine, self._rng = contention, workers, engine, rng
        self._delay = draws.of_delays(contention.delay, rng)()
        self._troubled: list[Worker] = []
        self._move(None)

    def _move(self, _: object) -> None:
        contention = self._contention
        for worker in self._troubled:
            worker.recover()
        places = self._rng.choice(len(self._workers), contention.workers, replace=False)
        self._troubled = [self._workers[place] for place in places]
        for worker in self._troubled:
            worker.trouble(self._delay, is_interruptible=contention.delay.interruptible)
        self._engine.at(self._engine.now + contention.every_s, self._move)
