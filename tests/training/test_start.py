"""Training on from a stored model: its weights come first, and the card says so."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.store import Store, UnknownModel
from training.base import Plan, train, train_and_store

FROZEN = {"learning_rate": 1e-30, "weight_decay": 0.0, "averaging": 0.0, "precision": "float32"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path, shipped=None)
    options = {"hidden": [8]}
    train_and_store("digits", "mlp", name="common", options=options, epochs=1, store=store)
    return store


def test_training_begins_with_the_start(store: Store) -> None:
    plan = Plan("digits", "mlp", epochs=1, recipe=FROZEN, start="common")
    trained = train(plan, store=store)
    for name, values in store.weights("common").items():
        assert torch.equal(trained.module.state_dict()[name], values), name
    assert trained.card.start == "common"
    assert trained.card.start_hash == store.card("common").hash
    assert trained.card.options == store.card("common").options  # hidden = 8 is the start's


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "lenet"}, "its network is 'mlp', not 'lenet'"),
        ({"options": {"hidden": [16]}}, r"its hidden is \[8\], not \[16\]"),
    ],
)
def test_a_start_of_another_kind_is_refused(
    store: Store, change: dict[str, object], message: str
) -> None:
    plan = replace(Plan("digits", "mlp", epochs=1, start="common"), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        train(plan, store=store)


def test_a_start_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(UnknownModel, match="Did you mean 'common'"):
        train(Plan("digits", "mlp", start="comon"), store=store)
