"""Trains what a code's extra slots run and what its own networks weigh, and measures the whole.

One entry for the codes `parity`, `mosaic`, `backup`, `assisted`, `learned` and `split-lagrange`: a
plan in, a card with programs and weights out, as the store keeps them. What is learned is said in
`training.parity`, `training.student`, `training.assisted`, `training.learned` and
`training.lagrange`.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import Tensor

import codes
from codes.assisted import Assisted
from codes.backup import Backup
from codes.base import BASE, Code
from codes.checks import check_choice
from codes.learned import Learned
from codes.linear import LinearDecoding
from codes.mosaic import Mosaic
from codes.parity import Parity
from codes.split_lagrange import SplitLagrange
from codes.stages import STEM, shards_of
from models.cards import Metric
from models.cost import multiply_adds, within
from models.programs import content_hash, export_program
from models.trained import CodeCard, usual_name
from training.assisted import AssistedRecipe, learn_assisted
from training.base import device_name, usual_epochs, usual_threads, versions
from training.basis import Basis
from training.lagrange import MIXER, LagrangeRecipe, learn_split
from training.learned import LearnedRecipe, learn_coder
from training.learnt import Learnt, Lessons
from training.loop import Progress, on_threads, seeded
from training.measure import Module, ask, worth
from training.parity import ParityRecipe, learn_parities
from training.run import Run
from training.student import StudentRecipe, learn_student

TRAINABLE = tuple(kind.name for kind in (Parity, Mosaic, Backup, Assisted, Learned, SplitLagrange))


@dataclass(frozen=True)
class CodePlan:
    """What to train.

    Attributes:
        code: parity, mosaic, backup, assisted, learned or split-lagrange.
        k, r: queries and extra slots of a group.
        parameters: of the code, beside k and n.
        student: for `backup`, `assisted` and an assisted `learned`: network and options of the
            student, such as {"network": "lenet", "width": 0.5}.
        parity: for `assisted`: the same of the parity; default: the base's.
        cut: for `split-lagrange`: the step of the base after which the queries are mixed.
        slots: for `split-lagrange`: the numbers of slots to learn for, k + r the largest.
        name: in the store; default BASE.CODE-kK-rR.
        seed: of weights, order and noise.
        epochs: at most; by default as many as make half a million examples.
        recipe: fields of the code's recipe that differ from the defaults.
    """

    code: str
    k: int
    r: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    student: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    cut: str = ""
    slots: Sequence[int] = ()
    name: str | None = None
    seed: int = 0
    epochs: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedCode:
    """What `Store.codes.save` takes, and the modules that the programs came from."""

    card: CodeCard
    programs: dict[str, bytes]
    weights: dict[str, Tensor]
    code: Code
    modules: dict[str, Module]


def default_name(base: str, plan: CodePlan) -> str:
    """What a trained code is called if not told otherwise."""
    r = None if plan.code == SplitLagrange.name else plan.r  # that one serves any number of slots
    return plan.name or usual_name(base, plan.code, plan.k, r)


def train_code(
    plan: CodePlan,
    basis: Basis,
    *,
    progress: Callable[[Progress], None] | None = None,
    run: Run | None = None,
) -> TrainedCode:
    """Train a code for a base model, and measure it once on the test set.

    Args:
        plan, basis: what, and for which base model.
        progress: told where the run stands.
        run: where every epoch's end is kept, and gone on from.

    Raises:
        ValueError: an unknown code, or a setting out of range.
    """
    code = planned_code(plan, basis)
    epochs = plan.epochs or usual_epochs(len(basis.learning.images))
    settings = {"epochs": epochs, **plan.recipe}
    lessons = Lessons(basis, plan.seed, progress, run)
    threads = usual_threads(basis.card.input_shape)
    with seeded(plan.seed), on_threads(threads):
        match code:
            case Learned():
                learnt = learn_coder(code, lessons, LearnedRecipe.of(settings), plan.student)
            case SplitLagrange():
                split = LagrangeRecipe.of(settings)
                learnt = learn_split(code, lessons, split, plan.cut, plan.slots or (code.n,))
            case Backup():
                learnt = learn_student(code, lessons, StudentRecipe.of(settings), plan.student)
            case Assisted():
                assisted = AssistedRecipe.of(settings)
                learnt = learn_assisted(code, lessons, assisted, plan.student, plan.parity)
            case _:
                assert isinstance(code, LinearDecoding)
                learnt = learn_parities(code, lessons, ParityRecipe.of(settings))
    modules: dict[str, Module] = {BASE: basis.module, **learnt.modules}
    examples = _examples(learnt, basis.learning.images[: plan.k][None])
    programs = {
        role: export_program(copy.deepcopy(module).cpu(), examples[role])
        for role, module in learnt.modules.items()
    }
    card = CodeCard(
        name=default_name(basis.card.name, plan),
        code=plan.code,
        parameters=_parameters(learnt.code),
        base=basis.card.name,
        base_hash=basis.card.hash,
        programs={role: content_hash(archive) for role, archive in programs.items()},
        dataset=basis.card.dataset,
        metrics=_metrics(learnt.code, modules, basis),
        recipe={
            **asdict(learnt.recipe),
            "epochs_run": learnt.fitted.epochs,
            "best_epoch": learnt.fitted.epoch,
            "precision": learnt.fitted.precision,
            "student": dict(plan.student),
            "parity": dict(plan.parity),
            **({"cut": plan.cut, "slots": list(plan.slots)} if plan.cut else {}),
        },
        **_costs(learnt, basis, examples),
        seed=plan.seed,
        versions=versions(),
        device=device_name(basis.device, threads),
        wall_time_s=round(learnt.fitted.wall_time_s, 2),
    )
    return TrainedCode(card, programs, dict(learnt.weights), learnt.code, modules)


def planned_code(plan: CodePlan, basis: Basis) -> Code:
    """The code of a plan, not yet trained.

    Raises:
        ValueError: it is none that is trained, or k, r or a parameter is out of range.
    """
    check_choice("code", plan.code, TRAINABLE)
    if plan.r < 1:
        raise ValueError(f"Argument 'r' must be at least 1, not {plan.r}.")
    more: dict[str, Any] = {}
    if plan.code == Parity.name:
        more = {"trained": True}
    elif plan.code == Learned.name:
        card = basis.card
        more = {"query_shape": tuple(card.input_shape), "classes": len(card.classes)}
    return codes.make(plan.code, k=plan.k, n=plan.k + plan.r, **{**plan.parameters, **more})


def networks_within(
    basis: Basis,
    code: str,
    k: int,
    r: int,
    cost: float = 1.0,
    network: str | None = None,
    pool: int = 1,
) -> dict[str, dict[str, Any]]:
    """The widest networks with which each extra slot of a code keeps to its budget.

    Args:
        code: `backup` or an assisted `learned`, whose students get it all; or `assisted`, whose
            helper gives half of it to the student and half to the parity, while with r > 1 each
            has a slot of its own.
        k, r: queries and extra slots of a group.
        cost: of one extra slot for one group, as a share of a base model's one answer.
        network, pool: of the students, as of `student_within`.

    Returns:
        "student" and "parity" of a `CodePlan`.

    Raises:
        ValueError: even the narrowest costs more.
    """
    if code != Assisted.name:
        return {"student": student_within(basis, cost / k, network, pool)}
    if r == 1:
        cost /= 2
    parity = student_within(basis, cost) if cost < 1 else {}
    return {"student": student_within(basis, cost / k, network, pool), "parity": parity}


def student_within(
    basis: Basis, share: float, network: str | None = None, pool: int = 1
) -> dict[str, Any]:
    """The widest student whose cost for one query is at most a share of the base model's.

    Args:
        share: of the base model's multiply-adds.
        network: in `models.networks.REGISTRY`; default the base's.
        pool: average the image over squares of this side first.

    Returns:
        What `CodePlan.student` takes.

    Raises:
        ValueError: even the narrowest costs more.
    """
    card = basis.card
    kind = network or card.network
    options: dict[str, Any] = {"pool": pool}
    if kind == card.network:
        options |= {key: card.options[key] for key in ("blocks", "stages") if key in card.options}
    budget = share * multiply_adds(basis.module, card.input_shape)
    found = within(budget, kind, card.input_shape, len(card.classes), **options)
    return {"network": kind, **found}


def _metrics(code: Code, modules: Mapping[str, Module], basis: Basis) -> dict[str, Metric]:
    """Of the test set: one lost slot, and as many as there are extra ones."""
    metrics: dict[str, Metric] = {}
    answered = ask(code, modules, basis.test, device=basis.device)
    for lost in range(1, code.n - code.k + 1):
        found = worth(answered, lost)
        mark = "" if lost == 1 else f"_{lost}_lost"
        metrics[f"lost_only{mark}"] = found.lost_only
        metrics[f"agreement{mark}"] = found.agreement
        metrics["clean"] = found.clean
    return metrics


def _examples(learnt: Learnt, queries: Tensor) -> dict[str, Tensor | tuple[Tensor, ...]]:
    """What each role's program takes, for one group of queries [1, k, *query]."""
    code, stem = learnt.code, learnt.modules.get(STEM)
    before = None if stem is None else copy.deepcopy(stem).cpu()
    shards = shards_of(code, queries, before)
    examples: dict[str, Tensor | tuple[Tensor, ...]] = dict(zip(code.roles, shards, strict=True))
    examples[STEM] = queries[0]
    examples[MIXER] = (queries, queries.new_zeros(1, code.k))
    return examples


def _costs(
    learnt: Learnt, basis: Basis, examples: Mapping[str, Tensor | tuple[Tensor, ...]]
) -> dict[str, Any]:
    """Multiply-adds of the dearest extra slot for a group, over a base slot's; of a stem too, and
    what a slot is sent, in numbers, over those of a query."""
    base = multiply_adds(basis.module, basis.card.input_shape)
    costs = {
        role: multiply_adds(module, example.shape[1:]) / base
        for role, module in learnt.modules.items()
        if isinstance(example := examples[role], Tensor)
    }
    stem = costs.pop(STEM, None)
    found: dict[str, Any] = {"cost": round(max(costs.values(), default=1.0), 4)}
    if stem is not None:
        shard = examples[next(role for role in learnt.code.roles if role != BASE)]
        assert isinstance(shard, Tensor)
        payload = math.prod(shard.shape[1:]) / math.prod(basis.card.input_shape)
        found |= {"stem_cost": round(stem, 4), "payload": round(payload, 4)}
    return found


def _parameters(code: Code) -> dict[str, Any]:
    kept = [item.name for item in fields(code) if item.init and item.name != "weights"]  # type: ignore[arg-type]
    values = {name: getattr(code, name) for name in kept}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
