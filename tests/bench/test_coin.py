"""The table of merged models: its rows, what a row measures, and records as text."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.coin.measuring import Asked, patterns
from bench.coin.tasks import CHANGES, joined, task
from bench.coin.text import TITLES, cells, newest
from bench.tabling import open_table
from models.store import Store
from training.merging.report import coin_of


@contextmanager
def silent(title: str) -> Iterator[Any]:
    yield lambda progress: None


def test_patterns_of_losses_are_all_sets_that_hold_a_model() -> None:
    found = {(lost, coded): sets for lost, coded, sets in patterns(3, 2)}
    assert found == {
        (1, 0): [(0,), (1,), (2,)],
        (2, 0): [(0, 1), (0, 2), (1, 2)],
        (1, 1): [(0, 3), (0, 4), (1, 3), (1, 4), (2, 3), (2, 4)],
    }


def test_tasks_share_no_test_image_and_joined_ones_every_class() -> None:
    plain, turned = task("digits"), task("digits:rot")
    assert len(plain.learning.images) + len(plain.test.images) == 1797
    assert torch.equal(plain.test.images.rot90(1, (2, 3)), turned.test.images)
    quarter = joined([plain.learning, turned.learning], 0.25)
    assert len(quarter.images) == pytest.approx(len(plain.learning.images) / 2, abs=20)
    assert set(quarter.labels.tolist()) == set(range(10))
    with pytest.raises(ValueError, match="must be one of , rot, inv"):
        task("digits:upside-down")
    assert set(task("digits:low").learning.labels.tolist()) == set(range(5))
    assert torch.equal(CHANGES["inv"](CHANGES["inv"](plain.test)).labels, plain.test.labels)


def test_perfect_coded_models_decode_to_clean() -> None:
    plain, turned = task("digits"), task("digits:rot")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2))
        mean = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for key, value in mean.state_dict().items():
        value.copy_((one.state_dict()[key] + other.state_dict()[key]) / 2)
    asked = Asked((one, other), (plain, turned))
    outputs = asked.outputs([mean])
    code = coin_of(((0.5, 0.5),), "fixed", outputs[0])
    worth = asked.worth(code, outputs, [(0,), (1,)])
    assert worth.mean == pytest.approx(asked.clean, abs=2e-3)
    assert worth.agreement > 0.998
    assert worth.answers == 2 * len(plain.test.images)


@pytest.mark.timeout(120)  # three short trainings and two merges
def test_a_row_is_measured_and_told(tmp_path: Path) -> None:
    table = open_table("coin")
    (row,) = table.rows("digits, common start.seed-0", most_epochs=1)
    assert row.setting.family.tune["epochs"] == 1
    quick = replace(row.setting, methods=["average", "coin"], inputs=64, samples=4)
    row = replace(row, setting=quick)
    store = Store(tmp_path, shipped=None)
    found = list(table.run(row, store, silent, "cpu"))
    methods = [record["method"] for record in found]
    assert methods[:4] == ["guess", "replication", "start", "student"]
    assert methods[4:] == ["average", "average", "coin", "coin"]
    for record in found:
        assert 0 <= record["lost_only"] <= 1
    by = {(r["method"], r.get("decoder")): r for r in found}
    assert by["coin", "fixed"]["overall"] == pytest.approx(
        (by["coin", "fixed"]["clean"] + by["coin", "fixed"]["lost_only"]) / 2, abs=1e-4
    )
    again = [{**record, "run": "later"} for record in found]
    assert newest([*found, *again]) == again
    lines = cells(found)
    assert all(len(line) == len(TITLES) for line in lines)
    (coin,) = (line for line in lines if line[3] == "coin")
    assert coin[7] == "0.963 / 0.962"


def test_every_row_names_methods_and_targets_that_there_are() -> None:
    from bench.coin.table import METHODS
    from bench.coin.text import NO_CODE

    for row in open_table("coin").rows():
        assert set(row.setting.methods) <= set(METHODS)
        for target in row.setting.targets:
            method = target.partition(" fi")[0]
            assert method in (*row.setting.methods, *NO_CODE), target
