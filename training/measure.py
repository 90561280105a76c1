"""What a code is worth on a data set: clean, lost-only and agreement, by its own encode and decode.

Runs the very code object that serves, with modules in place of workers. Draws nothing and trains
nothing. Lost-only is over the queries whose own slot did not respond. The slots of coding groups
are asked once (`ask`), and then lose some of their results again and again (`worth`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from codes.base import BASE, Code
from codes.stages import STEM, shards_of
from codes.verify import subsets
from models.cards import Metric, proportion
from models.data import DataSet

AT_ONCE = 1000  # rows in one call of a module: bounded memory
MOST_SETS = 60  # of lost slots that are tried; a seeded sample of more

Module = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Worth:
    """Accuracies of one code at one number of lost slots.

    With more than one slot lost a query counts once a set of lost slots, and the intervals are
    then too narrow.

    Attributes:
        clean: of the answers from all slots; of a systematic code the base model's own.
        overall: of all answers, own and decoded, over all sets of lost slots together.
        lost_only: of the decoded answers to queries whose own slot is lost.
        worst: the same for the set of lost slots for which it is lowest.
        overall_worst: of all answers, for the set of lost slots for which that is lowest.
        agreement: share of those with the base model's top class.
        groups: coding groups that lost slots.
        by_query: float32 [m], per image: in what share of the sets that lost its own slot the
            decoded answer was right; NaN for images that were left over from the last group.
    """

    clean: Metric
    overall: Metric
    lost_only: Metric
    worst: Metric
    overall_worst: Metric
    agreement: Metric
    groups: int
    by_query: Tensor


@dataclass(frozen=True, eq=False)
class Answered:
    """Coding groups of a data set, with what every slot returned.

    Attributes:
        code: whose slots they are; another that encodes alike may take its place.
        groups: positions of the images, [g, k].
        labels: true classes of the images, [m].
        truth: the base model's answers to the images, [m, classes].
        results: what each slot returned.
    """

    code: Code
    groups: Tensor
    labels: Tensor
    truth: Tensor
    results: Sequence[Tensor]

    @cached_property
    def whole(self) -> Metric:
        """Accuracy of the answers from all slots; of a systematic code the base model's, over all
        images, with those that no group has."""
        if all(self.code.own_slots):
            return _share(self.truth.argmax(-1) == self.labels, len(self.labels))
        decoded = self.code.decode(self.results, range(self.code.n))
        hits = decoded.argmax(-1) == self.labels[self.groups]
        return _share(hits, hits.numel())


def answers_of(module: Module, rows: Tensor, device: str = "cpu") -> Tensor:
    """A module's answers, in pieces, without gradients, on the CPU."""
    with torch.inference_mode():
        pieces = [module(piece.to(device)).cpu() for piece in torch.split(rows, AT_ONCE)]
    return torch.cat(pieces)


def right(module: Module, dataset: DataSet, device: str = "cpu") -> int:
    """How many images a module in evaluation mode puts into their true class."""
    return int((answers_of(module, dataset.images, device).argmax(1) == dataset.labels).sum())


def results_of(
    code: Code,
    modules: Mapping[str, Module],
    queries: Tensor,
    device: str = "cpu",
    truth: Tensor | None = None,
) -> list[Tensor]:
    """What each slot returns, on the CPU.

    Args:
        code: whose shards they are.
        modules: by role; and `codes.stages.STEM`, where queries go through one before.
        queries: [g, k, *query].
        truth: the base model's answers to them, [g, k, classes], where they are known: what own
            slots return.
    """
    own = {slot: j for j, slots in enumerate(code.own_slots) for slot in slots}
    stem = modules.get(STEM)
    before = None if stem is None else partial(answers_of, stem, device=device)
    # An encoder may be a network, too.
    shards = shards_of(code, queries.to(device), before)
    return [
        truth[:, own[slot]]
        if truth is not None and slot in own
        else answers_of(modules[role], shard, device)
        for slot, (role, shard) in enumerate(zip(code.roles, shards, strict=True))
    ]


