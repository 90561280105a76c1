"""What coded models are worth on the test images of every task: decoded answers, and baselines.

Answers are decoded by the code object that serves, with modules in place of workers. A model's
accuracy is that of its own task's images; all models are asked about them, as on the cluster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import mean

import torch
from torch import Tensor, nn

from bench.coin.tasks import Task
from codes.coin import Coin
from models.cards import proportion
from training.measure import answers_of
from training.merging.building import outputs_of
from training.merging.report import decoded

Lost = tuple[int, ...]


@dataclass(frozen=True)
class Worth:
    """Decoded answers over some sets of lost slots.

    Attributes:
        mean: accuracy over all lost models of all sets, each on its own task.
        worst: of the worst of them.
        agreement: share with the lost model's own class.
        interval: 95 %, as if all answers were of their own query.
        answers: how many.
    """

    mean: float
    worst: float
    agreement: float
    interval: tuple[float, float]
    answers: int


@dataclass(frozen=True, eq=False)
class Asked:
    """What the models answer on every task's test images.

    Attributes:
        modules: the models, in the order of the tasks.
        tasks: of each model.
    """

    modules: Sequence[nn.Module]
    tasks: Sequence[Task]

    @cached_property
    def truths(self) -> list[Tensor]:
        """All models' outputs on each task's images, [m, models, classes]."""
        return [outputs_of(self.modules, one.test.images) for one in self.tasks]

    def right(self, module: nn.Module, task: int) -> float:
        """Accuracy of a module on a task."""
        test = self.tasks[task].test
        return _share(answers_of(module, test.images).argmax(1) == test.labels)

    @property
    def clean(self) -> float:
        """Mean accuracy of the models, each on its own task."""
        return mean(
            _share(truth[:, j].argmax(1) == one.test.labels)
            for j, (truth, one) in enumerate(zip(self.truths, self.tasks, strict=True))
        )

    def outputs(self, coded: Sequence[nn.Module]) -> list[Tensor]:
        """Of all n programs on each task's images, [m, n, classes]."""
        return [
            torch.cat([truth, outputs_of(coded, one.test.images)], 1)
            for truth, one in zip(self.truths, self.tasks, strict=True)
        ]

    def worth(self, code: Coin, outputs: Sequence[Tensor], sets: Sequence[Lost]) -> Worth:
        """Decode the lost models' answers to their own tasks."""
        accuracies, hits, same, count = [], 0, 0, 0
        for lost in sets:
            for j in (slot for slot in lost if slot < code.k):
                of_task, labels = outputs[j], self.tasks[j].test.labels
                place = [slot for slot in lost if slot < code.k].index(j)
                found = decoded(code, of_task, lost)[:, place].argmax(1)
                right = int((found == labels).sum())
                accuracies.append(right / len(labels))
                hits, count = hits + right, count + len(labels)
                same += int((found == of_task[:, j].argmax(1)).sum())
        low, high = proportion(hits, count).interval
        return Worth(mean(accuracies), min(accuracies), same / count, (low, high), count)


def patterns(models: int, coded: int) -> Iterator[tuple[int, int, list[Lost]]]:
    """Sets of up to `coded` lost slots that hold a model, by how many models and coded ones."""
    for size in range(1, coded + 1):
        for of_coded in range(size):
            found = [
                (*one, *(models + i for i in other))
                for one in combinations(range(models), size - of_coded)
                for other in combinations(range(coded), of_coded)
            ]
            yield size - of_coded, of_coded, found


def _share(right: Tensor) -> float:
    return float(right.float().mean())
