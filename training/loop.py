"""One training loop for everything that is learned: seeded, best weights kept, early stop.

What is learned is two functions, a loss for some training examples and a score to select by; the
loop draws the order, goes down epoch by epoch (`training.descent`), reports and records. It reads
no data and draws nothing on a screen. Scores come from a validation split, never from the test set.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.descent import Descent, lay_out, precision_of, random_state, set_random_state
from training.recipe import Recipe
from training.run import Run

REPORT_EVERY_S = 0.2  # often enough for a progress bar


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to the caller now and then, and at the end of every epoch."""

    epoch: int  # from 1
    epochs: int
    done: float  # share of all steps, were every epoch to run
    loss: float  # mean of this epoch so far
    score: float | None  # at the last epoch's end
    elapsed_s: float
    eta_s: float  # until every epoch has run; an early stop is sooner


@dataclass(frozen=True)
class Fitted:
    """The outcome: the module has the weights of the best epoch."""

    epoch: int
    score: float
    epochs: int  # that ran
    wall_time_s: float
    precision: str  # of the arithmetic


@contextmanager
def on_threads(count: int | None) -> Iterator[None]:
    """Let torch use this many threads of the CPU, or as many as it did, if None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw weights and noise from this seed, deterministically; the caller's state comes back."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        # Some CUDA kernels have no deterministic form: then torch says so and goes on.
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def fit(
    module: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    score_of: Callable[[], float],
    recipe: Recipe,
    *,
    seed: int,
    progress: Callable[[Progress], None] | None = None,
    run: Run | None = None,
) -> Fitted:
    """Train a module in place.

    Args:
        module: what is learned; in training mode while `loss_of` runs, in evaluation mode while
            `score_of` does, and afterwards.
        loss_of: positions int64 [b] among the training examples to a scalar loss.
        count: how many training examples there are.
        score_of: of the module as it is; higher is better. Called once an epoch.
        recipe: how long and how fast.
        seed: of the order of the examples.
        progress: told where the run stands.
        run: where every epoch's end is kept. One that was broken off goes on after its last whole
            epoch and comes to the same end, bit for bit.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    teller = _Teller(recipe, math.ceil(count / recipe.batch_size), progress)
    order = torch.Generator().manual_seed(seed)
    state = None if run is None else run.load()
    lay_out(module, torch.channels_last)
    if state is None:
        precision = precision_of(module, loss_of, recipe, count)
    else:
        precision = state["precision"]
    descent = Descent(module, loss_of, recipe, teller.steps, precision, teller.step)
    weights = copy.deepcopy(module.state_dict())
    epoch = best_epoch = 0
    best_score = -math.inf
    if state is not None:
        module.load_state_dict(state["module"])
        descent.load_state_dict(state["descent"])
        order.set_state(state["order"])
        set_random_state(state["random"])
        weights, teller.before_s = state["weights"], state["elapsed_s"]
        epoch, best_epoch, best_score = state["epoch"], state["best_epoch"], state["best_score"]
    with nullcontext() if run is None else closing(run):
        while epoch < recipe.epochs and epoch - best_epoch < recipe.patience:
            epoch += 1
            teller.epoch = epoch
            module.train()
            loss = descent.epoch(epoch, torch.randperm(count, generator=order))
            module.eval()
            with descent.averaged():
                score = score_of()
                if score > best_score:
                    best_epoch, best_score = epoch, score
                    weights = copy.deepcopy(module.state_dict())
            if run is not None:
                state = {
                    "module": module.state_dict(),
                    "descent": descent.state_dict(),
                    "order": order.get_state(),
                    "random": random_state(),
                    "precision": precision,
                    "weights": weights,
                    "elapsed_s": teller.elapsed_s(),
                    "epoch": epoch,
                    "best_epoch": best_epoch,
                    "best_score": best_score,
                }
                rate, elapsed_s = descent.learning_rate, round(teller.elapsed_s(), 3)
                metrics = {"epoch": epoch, "loss": loss, "score": score, "learning_rate": rate}
                run.save(state, {**metrics, "elapsed_s": elapsed_s})
            teller.score = score
            teller.tell(teller.steps, loss)
    module.load_state_dict(weights)
    lay_out(module, torch.contiguous_format).eval()
    return Fitted(best_epoch, best_score, epoch, teller.elapsed_s(), precision)


class _Teller:
    """Says where a run stands, not more often than is of use."""

    def __init__(
        self, recipe: Recipe, steps: int, progress: Callable[[Progress], None] | None
    ) -> None:
        self.steps = steps  # of an epoch
        self.epoch = 0  # from 1; this and the next are set by the loop
        self.score: float | None = None  # at the last epoch's end
        self._epochs = recipe.epochs
        self._progress = progress
        self.before_s = 0.0  # that the run took before it was broken off
        self._start_s = time.monotonic()
        self._told_s = -math.inf  # when the caller last heard

    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self._start_s

    def step(self, step: int, loss: float) -> None:
        """After every step but the last, which the end of the epoch tells."""
        if step < self.steps and self.elapsed_s() - self._told_s > REPORT_EVERY_S:
            self.tell(step, loss)

    def tell(self, step: int, loss: float) -> None:
        self._told_s = self.elapsed_s()
        done = ((self.epoch - 1) * self.steps + step) / (self.steps * self._epochs)
        eta_s = self._told_s * (1 - done) / done
        if self._progress is not None:
            self._progress(
                Progress(self.epoch, self._epochs, done, loss, self.score, self._told_s, eta_s)
            )
