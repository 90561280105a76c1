"""Networks that stand for functions: they learn, go on where they were, and tell their errors."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import codes
from codes.base import BASE
from codes.calibrated import Calibrated, measure_moments
from codes.split_lagrange import TRUNK, SplitLagrange
from models import data
from models.functions import TARGETS, MatrixFunction
from models.networks.mlp import Mlp
from models.programs import load_program
from training.aicc import AiccPlan, AiccRecipe, function_model, train_aicc
from training.codes import TrainedCode
from training.errors import answered, errors_by_size, time_ratio
from training.loop import Progress
from training.run import Run

SHORT = {"epochs": 2, "width": 64, "layers": 2}
PLAN = AiccPlan("eigenvalue", 4, 2, (3, 4), recipe=SHORT)

pytestmark = pytest.mark.timeout(120)  # the first test waits for the training and torch.export


@pytest.fixture(scope="module")
def trained() -> TrainedCode:
    return train_aicc(PLAN)


def errors(made: TrainedCode, trunk: Any = None) -> dict[int, tuple[float, float]]:
    modules = {**made.modules, **({} if trunk is None else {TRUNK: trunk})}
    test = data.load("wishart-4-eigenvalue", "test")
    return errors_by_size(made.code, *answered(made.code, modules, test))


def test_a_short_training_is_better_than_none_and_than_the_mean(trained: TrainedCode) -> None:
    torch.manual_seed(0)
    untrained = errors(trained, Mlp((1, 4, 4), 1, (64, 64), (0.0,), (1.0,)))
    found = errors(trained)
    assert found[4][0] < 0.2 < 0.8 < untrained[4][0]
    assert found[2][0] < 0.5 < 0.9 < untrained[2][0]


def test_its_card_has_the_errors_of_the_calibrated_decoder(trained: TrainedCode) -> None:
    """Which are told right, and below those of the plain one."""
    validation = data.load("wishart-4-eigenvalue", "validation")
    moments = measure_moments(trained.code, trained.modules, validation.images)
    calibrated = Calibrated(trained.code, moments)
    plain = errors(trained)
    for size, error in trained.card.errors.items():
        assert error <= plain[size][0] + 0.005
    told = calibrated.expected_error(range(4))
    assert told is not None
    assert float(told.mean()) == pytest.approx(trained.card.errors[4], rel=0.2)


def test_more_answers_are_better_and_the_worst_set_is_worse(trained: TrainedCode) -> None:
    found = errors(trained)
    means = [found[m][0] for m in (1, 2, 3, 4)]
    assert means == sorted(means, reverse=True)
    assert found[2][1] > found[2][0]
    assert found[4][1] == found[4][0]  # one set


def test_it_tells_what_to_expect(trained: TrainedCode) -> None:
    """Within a factor of two of what is measured, for every number of answers."""
    code = trained.code
    assert isinstance(code, SplitLagrange)
    assert code.noise > 0
    for size, (mean, _) in errors(trained).items():
        told = code.expected_error(range(size))
        assert told is not None
        assert mean / 2 < float(told.mean()) < 2 * mean


def test_the_stored_program_is_the_network(trained: TrainedCode) -> None:
    program = load_program(trained.programs[TRUNK], expect_hash=trained.card.programs[TRUNK])
    rows = data.load("wishart-4-eigenvalue", "test").images[:9]
    with torch.inference_mode():
        assert torch.allclose(program([rows])[0], trained.modules[TRUNK](rows), atol=1e-6)
    archive, card = function_model(PLAN.target)
    assert trained.card.base_hash == card.hash
    assert torch.allclose(load_program(archive)([rows])[0], MatrixFunction(PLAN.target)(rows))
    assert trained.card.time_cost is not None
    assert trained.card.time_cost > 0


class Interrupted(Exception):
    """What stands for Ctrl-C."""


def interrupting(done: float) -> Callable[[Progress], None]:
    def tell(now: Progress) -> None:
        if now.done == done:
            raise Interrupted

    return tell


def test_an_interrupted_run_comes_to_the_same_end(trained: TrainedCode, tmp_path: Path) -> None:
    """Bit for bit: matrices and sets of responders are drawn on from where it was."""
    with pytest.raises(Interrupted):
        train_aicc(PLAN, run=Run(tmp_path, SHORT), progress=interrupting(0.5))
    resumed = train_aicc(PLAN, run=Run(tmp_path, SHORT))
    assert resumed.programs == trained.programs
    assert resumed.code == trained.code


def test_another_seed_is_another_network(trained: TrainedCode) -> None:
    other = train_aicc(replace(PLAN, seed=1, recipe={**SHORT, "epochs": 1}))
    assert other.programs != trained.programs


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"function": "trace"}, "'function' must be one of determinant, .*not 'trace'"),
        ({"size": 5}, "'size' must be one of 4, 8, not 5"),
        ({"k": 0}, "'k'.*not 0"),
        ({"slots": (5, 3)}, "'n' must be at least k = 4.*not 3"),
        ({"slots": ()}, "'n' must name"),
        ({"recovery_threshold": 3}, "'recovery_threshold' must be in k..n = 4..5, not 3"),
        ({"recovery_threshold": 6}, "'recovery_threshold' must be in k..n = 4..5, not 6"),
        ({"recipe": {"width": 0}}, "'width' must be at least 1, not 0"),
        ({"recipe": {"noise": -0.1}}, "'noise' must be at least 0, not -0.1"),
    ],
)
def test_bad_plans_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        AiccPlan(**{"function": "determinant", "size": 4, **wrong})


def test_the_defaults_are_a_plan() -> None:
    plan = AiccPlan("exponential", 8)
    assert plan.code_name == "wishart-8-exponential.split-lagrange-k4"
    assert AiccRecipe.of(plan.recipe) == AiccRecipe()


def test_lost_copies_cost_the_variance() -> None:
    """Replication at n = 2 k: of m responders, a query has none with probability
    (n-m)(n-m-1) / (n (n-1)), and then the mean is answered."""
    target = TARGETS["wishart-4-determinant"]
    test = data.load(target.name, "test")
    code = codes.make("replication", k=4, n=8)
    found = errors_by_size(code, *answered(code, {BASE: MatrixFunction(target)}, test))
    wanted = [(8 - m) * (7 - m) / 56 for m in range(1, 9)]
    assert [found[m][0] for m in range(1, 9)] == pytest.approx(wanted, abs=0.002)


def test_times_are_compared_in_turns() -> None:
    """Ten times the work takes more than three times as long."""

    def work(batch: list[torch.Tensor]) -> None:
        batch[0] @ batch[0]

    ratio = time_ratio(lambda batch: [work(batch) for _ in range(10)], work, torch.ones(64, 64))
    assert ratio > 3
