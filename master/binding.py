"""Turns a deployment's configuration into a code and its programs: slow work, off the event loop.

The store's archive is vetted and loaded here too, for its tensor specifications, for calibration,
and so that an archive that no worker would take is refused before any worker is asked.
"""

from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from codes.base import Code
from codes.calibrated import Calibrated, measure_moments
from kofn.wire.errors import FailedPrecondition, InvalidArgument, NotFound
from master.config import Calibration, DeploymentConfig
from models import data
from models.cards import Card
from models.programs import Program, ProgramRefused, TensorSpec, load_program
from models.store import Store, UnknownModel

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Binding:
    """A code whose roles have programs."""

    code: Code
    programs: dict[str, str]  # role -> content hash
    archives: dict[str, bytes]  # content hash -> archive
    query: TensorSpec  # one query: its shape is without the batch dimension
    answer: TensorSpec
    classes: tuple[str, ...]  # names of the answer's entries, empty when unknown


def bind(config: DeploymentConfig, store: Store) -> Binding:
    """Load, check and calibrate what a deployment needs. Blocks for as long as that takes.

    Raises:
        NotFound: no such program in the store.
        FailedPrecondition: the archive is refused.
        InvalidArgument: program, code and calibration do not fit each other.
    """
    archive, card = _archive(config.program, store)
    try:
        program = load_program(archive)
    except ProgramRefused as error:
        raise FailedPrecondition(f"program {config.program!r} is refused: {error}") from error
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise InvalidArgument(
            f"program {config.program!r} must have one input and one output, "
            f"not {len(program.inputs)} and {len(program.outputs)}."
        )
    code = config.code.make()
    if config.code.calibrated:
        code = _calibrated(code, program, config.calibration, card)
    return Binding(
        code=code,
        programs=dict.fromkeys(code.roles, program.hash),
        archives={program.hash: archive},
        query=program.inputs[0],
        answer=program.outputs[0],
        classes=tuple(card.classes) if card is not None else (),
    )


def _archive(program: str, store: Store) -> tuple[bytes, Card | None]:
    path = Path(program)
    if path.suffix == ".pt2":
        if not path.is_file():
            raise NotFound(f"there is no program archive at {program!r}.")
        return path.read_bytes(), None
    try:
        return store.archive(program), store.card(program)
    except UnknownModel as error:
        raise NotFound(str(error)) from error


def _calibrated(code: Code, program: Program, wish: Calibration, card: Card | None) -> Code:
    name = wish.dataset or (card.dataset if card is not None else None)
    if name is None:
        raise InvalidArgument(
            "calibration.dataset must name a data set: this program's card names none."
        )
    images = data.load(name, "train").images
    if tuple(images.shape[1:]) != tuple(program.inputs[0].shape):
        raise InvalidArgument(
            f"calibration.dataset {name!r} has images of shape {tuple(images.shape[1:])}, "
            f"the program takes {tuple(program.inputs[0].shape)}."
        )
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(wish.seed))
    moments = measure_moments(
        code, lambda x: program([x])[0], images[chosen[: wish.queries]], seed=wish.seed
    )
    log.info("calibrated", code=repr(code), dataset=name, queries=min(wish.queries, len(images)))
    return Calibrated(code, moments)