def groups_of(count: int, k: int, seed: int) -> Tensor:
    """Positions of shuffled coding groups, [count // k, k]."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: count // k * k].view(-1, k)


def measure(
    code: Code,
    modules: Mapping[str, Module],
    dataset: DataSet,
    *,
    lost: int = 1,
    seed: int = 0,
    device: str = "cpu",
) -> Worth:
    """Lose slots of every coding group of a data set, decode, and compare with the labels.

    An answer that the responders do not give counts as a uniform guess: 1 / classes of them right.

    Args:
        code: systematic, or every query is decoded.
        modules: by role, as the slots run them, in evaluation mode.
        dataset: with labels.
        lost: slots that do not respond, 1 to n - 1; all sets of so many, or a seeded sample.
        seed: of grouping and sample.
        device: where the modules are.
    """
    return worth(ask(code, modules, dataset, seed=seed, device=device), lost, seed)


def ask(
    code: Code,
    modules: Mapping[str, Module],
    dataset: DataSet,
    *,
    seed: int = 0,
    device: str = "cpu",
    truth: Tensor | None = None,
) -> Answered:
    """Let every slot answer the coding groups of a data set.

    Args:
        code, modules, dataset, seed, device: as of `measure`.
        truth: the base model's answers to the images, where they are known already.
    """
    groups = groups_of(len(dataset.images), code.k, seed)
    if truth is None:
        truth = answers_of(modules[BASE], dataset.images, device)
    results = results_of(code, modules, dataset.images[groups], device, truth[groups])
    return Answered(code, groups, dataset.labels, truth, results)


def worth(answered: Answered, lost: int, seed: int = 0) -> Worth:
    """Lose slots of every coding group; as `measure` does.

    Args:
        lost: slots that do not respond, 1 to n - 1.
        seed: of the sample of sets, where there are many.
    """
    code, groups, truth = answered.code, answered.groups, answered.truth
    labels, top = answered.labels[groups], truth.argmax(-1)[groups]
    guess = 1 / truth.shape[-1]
    right = (top == labels).float()  # where the own slot responds
    tries, hits, same, total = (torch.zeros(groups.shape) for _ in range(4))
    worst, lowest, sets = (1.0, 1), 1.0, 0
    for slots in responders(code, lost, seed):
        missing = [j for j, own in enumerate(code.own_slots) if not set(own) & set(slots)]
        gain = code.gain(slots)
        decodable = [j for j in missing if gain[j] < float("inf")]
        share, agreeing = right.clone(), torch.zeros(groups.shape)
        share[:, missing] = agreeing[:, missing] = guess
        if decodable:
            results = [answered.results[slot] for slot in slots]
            answers = code.decode(results, slots, decodable).argmax(-1)
            share[:, decodable] = (answers == labels[:, decodable]).float()
            agreeing[:, decodable] = (answers == top[:, decodable]).float()
        total, sets = total + share, sets + 1
        lowest = min(lowest, float(share.mean()))
        if missing:
            tries[:, missing] += 1
            hits[:, missing] += share[:, missing]
            same += agreeing
            of_set = share[:, missing]
            worst = min(worst, (float(of_set.mean()), of_set.numel()))
    by_query = torch.full((len(truth),), torch.nan)
    by_query[groups.flatten()] = (hits / tries).flatten()
    count = max(round(float(tries.sum())), 1)
    return Worth(
        clean=answered.whole,
        overall=_share(total, sets * groups.numel()),
        lost_only=_share(hits, count),
        worst=proportion(round(worst[0] * worst[1]), worst[1]),
        overall_worst=proportion(round(lowest * groups.numel()), groups.numel()),
        agreement=_share(same, count),
        groups=len(groups),
        by_query=by_query,
    )


def _share(hits: Tensor, count: int) -> Metric:
    """Hits may be fractions: a guess is right in one of so many classes."""
    return proportion(round(float(hits.sum(dtype=torch.float64))), count)


def responders(code: Code, lost: int, seed: int = 0) -> Iterator[tuple[int, ...]]:
    """The sets of slots that respond when so many are lost: all, or a seeded sample."""
    if not 1 <= lost < code.n:
        raise ValueError(f"Argument 'lost' must be in 1..{code.n - 1}, not {lost}.")
    for gone in subsets(code.n, lost, MOST_SETS, seed):
        yield tuple(slot for slot in range(code.n) if slot not in gone)
