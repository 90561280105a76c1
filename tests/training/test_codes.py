"""Every code that is trained: it learns, repeats itself, and is stored as it was measured."""

from typing import Any

import pytest
import torch
from torch import nn

from codes.base import BASE
from codes.calibrated import Calibrated, measure_moments
from codes.parity import Parity
from models.programs import load_program
from models.store import Store
from training.basis import Basis, basis
from training.codes import CodePlan, TrainedCode, networks_within, student_within, train_code
from training.measure import measure

PLANS: dict[str, CodePlan] = {
    "parity": CodePlan("parity", 2, epochs=8),
    "two parities": CodePlan("parity", 3, 2, epochs=3),
    "mosaic": CodePlan("mosaic", 2, epochs=8),
    "mosaic each": CodePlan("mosaic", 2, parameters={"answers": "each"}, epochs=8),
    "backup": CodePlan("backup", 2, student={"hidden": (32,)}, epochs=15),
    "learned": CodePlan("learned", 2, epochs=15, recipe={"learning_rate": 1e-2}),
    "learned conv": CodePlan("learned", 1, 1, {"encoder": "conv"}, epochs=1),
}
GUESS = 0.1

pytestmark = pytest.mark.timeout(120)  # the first test waits for all that is trained
# What a few seconds of training reach; an untrained decoder guesses.
AT_LEAST = {"parity": 0.7, "mosaic": 0.45, "mosaic each": 0.45, "backup": 0.9, "learned": 0.2}


@pytest.fixture(scope="module")
def base(digits_store: Store) -> Basis:
    return basis("digits-mlp", digits_store)


@pytest.fixture(scope="module")
def trained(base: Basis) -> dict[str, TrainedCode]:
    return {name: train_code(plan, base) for name, plan in PLANS.items()}


def test_what_is_trained_recovers_lost_answers(trained: dict[str, TrainedCode]) -> None:
    for name, least in AT_LEAST.items():
        worth = trained[name].card.metrics["lost_only"]
        assert worth.value >= least, f"{name}: {worth.value}"
        assert trained[name].card.metrics["clean"].count == 359


def test_stored_programs_are_the_modules(base: Basis, trained: dict[str, TrainedCode]) -> None:
    for made in trained.values():
        shards = made.code.encode(base.test.images[: made.code.q * 5].unflatten(0, (5, -1)))
        for role, shard in zip(made.code.roles, shards, strict=True):
            if role == BASE:
                continue
            program = load_program(made.programs[role], expect_hash=made.card.programs[role])
            with torch.inference_mode():
                assert torch.allclose(program([shard])[0], made.modules[role](shard), atol=1e-5)


def test_roles_of_two_parities_are_two_programs(trained: dict[str, TrainedCode]) -> None:
    made = trained["two parities"]
    assert set(made.programs) == {"parity-0", "parity-1"}
    assert made.programs["parity-0"] != made.programs["parity-1"]
    assert "lost_only_2_lost" in made.card.metrics


def test_distinct_students_are_several_programs(base: Basis) -> None:
    plan = CodePlan("backup", 2, 2, {"distinct": True}, student={"hidden": (8,)}, epochs=2)
    made = train_code(plan, base)
    assert set(made.programs) == {"student-0", "student-1"}
    assert made.programs["student-0"] != made.programs["student-1"]


def test_a_learned_decoder_takes_a_students_estimates(base: Basis) -> None:
    """And needs them: with the student's rows left out it is worse."""
    plan = CodePlan(
        "learned",
        2,
        2,
        {"assisted": True},
        student={"hidden": (32,)},
        epochs=12,
        recipe={"learning_rate": 1e-2},
    )
    made = train_code(plan, base)
    assert set(made.programs) == {"student"}
    assert made.code.widths == (0, 0, 0, 2)
    silent = {**made.modules, "student": lambda groups: torch.zeros(*groups.shape[:2], 10)}
    assert made.card.metrics["lost_only"].value > 0.9
    without = measure(made.code, silent, base.test).lost_only.value
    assert without < made.card.metrics["lost_only"].value - 0.2


