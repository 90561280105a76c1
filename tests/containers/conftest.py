"""The images, built once from a clean checkout, under names of their own."""

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from models import data
from models.programs import load_program
from models.store import Store
from support.compose import Project, clean_checkout, docker, engine_missing, project

WORKERS = 6


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as git would give it to somebody else."""
    if missing := engine_missing():
        pytest.skip(f"no container engine: {missing}")
    return clean_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def images(checkout: Path) -> Iterator[Mapping[str, str]]:
    """Variables that name the images, which are built; removed at the end, layers stay cached."""
    tag = uuid.uuid4().hex[:8]
    names = {"KOFN_IMAGE": f"kofn:{tag}", "KOFN_WORKER_IMAGE": f"kofn-worker:{tag}"}
    Project(checkout, names).compose("build")
    yield names
    docker("image", "rm", *names.values())


@pytest.fixture(scope="module")
def cluster(checkout: Path, images: Mapping[str, str]) -> Iterator[Project]:
    """A master and six workers, all healthy."""
    with project(checkout, images) as made:
        made.compose("up", "--detach", "--wait", "--wait-timeout", "600")
        assert len(made.containers("worker")) == WORKERS
        yield made


@pytest.fixture(scope="session")
def images_and_truth() -> tuple[np.ndarray, np.ndarray]:
    """Held-out digits [rows, 1, 8, 8] and what the served model says of them uncoded."""
    images = data.load("digits", "test").images
    program = load_program(Store().archive("digits-lenet"))
    return images.numpy(), program([images])[0].numpy()
