"""Base models learn, repeat themselves exactly, and are stored with an honest card."""

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models import data
from models.data import DataError
from models.networks import make
from models.programs import load_program
from models.store import NameTaken, Store
from training.base import Plan, train, train_and_store, train_base
from training.images import constants, varied
from training.loop import Progress, fit, seeded
from training.measure import right
from training.recipe import Recipe
from training.run import METRICS, Run


@pytest.mark.parametrize("network", ["mlp", "lenet"])
def test_digits_are_learned_in_seconds(network: str, tmp_path: Path) -> None:
    start_s = time.monotonic()
    store = Store(tmp_path, shipped=None)
    card = train_and_store("digits", network, store=store)
    took_s = time.monotonic() - start_s

    accuracy = card.metrics["test_accuracy"]
    assert accuracy.value >= 0.965
    assert took_s < 20  # ten on this project's two busy cores, and some for worse days
    assert store.names() == (f"digits-{network}",)
    assert store.card(card.name) == card
    assert card.classes == tuple("0123456789")
    assert card.input_shape == (1, 8, 8)

    program = load_program(store.archive(card.name), expect_hash=card.hash)
    test = data.load("digits", "test")
    hits = int((program([test.images])[0].argmax(1) == test.labels).sum())
    assert hits == round(accuracy.value * accuracy.count)
    assert accuracy.count == len(test.images)

    module = make(network, card.input_shape, len(card.classes), **card.options).eval()
    module.load_state_dict(store.weights(card.name))
    with torch.inference_mode():
        assert torch.equal(module(test.images), program([test.images])[0])


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    state = torch.get_rng_state()
    recipe = {"precision": "float32"}  # the faster of two may change on a busy machine
    plans = [Plan("digits", "mlp", epochs=2, seed=seed, recipe=recipe) for seed in (0, 0, 1)]
    hashes = [train(plan).card.hash for plan in plans]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's numbers are disturbed
    assert not torch.are_deterministic_algorithms_enabled()


def test_progress_and_metrics(tmp_path: Path) -> None:
    told: list[Progress] = []
    run = Run(tmp_path / "run", {"epochs": 3})
    train_base("digits", "mlp", epochs=3, progress=told.append, run=run)
    assert [p.epoch for p in told if p.done == p.epoch / 3] == [1, 2, 3]
    assert told[-1].eta_s == 0
    assert all(p.eta_s >= 0 and p.elapsed_s > 0 for p in told)
    lines = [json.loads(line) for line in (run.folder / METRICS).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[2]["score"] == told[-1].score
    events = EventAccumulator(str(run.folder)).Reload()
    assert [event.step for event in events.Scalars("score")] == [1, 2, 3]
    assert events.Scalars("loss")[2].value == pytest.approx(lines[2]["loss"], rel=1e-6)


def fitted(scores: list[float], **settings: Any) -> tuple[torch.nn.Linear, list[torch.Tensor], Any]:
    """Fit one number with scores made up beforehand; the weights after every epoch."""
    module = torch.nn.Linear(1, 1)
    seen: list[torch.Tensor] = []

    def score_of() -> float:
        assert not module.training
        seen.append(module.weight.detach().clone())
        return scores[len(seen) - 1]

    def loss_of(chosen: torch.Tensor) -> torch.Tensor:
        assert module.training
        return (module(torch.ones(len(chosen), 1)) - 5).square().mean()

    recipe = Recipe(epochs=len(scores), batch_size=4, **settings)
    return module, seen, fit(module, loss_of, 10, score_of, recipe, seed=0)


def test_the_best_epochs_weights_are_kept() -> None:
    module, seen, outcome = fitted([0.1, 0.7, 0.3, 0.7])
    assert torch.equal(module.weight, seen[1])
    assert not torch.equal(module.weight, seen[3])
    assert (outcome.epoch, outcome.score, outcome.epochs) == (2, 0.7, 4)


def test_an_early_stop() -> None:
    _, seen, outcome = fitted([0.5, 0.6, 0.1, 0.6, 0.9], patience=2)
    assert (len(seen), outcome.epoch, outcome.epochs) == (4, 2, 4)


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    module = torch.nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="learning rate"):
        fit(
            module,
            lambda chosen: module(torch.ones(len(chosen), 1)).mean() * math.nan,
            4,
            lambda: 0.0,
            Recipe(epochs=2),
            seed=0,
        )


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"batch_size": 0}, {"patience": 0}, {"learning_rate": math.nan}]
)
def test_a_recipe_checks_itself(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Recipe(**settings)


def test_files_of_ones_own(tmp_path: Path) -> None:
    """Bright images are one class and dark ones the other; any network learns that."""
    generator = np.random.default_rng(0)
    labels = np.arange(100) % 2
    images = generator.integers(0, 100, (100, 6, 5, 3)) + 150 * labels[:, None, None, None]
    path = tmp_path / "bright.npz"
    np.savez(path, x=images.astype(np.uint8), y=labels, class_names=["dark", "bright"])
    trained = train(Plan(str(path), "mlp", recipe={"flip": True, "shift_pixels": 1}, epochs=8))
    assert trained.card.name == "bright-mlp"
    assert trained.card.classes == ("dark", "bright")
    assert trained.card.metrics["test_accuracy"].value == 1.0
    assert trained.card.metrics["test_accuracy"].count == 20
    assert right(trained.module, data.load(str(path), "all")) == 100

    np.savez(tmp_path / "bare.npz", x=images.astype(np.uint8))
    with pytest.raises(DataError, match="no labels"):
        train(Plan(str(tmp_path / "bare.npz"), "mlp"))


def test_storing_does_not_replace(tmp_path: Path) -> None:
    store = Store(tmp_path, shipped=None)
    train_and_store("digits", "mlp", store=store, epochs=1, name="mine")
    with pytest.raises(NameTaken):
        train_and_store("digits", "mlp", store=store, epochs=1, name="mine", seed=1)
    card = train_and_store(
        "digits", "mlp", store=store, epochs=1, name="mine", seed=1, overwrite=True
    )
    assert store.card("mine") == card


def test_variations_move_whole_images() -> None:
    images = torch.zeros(200, 1, 5, 5)
    images[:, 0, 2, 1] = 1
    assert varied(images, 0, False) is images
    with seeded(0):
        moved = varied(images, 1, True)
    assert torch.equal(moved.sum(dim=(1, 2, 3)), torch.ones(200))
    spots = {tuple(spot) for spot in moved[:, 0].nonzero()[:, 1:].tolist()}
    assert spots == {(row, column) for row in (1, 2, 3) for column in range(5)}


def test_constants_are_of_each_channel() -> None:
    images = torch.stack([torch.full((4, 4), 0.25), torch.eye(4)]).expand(3, 2, 4, 4)
    assert constants(images)["mean"] == [0.25, 0.25]
    assert constants(images)["std"][0] == 1e-3
