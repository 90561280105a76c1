"""A store, records, and what could be served of them."""

import pytest

from bench.records import RESULTS
from models.store import Store
from planner.candidates import Candidate, candidates
from report.cells import Cell, cells
from report.records import read

MODEL = "digits-lenet"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With what comes with the package, and nothing else."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def measured() -> list[Cell]:
    """Accuracies of the committed records."""
    return cells(read([RESULTS / "lagrange.jsonl", RESULTS / "learned-codes.jsonl"]))


@pytest.fixture(scope="module")
def able(store: Store, measured: list[Cell]) -> list[Candidate]:
    """All that six workers can serve."""
    return candidates(MODEL, store, 6, 100.0, 0.05, measured)
