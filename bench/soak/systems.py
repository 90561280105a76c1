"""What a soak deploys: one code of each promise, and what the uncoded models answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models import data
from models.programs import load_program
from models.store import Store
from training.base import train_and_store

Array = npt.NDArray[Any]

# Trained in seconds where they are not there: a linear network, and a polynomial of degree 2.
TRAINED: dict[str, dict[str, Any]] = {
    "digits-linear": {"hidden": ()},
    "digits-squares": {"hidden": (32,), "activation": "square"},
}
TIMEOUT_MS = 10_000
MOST_SLOTS = 6  # of any system below


@dataclass(frozen=True)
class System:
    """A model behind a code, and what is promised of its answers.

    Attributes:
        name: of the deployment.
        program: of the model store.
        code, policy: as in a deployment file.
        exact: decoded rows equal the uncoded model's, up to rounding; else they are estimates and
            state their expected error.
        bears_liars: its answers stay right while one worker lies.
    """

    name: str
    program: str
    code: Mapping[str, Any]
    policy: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True
    bears_liars: bool = False

    @property
    def deployment(self) -> dict[str, Any]:
        """As in a deployment file."""
        return {
            "name": self.name,
            "program": self.program,
            "code": dict(self.code),
            "policy": dict(self.policy),
            "timeout_ms": TIMEOUT_MS,
        }


SYSTEMS = (
    # A weighted average of queries has the same average of answers, as long as weights sum to 1.
    System("linear", "digits-linear", {"name": "parity", "k": 4, "n": 6}),
    # Two copies of a query may both be with workers that hang: then a third is sent.
    System(
        "copies", "digits-lenet", {"name": "replication", "k": 2, "n": 4}, {"hedge": "250ms"}
    ),
    System(
        "approximate",
        "digits-lenet",
        {"name": "parity", "k": 4, "n": 6, "calibrated": True},
        exact=False,
    ),
    # R = 3, and two more against one liar: one of the six slots may be lost beside. A second one
    # that is dropped without a word is missed by nobody but a hedge.
    System(
        "liars",
        "digits-squares",
        {"name": "lagrange", "k": 2, "n": 6, "degree": 2, "points": "first"},
        {"wait": "first", "liars": 1, "hedge": "250ms"},
        bears_liars=True,
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Truth:
    """What the uncoded models answer.

    Attributes:
        images: [m, 1, 8, 8] float32, the queries.
        outputs: by system, [m, answer] float32.
        scale: by system, the largest absolute output; rounding is judged against it.
        variance: by system, the mean squared distance of an answer from the mean answer; stated
            errors are relative to it.
    """

    images: Array
    outputs: Mapping[str, Array]
    scale: Mapping[str, float] = field(init=False)
    variance: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        scale = {name: float(np.abs(rows).max()) for name, rows in self.outputs.items()}
        spread = {name: rows - rows.mean(axis=0) for name, rows in self.outputs.items()}
        variance = {name: float((s**2).sum(axis=1).mean()) for name, s in spread.items()}
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "variance", variance)


def provide(store: Store) -> None:
    """Train what the systems need and the store lacks."""
    for name, options in TRAINED.items():
        if name not in store.names():
            train_and_store("digits", "mlp", store=store, name=name, options=options)


def truth(store: Store) -> Truth:
    """Answers of the systems' models to the held-out digits."""
    images = data.load("digits", "test").images
    outputs = {
        system.name: load_program(store.archive(system.program))([images])[0].numpy()
        for system in SYSTEMS
    }
    return Truth(images.numpy(), outputs)
