"""One training loop for everything that is learned: seeded, best weights kept, early stop.

What is learned is two functions, a loss for some training examples and a score to select by; the
loop draws the order, steps the optimiser, reports and records. It reads no data and draws nothing
on a screen. Scores come from a validation split, never from the test set.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

import torch
from torch import Tensor, nn

from training.run import Run

REPORT_EVERY_S = 0.2  # often enough for a progress bar


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to learn.

    Attributes:
        epochs: at most this many passes over the training examples.
        batch_size: examples a step.
        learning_rate: the highest of a one-cycle schedule.
        weight_decay: of AdamW.
        patience: stop after this many epochs without a better score.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 15

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """A recipe from fields by name, as a user gives them.

        Raises:
            ValueError: no such field, or a value of another kind; says what is accepted.
        """
        accepted = {item.name: type(item.default) for item in fields(cls)}
        for name, value in settings.items():
            if name not in accepted:
                near = get_close_matches(name, accepted, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"A recipe has no {name!r}, only {', '.join(accepted)}.{hint}")
            kind = accepted[name]
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ValueError(
                    f"Argument {name!r} must be of type {kind.__name__}, not {value!r}."
                )
        return cls(**settings)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Argument {name!r} must be at least 1, not {getattr(self, name)}."
                )
        if not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise ValueError(
                "Argument 'learning_rate' must be above 0 and 'weight_decay' not below, "
                f"not {self.learning_rate} and {self.weight_decay}."
            )


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
    descent = _Descent(module, loss_of, recipe, teller)
    weights = copy.deepcopy(module.state_dict())
    epoch = best_epoch = 0
    best_score = -math.inf
    state = None if run is None else run.load()
    if state is not None:
        module.load_state_dict(state["module"])
        descent.load_state_dict(state["descent"])
        order.set_state(state["order"])
        _set_random_state(state["random"])
        weights, teller.before_s = state["weights"], state["elapsed_s"]
        epoch, best_epoch, best_score = state["epoch"], state["best_epoch"], state["best_score"]
    with nullcontext() if run is None else closing(run):
        while epoch < recipe.epochs and epoch - best_epoch < recipe.patience:
            epoch += 1
            module.train()
            loss = descent.epoch(epoch, torch.randperm(count, generator=order))
            module.eval()
            score = score_of()
            if score > best_score:
                best_epoch, best_score = epoch, score
                weights = copy.deepcopy(module.state_dict())
            if run is not None:
                state = {
                    "module": module.state_dict(),
                    "descent": descent.state_dict(),
                    "order": order.get_state(),
                    "random": _random_state(),
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
            teller.tell(epoch, teller.steps, loss)
    module.load_state_dict(weights)
    module.eval()
    return Fitted(best_epoch, best_score, epoch, teller.elapsed_s())


def _random_state() -> list[Tensor]:
    """Of torch's global generators: the CPU's, and those of all CUDA devices."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *devices]


def _set_random_state(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states[1:])


class _Teller:
    """Says where a run stands, not more often than is of use."""

    def __init__(
        self, recipe: Recipe, steps: int, progress: Callable[[Progress], None] | None
    ) -> None:
        self.steps = steps  # of an epoch
        self.score: float | None = None  # at the last epoch's end; set by the loop
        self._epochs = recipe.epochs
        self._progress = progress
        self.before_s = 0.0  # that the run took before it was broken off
        self._start_s = time.monotonic()
        self._told_s = -math.inf  # when the caller last heard

    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self._start_s

    def step(self, epoch: int, step: int, loss: float) -> None:
        """After every step but the last, which the end of the epoch tells."""
        if step < self.steps and self.elapsed_s() - self._told_s > REPORT_EVERY_S:
            self.tell(epoch, step, loss)

    def tell(self, epoch: int, step: int, loss: float) -> None:
        self._told_s = self.elapsed_s()
        done = ((epoch - 1) * self.steps + step) / (self.steps * self._epochs)
        eta_s = self._told_s * (1 - done) / done
        if self._progress is not None:
            self._progress(
                Progress(epoch, self._epochs, done, loss, self.score, self._told_s, eta_s)
            )


class _Descent:
    """The optimiser and its schedule, an epoch at a time."""

    def __init__(
        self,
        module: nn.Module,
        loss_of: Callable[[Tensor], Tensor],
        recipe: Recipe,
        teller: _Teller,
    ) -> None:
        self._loss_of = loss_of
        self._recipe = recipe
        self._teller = teller
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            recipe.learning_rate,
            total_steps=recipe.epochs * teller.steps,
        )

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self._schedule.get_last_lr()[0])

    def state_dict(self) -> dict[str, Any]:
        """Of optimiser and schedule."""
        return {
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])

    def epoch(self, epoch: int, order: Tensor) -> float:
        """One pass in this order; the mean loss of its examples."""
        total, seen = 0.0, 0
        for step in range(self._teller.steps):
            chosen = order[step * self._recipe.batch_size :][: self._recipe.batch_size]
            self._optimiser.zero_grad(set_to_none=True)
            loss = self._loss_of(chosen)
            torch.autograd.backward(loss)
            self._optimiser.step()
            self._schedule.step()
            total, seen = total + float(loss.detach()) * len(chosen), seen + len(chosen)
            self._teller.step(epoch, step + 1, total / seen)
        if not math.isfinite(total):
            raise FloatingPointError(
                f"The loss is {total} in epoch {epoch}: try a learning rate under "
                f"{self._recipe.learning_rate}."
            )
        return total / seen
