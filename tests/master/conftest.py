"""The program that the scripted workers pretend to run."""

from pathlib import Path

import pytest
import torch

from models.programs import export_program
from support.live import Doubled
from support.serving import QUERY


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as a file."""
    path = tmp_path_factory.mktemp("programs") / "doubled.pt2"
    path.write_bytes(export_program(Doubled(), torch.rand(2, *QUERY)))
    return path
