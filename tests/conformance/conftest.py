"""A trained digits model, which foreign clients ask for."""

from pathlib import Path

import pytest

from models.programs import Program, load_program
from models.store import Store
from training.base import train_and_store


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with digits-mlp in it."""
    root: Path = tmp_path_factory.mktemp("store")
    store = Store(root)
    train_and_store("digits", "mlp", store=store)
    return store


@pytest.fixture(scope="session")
def digits_program(digits_store: Store) -> Program:
    """Its program, uncoded."""
    return load_program(digits_store.archive("digits-mlp"))
