"""The store: whole or not at all, never another program under the same name, checked cards."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from models.archive import content_hash
from models.cards import Card, CardError, proportion, wilson
from models.networks import make
from models.programs import ProgramRefused, export_program, load_program
from models.store import CARD, PROGRAM, SHIPPED, NameTaken, Store, UnknownModel


def program(seed: int) -> bytes:
    torch.manual_seed(seed)
    return export_program(make("mlp", (1, 4, 4), 3, hidden=[4]), torch.rand(1, 1, 4, 4))


@pytest.fixture(scope="module")
def archives() -> tuple[bytes, bytes]:
    return program(0), program(1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models", shipped=None)


def card(archive: bytes, name: str = "tiny") -> Card:
    return Card(
        name=name,
        hash=content_hash(archive),
        dataset="digits",
        network="mlp",
        options={"hidden": [4]},
        input_shape=(1, 4, 4),
        classes=("a", "b", "c"),
        metrics={"test_accuracy": proportion(9, 10)},
        seed=0,
    )


def test_what_is_saved_comes_back(store: Store, archives: tuple[bytes, bytes]) -> None:
    archive, _ = archives
    assert store.names() == ()
    weights = make("mlp", (1, 4, 4), 3, hidden=[4]).state_dict()
    folder = store.save("tiny", archive, card(archive), weights=weights)
    assert store.names() == ("tiny",)
    assert store.archive("tiny") == archive
    assert store.card("tiny") == card(archive)
    assert load_program(store.archive("tiny"), expect_hash=store.card("tiny").hash)
    assert all(torch.equal(store.weights("tiny")[key], weights[key]) for key in weights)
    assert sorted(path.name for path in folder.iterdir()) == [CARD, "model.safetensors", PROGRAM]
    assert [path.name for path in store.root.iterdir()] == ["tiny"]  # nothing half made is left


def test_a_name_never_comes_to_mean_another_program(
    store: Store, archives: tuple[bytes, bytes]
) -> None:
    first, second = archives
    store.save("tiny", first, card(first))
    store.save("tiny", first, dataclasses.replace(card(first), seed=7))  # the same program
    assert store.card("tiny").seed == 0
    with pytest.raises(NameTaken, match=card(first).hash[:12]):
        store.save("tiny", second, card(second))
    assert store.archive("tiny") == first
    store.save("tiny", second, card(second), overwrite=True)
    assert store.archive("tiny") == second
    assert store.card("tiny").hash == content_hash(second)
    assert [path.name for path in store.root.iterdir()] == ["tiny"]


def test_a_folder_that_is_no_model_is_left_alone(
    store: Store, archives: tuple[bytes, bytes]
) -> None:
    other = store.root / "tiny"
    other.mkdir(parents=True)
    (other / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(NameTaken, match="left as it is"):
            store.save("tiny", archives[0], card(archives[0]), overwrite=overwrite)
    assert (other / "thesis.txt").read_text() == "mine"


def test_card_and_program_must_agree(store: Store, archives: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="card must be of 'tiny'"):
        store.save("tiny", archives[0], card(archives[1]))
    with pytest.raises(ValueError, match="card must be of 'other'"):
        store.save("other", archives[0], card(archives[0]))
    with pytest.raises(ProgramRefused):
        store.save("tiny", b"no archive", card(archives[0]))
    assert store.names() == ()


@pytest.mark.parametrize("name", ["../tiny", "", "a/b", ".hidden", "a b", "x" * 101])
def test_names_stay_in_the_folder(store: Store, archives: tuple[bytes, bytes], name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        store.save(name, archives[0], card(archives[0], name))
    with pytest.raises(UnknownModel):
        store.archive(name)


def test_an_unknown_name_gets_the_nearest(store: Store, archives: tuple[bytes, bytes]) -> None:
    store.save("digits-lenet", archives[0], card(archives[0], "digits-lenet"))
    with pytest.raises(UnknownModel, match=r"Did you mean 'digits-lenet'\?"):
        store.archive("digits-lennet")
    with pytest.raises(UnknownModel, match="without its weights"):
        store.weights("digits-lenet")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"hash": "abc"}, "hash"),
        ({"format": 2}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"metrics": {"x": {"value": 1.5, "count": 3, "interval": [0, 1]}}}, "metrics.x.value"),
    ],
)
def test_a_card_is_checked_when_read(
    store: Store, archives: tuple[bytes, bytes], change: dict[str, object], match: str
) -> None:
    path = store.save("tiny", archives[0], card(archives[0])) / CARD
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CardError, match=match):
        store.card("tiny")


def test_the_folder_is_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOFN_STORE", str(tmp_path))
    assert Store().root == tmp_path
    assert Store(tmp_path / "other").root == tmp_path / "other"
    monkeypatch.delenv("KOFN_STORE")
    assert Store().root.parts[-1] == "models"


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 50), (350, 359), (5, 10)])
def test_the_interval_is_wilsons(hits: int, count: int) -> None:
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)
    for wrong in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match="hits"):
            wilson(*wrong)


def test_weights_that_share_memory_are_kept(store: Store, archives: tuple[bytes, bytes]) -> None:
    shared = torch.arange(4.0)
    archive = archives[0]
    store.save("tiny", archive, card(archive), weights={"a": shared, "b": shared})
    assert torch.equal(store.weights("tiny")["b"], shared)


def test_what_is_shipped_is_found_behind_the_users_own(
    tmp_path: Path, archives: tuple[bytes, bytes]
) -> None:
    """Read only: an own model of the same name stands before it, once it is overwritten."""
    archive, _ = archives
    shipped = Store(tmp_path / "shipped", shipped=None)
    shipped.save("tiny", archive, card(archive))
    store = Store(tmp_path / "own", shipped=shipped.root)
    assert store.names() == ("tiny",)
    assert store.archive("tiny") == archive
    other = dataclasses.replace(card(archive), title="of the user")
    store.save("tiny", archive, other)  # the same program: nothing changes
    assert store.card("tiny").title != "of the user"
    store.save("tiny", archive, other, overwrite=True)
    assert store.card("tiny").title == "of the user"
    assert shipped.card("tiny").title != "of the user"


@pytest.mark.parametrize("base", ["digits-lenet", "fashion-mnist-lenet"])
def test_the_shipped_codes_belong_to_the_shipped_models(base: str, tmp_path: Path) -> None:
    """For k = 2 and 4, and split networks for k = 4, each much better than a guess; all of them a
    few MB."""
    store = Store(tmp_path)
    cards = {card.name: card for card in store.codes.trained_for(store.card(base).hash)}
    systematic = [f"{code}-k{k}-r1" for code in ("parity", "mosaic", "backup") for k in (2, 4)]
    for code in (*systematic, "split-lagrange-k4"):
        found = cards[f"{base}.{code}"]
        assert found.metrics["lost_only"].value > 0.5
        for role, hash_ in found.programs.items():
            assert content_hash(store.codes.program(found.name, role)) == hash_
    files = [path for path in SHIPPED.rglob("*") if path.is_file() and ".runs" not in path.parts]
    size = sum(path.stat().st_size for path in files)
    assert size < 6e6
