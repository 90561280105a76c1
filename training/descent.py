"""Steps downhill: the optimiser, its schedule, the average of its weights, and the precision.

Knows nothing of epochs' ends, scores or files (`training.loop`).
"""

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.recipe import AUTO, BFLOAT16, FLOAT32, Recipe

Loss = Callable[[Tensor], Tensor]
WARM_STEPS, TIMED_STEPS = 2, 5  # of each precision, when the faster is looked for
# bfloat16 has 8 bits of precision: it must be worth it, and not by chance of one timing.
WORTH_IT = 1.2
HOPELESS = 3.0  # so many times slower, it is not timed to the end: some CPUs have no bfloat16


def random_state() -> list[Tensor]:
    """Of torch's global generators: the CPU's, and those of all CUDA devices."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *devices]


def set_random_state(states: list[Tensor]) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(states[0])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states[1:])


def precision_of(module: nn.Module, loss_of: Loss, recipe: Recipe, count: int) -> str:
    """The recipe's precision; if that is "auto", the faster of both, timed over a few steps.

    Weights, statistics and torch's generators are afterwards as they were.
    """
    if recipe.precision != AUTO:
        return recipe.precision
    weights, before = copy.deepcopy(module.state_dict()), random_state()
    chosen = torch.arange(min(recipe.batch_size, count))
    module.train()

    def in_turns(steps: int) -> dict[str, list[float]]:
        took_s: dict[str, list[float]] = {FLOAT32: [], BFLOAT16: []}
        for _ in range(steps):
            for precision, times in took_s.items():
                times.append(_step_s(module, loss_of, chosen, precision))
        return took_s

    # The first steps prepare what the others find: only the shortest of them says anything.
    usual_s = {key: min(times) for key, times in in_turns(WARM_STEPS).items()}
    if usual_s[BFLOAT16] <= HOPELESS * usual_s[FLOAT32]:
        usual_s = {key: statistics.median(times) for key, times in in_turns(TIMED_STEPS).items()}
    module.load_state_dict(weights)
    set_random_state(before)
    return BFLOAT16 if usual_s[FLOAT32] > WORTH_IT * usual_s[BFLOAT16] else FLOAT32


def _step_s(module: nn.Module, loss_of: Loss, chosen: Tensor, precision: str) -> float:
    """How long a step forth and back takes; it changes no weight, and leaves no gradient."""
    start_s = time.perf_counter()
    with _arithmetic(module, precision):
        loss = loss_of(chosen)
    torch.autograd.backward(loss)
    float(loss.detach())  # a GPU has come to the end of the step, too
    took_s = time.perf_counter() - start_s
    module.zero_grad(set_to_none=True)
    return took_s


def lay_out(module: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Put a module's filters into another order of memory: convolutions learn in channels_last."""
    return module.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _arithmetic(module: nn.Module, precision: str) -> AbstractContextManager[Any]:
    device = next(module.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=precision == BFLOAT16)


class Descent:
    """The optimiser and its schedule, an epoch at a time.

    Args:
        module: whose weights are learned.
        loss_of: positions among the examples to a scalar loss.
        recipe: how fast.
        steps: of an epoch.
        precision: float32 or bfloat16.
        tell: called after every step with its number in the epoch, from 1, and the mean loss.
    """

    def __init__(
        self,
        module: nn.Module,
        loss_of: Loss,
        recipe: Recipe,
        steps: int,
        precision: str,
        tell: Callable[[int, float], None],
    ) -> None:
        self._precision = precision
        self._module, self._loss_of, self._recipe = module, loss_of, recipe
        self._steps, self._tell = steps, tell
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        total = recipe.epochs * steps
        # Warms up over the first third and falls along a cosine.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, recipe.learning_rate, total_steps=total
        )
        over = max(1.0, recipe.averaging * total)
        average = get_ema_multi_avg_fn(1 - 1 / over)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(module, multi_avg_fn=average, use_buffers=True)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self._schedule.get_last_lr()[0])

    def state_dict(self) -> dict[str, Any]:
        """Of optimiser, schedule and average."""
        return {
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "average": self._average.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._average.load_state_dict(state["average"])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While it lasts, the module has the averaged weights."""
        own = copy.deepcopy(self._module.state_dict())
        self._module.load_state_dict(self._average.module.state_dict())
        try:
            yield
        finally:
            self._module.load_state_dict(own)

    def epoch(self, epoch: int, order: Tensor) -> float:
        """One pass in this order; the mean loss of its examples.

        Raises:
            FloatingPointError: the loss is no longer a number.
        """
        total, seen = 0.0, 0
        for step in range(self._steps):
            chosen = order[step * self._recipe.batch_size :][: self._recipe.batch_size]
            self._optimiser.zero_grad(set_to_none=True)
            with _arithmetic(self._module, self._precision):
                loss = self._loss_of(chosen)
            torch.autograd.backward(loss)
            if self._recipe.clip:
                torch.nn.utils.clip_grad_norm_(self._module.parameters(), self._recipe.clip)
            self._optimiser.step()
            self._schedule.step()
            self._average.update_parameters(self._module)
            total, seen = total + float(loss.detach()) * len(chosen), seen + len(chosen)
            self._tell(step + 1, total / seen)
        if not math.isfinite(total):
            raise FloatingPointError(
                f"The loss is {total} in epoch {epoch}: try a learning rate under "
                f"{self._recipe.learning_rate}."
            )
        return total / seen