def test_student_and_parity_share_a_budget(base: Basis) -> None:
    """A helper costs a slot; with two slots the student has one and the parity the other."""
    for r in (1, 2):
        networks = networks_within(base, "assisted", 2, r)
        made = train_code(CodePlan("assisted", 2, r, epochs=3, **networks), base)
        assert set(made.programs) == ({"helper"} if r == 1 else {"student", "parity-0"})
        assert made.card.cost is not None
        assert 0.7 < made.card.cost <= 1
        moments = measure_moments(made.code, made.modules, base.validation.images)
        calibrated = Calibrated(made.code, moments)
        plain = measure(made.code, made.modules, base.test)
        both = measure(calibrated, made.modules, base.test)
        assert both.lost_only.value > max(0.5, plain.lost_only.value - 0.05)


@pytest.mark.parametrize("name", ["parity", "backup", "learned"])
def test_the_same_seed_gives_the_same_bytes(name: str, base: Basis) -> None:
    """In one arithmetic: which of two is faster may change on a busy machine."""
    plan, recipe = PLANS[name], {"precision": "float32"}
    runs = [
        train_code(
            CodePlan(plan.code, 2, student=plan.student, seed=seed, epochs=1, recipe=recipe), base
        )
        for seed in (0, 0, 1)
    ]
    if name == "learned":
        first, second, other = ([*run.weights.values()] for run in runs)
        assert all(map(torch.equal, first, second))
        assert not all(map(torch.equal, first, other))
    else:
        assert runs[0].programs == runs[1].programs != runs[2].programs


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            {"code": "berrut"},
            "parity, mosaic, backup, assisted, learned, split-lagrange, not 'berrut'",
        ),
        ({"r": 0}, "'r' must be at least 1, not 0"),
        ({"parameters": {"weight": "sum"}}, "did you mean weights"),
        ({"recipe": {"loss": "l1"}}, "'loss' must be one of mse, decoded, not 'l1'"),
        ({"code": "learned", "recipe": {"loss": "mse"}}, "mse-base, kl-base, xent-label"),
        ({"code": "backup", "recipe": {"labels": 2.0}}, "'labels' in 0..1"),
        ({"code": "backup", "student": {"network": "vgg"}}, "Unknown network 'vgg'"),
        ({"recipe": {"learning_rates": 1e-3}}, "no 'learning_rates'.*mean 'learning_rate'"),
        (
            {"recipe": {"learning_rate": "fast"}},
            "'learning_rate' must be of type float, not 'fast'",
        ),
        ({"recipe": {"epochs": 0}}, "'epochs' must be at least 1"),
    ],
)
def test_bad_plans_are_refused(wrong: dict[str, Any], says: str, base: Basis) -> None:
    with pytest.raises(ValueError, match=says):
        train_code(CodePlan(**{"code": "parity", "k": 2, **wrong}), base)


def test_a_perfect_parity_loses_nothing(base: Basis) -> None:
    """A linear base is its own parity model, on averages: lost answers are the base's own."""
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    worth = measure(Parity(3, 4), {BASE: linear}, base.test)
    assert worth.agreement.value == 1.0
    assert abs(worth.lost_only.value - worth.clean.value) < 0.01  # groups leave a few out


def test_what_cannot_be_decoded_counts_as_a_guess(base: Basis) -> None:
    worth = measure(Parity(4, 5), {BASE: base.module}, base.test, lost=2)
    assert abs(worth.lost_only.value - GUESS) < 0.01
    with pytest.raises(ValueError, match=r"'lost' must be in 1..4, not 5"):
        measure(Parity(4, 5), {BASE: base.module}, base.test, lost=5)


def test_the_widest_student_keeps_to_its_share(base: Basis) -> None:
    found = student_within(base, 1 / 4)
    assert found["network"] == "mlp"
    (hidden,) = found["hidden"]
    assert (
        64 * hidden + hidden * 10
        <= (64 * 128 + 128 * 10) / 4
        < 64 * (hidden + 1) + 10 * (hidden + 1)
    )
    with pytest.raises(ValueError, match="narrowest lenet costs"):
        student_within(base, 0.01, "lenet")


def test_groups_larger_than_the_last_step_are_trained(base: Basis) -> None:
    """1293 images in steps of 128 leave 13, and a group is of 20."""
    assert len(base.learning.images) % 128 < 20
    made = train_code(CodePlan("parity", 20, epochs=1), base)
    assert made.card.parameters["k"] == 20
