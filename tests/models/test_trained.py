"""Trained codes in the store: whole, under one name, told apart by their base."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.archive import content_hash
from models.cards import CardError
from models.folder import NameTaken, UnknownModel
from models.networks import make
from models.programs import export_program
from models.store import Store
from models.trained import CodeCard, TrainedCodes


@pytest.fixture(scope="module")
def archive() -> bytes:
    torch.manual_seed(0)
    return export_program(make("mlp", (1, 4, 4), 3, hidden=[4]), torch.rand(1, 1, 4, 4))


@pytest.fixture
def card(archive: bytes) -> CodeCard:
    return CodeCard(
        name="tiny.mosaic-k2-r1",
        code="mosaic",
        parameters={"k": 2, "n": 3},
        base="tiny",
        base_hash="a" * 64,
        programs={"parity-0": content_hash(archive)},
    )


@pytest.fixture
def codes(tmp_path: Path) -> TrainedCodes:
    return Store(tmp_path, shipped=None).codes


def test_what_is_saved_comes_back(codes: TrainedCodes, card: CodeCard, archive: bytes) -> None:
    weights = {"bias": torch.arange(3.0)}
    state = {"theta": torch.ones(2)}
    codes.save(card, {"parity-0": archive}, weights, state)
    assert torch.equal(codes.state(card.name)["theta"], state["theta"])
    assert codes.names() == (card.name,)
    assert codes.card(card.name) == card
    assert codes.program(card.name, "parity-0") == archive
    assert torch.equal(codes.weights(card.name)["bias"], weights["bias"])
    assert codes.trained_for("a" * 64) == (card,)
    assert codes.trained_for("b" * 64) == ()


def test_a_name_is_not_taken_over(codes: TrainedCodes, card: CodeCard, archive: bytes) -> None:
    codes.save(card, {"parity-0": archive})
    other = replace(card, base_hash="b" * 64)
    with pytest.raises(NameTaken, match=r"tiny\.mosaic-k2-r1"):
        codes.save(other, {"parity-0": archive})
    assert codes.card(card.name) == card
    codes.save(other, {"parity-0": archive}, overwrite=True)
    assert codes.card(card.name) == other
    assert codes.weights(card.name) == codes.state(card.name) == {}


def test_hashes_must_agree(codes: TrainedCodes, card: CodeCard, archive: bytes) -> None:
    with pytest.raises(ValueError, match="must have the programs"):
        codes.save(card, {"parity-1": archive})
    assert codes.names() == ()


def test_unknown_names_get_the_nearest(codes: TrainedCodes, card: CodeCard, archive: bytes) -> None:
    codes.save(card, {"parity-0": archive})
    with pytest.raises(UnknownModel, match=r"Did you mean 'tiny\.mosaic-k2-r1'"):
        codes.card("tiny.mosaic-k2-r2")
    with pytest.raises(UnknownModel, match=r"role 'parity-1'.*parity-0"):
        codes.program(card.name, "parity-1")


def test_a_broken_card_names_its_field(codes: TrainedCodes, card: CodeCard, archive: bytes) -> None:
    file = codes.save(card, {"parity-0": archive}) / "code.json"
    file.write_text(file.read_text().replace('"base_hash": "aaaa', '"base_hash": "zz'))
    with pytest.raises(CardError, match="base_hash"):
        codes.card(card.name)
