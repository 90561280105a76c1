"""Another model in a parent's place: the same as a merge from nothing; refused where it must."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import codes
from codes.coin import OUTPUTS
from codes.neural import Weights
from models.programs import load_program
from models.store import Store
from models.trained import Parent
from support.families import family, fresh, inputs, keep
from training.merging import MergePlan, NotMergeable, mixed
from training.merging.remerge import replaced
from training.merging.stored import Merged, merge_stored, stored_parents


def merged(
    store: Store, names: list[str], plan: MergePlan, kind: str = "mlp", name: str | None = None
) -> Merged:
    parts = [inputs(kind, 24, 7), inputs(kind, 24, 8)]
    parents = stored_parents(names, store)
    models = [Parent(name, store.card(name).hash) for name in names]
    return merge_stored(parents, models, plan, mixed(("x", "y"), parts, 48, 0, 2), name)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("store"), shipped=None)
    for kind in ("mlp", "resnet"):
        for name, module in zip("abc", family(kind, 3), strict=True):
            keep(store, f"{kind}-{name}", kind, module)
    return store


@pytest.mark.parametrize(
    ("kind", "method"), [("mlp", "coin"), ("mlp", "average"), ("resnet", "coin")]
)
def test_a_new_model_gives_what_a_fresh_merge_gives(kept: Store, kind: str, method: str) -> None:
    one, other, new = (f"{kind}-{name}" for name in "abc")
    plan = MergePlan(method=method, samples=4, limit=1e9, dampings=(0.1,))  # not chosen again
    first = merged(kept, [one, other], plan, kind, "code")
    kept.codes.save(first.card, first.programs, first.weights, first.state, overwrite=True)
    again = replaced("code", other, new, kept)
    wanted = merged(kept, [one, new], plan, kind, "code")

    assert [parent.name for parent in again.card.parents] == [one, new]
    assert again.card.parents == wanted.card.parents
    assert again.card.programs != first.card.programs
    assert again.card.recipe["damping"] == wanted.card.recipe["damping"]
    assert torch.allclose(again.weights[OUTPUTS], wanted.weights[OUTPUTS], atol=1e-4)
    assert again.card.report["coding_loss"] == pytest.approx(
        wanted.card.report["coding_loss"], rel=1e-2, abs=1e-6
    )
    assert again.state.keys() == wanted.state.keys()
    for name, value in wanted.state.items():
        assert torch.equal(again.state[name], value), name
    if kind == "mlp":  # and back
        kept.codes.save(again.card, again.programs, again.weights, again.state, overwrite=True)
        back = replaced("code", new, other, kept)
        assert torch.allclose(back.weights[OUTPUTS], first.weights[OUTPUTS], atol=1e-5)


def test_what_is_kept_serves(kept: Store) -> None:
    names = ["mlp-a", "mlp-b"]
    made = merged(kept, names, MergePlan(samples=4, limit=1e9))
    kept.codes.save(made.card, made.programs, made.weights, made.state)
    card = kept.codes.card("mlp-a+mlp-b.coin-k2-r1")
    code = codes.make("coin", **card.parameters, outputs=Weights(kept.codes.weights(card.name)))
    assert (code.k, code.n) == (2, 3)
    assert [parent.hash for parent in card.parents] == [kept.card(name).hash for name in names]
    rows = inputs("mlp", 8, 1)
    first = load_program(kept.archive("mlp-a"))([rows])[0]
    coded = load_program(kept.codes.program(card.name, "coded-0"))([rows])[0]
    assert code.decode([first, coded], (0, 2), (1,)).shape == (8, 1, 4)
    assert set(card.metrics) == {"agreement", "agreement_0", "agreement_1"}
    loss = card.report["coding_loss"][0]
    assert card.report["predicted_error"][0] == pytest.approx([4 * loss, 4 * loss])


def test_refusals_of_another_model(kept: Store) -> None:
    plan = MergePlan("regmean", limit=1e9)
    made = merged(kept, ["mlp-a", "mlp-b"], plan, name="fitted-code")
    kept.codes.save(made.card, made.programs, made.weights, made.state, overwrite=True)
    with pytest.raises(NotMergeable, match="has no sums to be corrected: merge anew"):
        replaced("fitted-code", "mlp-a", "mlp-c", kept)
    with pytest.raises(NotMergeable, match="is of mlp-a, mlp-b, not of 'mlp-c'"):
        replaced("fitted-code", "mlp-c", "mlp-a", kept)
    made = merged(kept, ["mlp-a", "mlp-b"], MergePlan(samples=4, limit=1e9), name="old-code")
    old = replace(made.card, recipe={**made.card.recipe, "damping": [0.1]})
    kept.codes.save(old, made.programs, made.weights, made.state, overwrite=True)
    with pytest.raises(NotMergeable, match="made by an earlier version"):
        replaced("old-code", "mlp-a", "mlp-c", kept)
    with pytest.raises(NotMergeable, match="each once, not mlp-a, mlp-a"):
        stored_parents(["mlp-a", "mlp-a"], kept)


def test_starts_that_are_recorded_decide_before_weights(tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    far = [fresh("mlp", seed) for seed in (0, 1)]
    for name, module, start in zip("ab", far, ("a" * 64, "b" * 64), strict=True):
        keep(store, name, "mlp", module, start)
    with pytest.raises(NotMergeable, match="have no common start"):
        stored_parents(["a", "b"], store)
    tuned = copy.deepcopy(far[0])
    keep(store, "of-a", "mlp", tuned.float(), store.card("a").hash)
    assert stored_parents(["a", "of-a"], store).names == ("a", "of-a")


def test_other_architectures_are_refused_by_their_cards(tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    for name, kind in (("a", "mlp"), ("b", "resnet")):
        keep(store, name, kind, fresh(kind))
    with pytest.raises(NotMergeable, match="network is 'mlp' and 'resnet18'"):
        stored_parents(["a", "b"], store)
    card = replace(store.card("a"), name="own", network="mine:build")
    store.save("own", store.archive("a"), card, weights=store.weights("a"))
    card = replace(card, name="own-2")
    store.save("own-2", store.archive("a"), card, weights=store.weights("a"))
    with pytest.raises(NotMergeable, match="of the user's own architecture 'mine:build'"):
        stored_parents(["own", "own-2"], store)
