"""Split Lagrange networks learn, repeat themselves, and are stored as they were measured."""

from dataclasses import replace

import pytest
import torch

from codes.base import BASE
from codes.split_lagrange import SplitLagrange
from codes.stages import STEM, shards_of, stemmed
from models.networks.cutting import cut
from models.programs import load_program
from models.store import Store
from training.basis import Basis, basis
from training.codes import CodePlan, TrainedCode, train_code
from training.lagrange import MIXER, Centred
from training.measure import measure

pytestmark = pytest.mark.timeout(120)

PLAN = CodePlan(
    "split-lagrange", 2, 2, cut="input", slots=(3, 4), epochs=12, recipe={"precision": "float32"}
)


@pytest.fixture(scope="module")
def base(digits_store: Store) -> Basis:
    return basis("digits-mlp", digits_store)


@pytest.fixture(scope="module")
def trained(base: Basis) -> TrainedCode:
    return train_code(PLAN, base)


def test_training_teaches_the_trunk_what_mixes_are(base: Basis, trained: TrainedCode) -> None:
    stem, trunk = cut(base.module, PLAN.cut)
    untrained = {BASE: base.module, STEM: stem, "trunk": Centred(trunk)}
    before = measure(trained.code, untrained, base.test, lost=2).overall.value
    after = measure(trained.code, trained.modules, base.test, lost=2).overall.value
    assert after > before + 0.02
    assert after > 0.85
    assert trained.card.metrics["clean"].value > 0.9


def test_the_card_says_what_it_costs_and_how_wrong_it_is(trained: TrainedCode) -> None:
    card, code = trained.card, trained.code
    assert isinstance(code, SplitLagrange)
    assert card.name == "digits-mlp.split-lagrange-k2"
    assert card.cost == pytest.approx(1.0)  # all of the network stands behind the mix
    assert card.stem_cost == 0
    assert card.payload == 1
    assert 0 < code.noise < 1
    assert 0 <= code.bias < 0.5


def test_what_answers_are_wrong_by_is_about_what_they_say(
    base: Basis, trained: TrainedCode
) -> None:
    groups = base.test.images[:358].unflatten(0, (179, 2))
    truth = base.module(base.test.images[:358])
    truth = (truth - truth.mean(-1, keepdim=True)).unflatten(0, (179, 2))
    modules = trained.modules
    shards = shards_of(trained.code, groups, modules[STEM])
    with torch.inference_mode():
        results = [modules["trunk"](shard) for shard in shards]
        for slots in ([0], [0, 2], [1, 2, 3], [0, 1, 2, 3]):
            told = trained.code.expected_error(slots)
            decoded = trained.code.decode([results[slot] for slot in slots], slots)
            error = float((decoded - truth).square().mean() / truth.square().mean())
            assert told is not None
            assert error == pytest.approx(float(told.mean()), rel=0.35, abs=0.04)


def test_stored_programs_are_the_modules_and_a_worker_s_mix_is_the_master_s(
    base: Basis, trained: TrainedCode
) -> None:
    queries = base.test.images[:6].unflatten(0, (3, 2))
    programs = {role: load_program(archive) for role, archive in trained.programs.items()}
    assert set(programs) == {STEM, "trunk", MIXER}
    features = stemmed(lambda rows: programs[STEM]([rows])[0], queries)
    code = trained.code
    assert isinstance(code, SplitLagrange)
    for slot, shard in enumerate(code.encode(features)):
        (there,) = programs["trunk"]([shard])
        row = torch.tensor(code.generator[slot], dtype=torch.float32).expand(3, -1).contiguous()
        (here,) = programs[MIXER]([queries, row])
        torch.testing.assert_close(here, there, atol=1e-5, rtol=0)
        with torch.inference_mode():
            torch.testing.assert_close(trained.modules["trunk"](shard), there)


def test_the_same_seed_gives_the_same_bytes(base: Basis) -> None:
    short = replace(PLAN, epochs=1)
    first, again, other = (
        train_code(replace(short, seed=seed), base).programs["trunk"] for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cut": "conv1"}, "'cut' must be one of input, linear1, not 'conv1'"),
        ({"slots": (3, 4), "parameters": {"dimension": 4}}, "'slots' must be at least R = 4"),
        ({"parameters": {"dimension": 1}}, "'dimension' must be at least k = 2"),
        ({"parameters": {"dimension": 5}}, "'dimension' must be at most n - spares = 4"),
        ({"recipe": {"norms": "none"}}, "'norms' must be one of mixed, base"),
        ({"recipe": {"sets": 0}}, "'sets' must be at least 1"),
    ],
)
def test_bad_plans_are_refused(base: Basis, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        train_code(replace(PLAN, **wrong), base)  # type: ignore[arg-type]


def test_statistics_of_clean_batches_behind_the_mix_are_refused(base: Basis) -> None:
    from models import networks

    module = networks.make("resnet18", (1, 8, 8), 10, width=2).eval()
    deep = Basis(base.card, module, "cpu")
    recipe = {**PLAN.recipe, "norms": "base"}
    with pytest.raises(ValueError, match="'norms' must be 'mixed' for the cut 'stem'"):
        train_code(replace(PLAN, cut="stem", recipe=recipe), deep)
