"""Turns a deployment's configuration into a code and its programs: slow work, off the event loop.

The store's archive is vetted and loaded here too, for its tensor specifications, for calibration,
and so that an archive that no worker would take is refused before any worker is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import torch

from codes.base import BASE, Code
from codes.calibrated import Calibrated, measure_moments
from codes.coin import Coin
from codes.locating import FIT_LIMIT, LocatesErrors, TooManyErrors
from codes.polydot import LinearLayers
from codes.stages import STEM
from codes.verify import program_error
from kofn.wire.errors import FailedPrecondition, InvalidArgument, NotFound
from master.config import DeploymentConfig
from master.encoding import Encoder
from master.layers.network import Network
from master.trained import trained_code
from models import data
from models.cards import Card
from models.programs import Program, ProgramRefused, TensorSpec, load_program
from models.store import Store, UnknownModel

MIXER = "mixer"  # of a trained code: stem, mix and trunk in one, for the design "worker"
EXACT_LIMIT = 1e-3  # of the largest entry: float32 and a gain of hundreds leave 1e-4

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Binding:
    """A code whose roles have programs."""

    code: Code
    encoder: Encoder
    model: str  # content hash of the base program; of several models, with commas between
    programs: dict[str, str]  # role -> content hash
    archives: dict[str, bytes]  # content hash -> archive
    query: TensorSpec  # one query: its shape is without the batch dimension
    answer: TensorSpec
    classes: tuple[str, ...]  # names of the answer's entries, empty when unknown
    models: tuple[str, ...] = ()  # of a code over models, what clients call them
    network: Network | None = None  # of a code over the model's linear layers


def bind(config: DeploymentConfig, store: Store) -> Binding:
    """Load, check and calibrate what a deployment needs. Blocks for as long as that takes.

    Raises:
        NotFound: no such program or trained code in the store.
        FailedPrecondition: an archive is refused, or the code was trained for another base model.
        InvalidArgument: program, code and calibration do not fit each other.
    """
    names = tuple(config.models.values()) or (str(config.program),)
    found = [_archive(name, store) for name in names]
    made = config.code.make()
    if isinstance(made, LinearLayers):
        if config.code.calibrated or config.code.checkpoint is not None:
            raise InvalidArgument("code.calibrated and code.checkpoint are not for polydot.")
        return _in_layers(made, _loaded(names[0], found[0][0]), found[0][1])
    models = [_loaded(name, archive) for name, (archive, _) in zip(names, found, strict=True)]
    _check_alike(names, models)
    code, archives = trained_code(config.code, [model.hash for model in models], store)
    archives |= {role: archive for role, (archive, _) in zip(code.model_roles, found, strict=True)}
    loaded = {role: _loaded(f"{role} of {config.code.name}", archives[role]) for role in archives}
    at_workers = config.design == "worker"
    if at_workers and MIXER not in loaded:
        raise InvalidArgument(
            f"design must be 'master': code {config.code.name!r} has no stem and no mix that "
            f"workers could do."
        )
    runs = {role: MIXER if at_workers and role != BASE else role for role in code.roles}
    programs = {role: loaded[runs[role]] for role in runs if runs[role] in loaded}
    programs |= {role: loaded[role] for role in code.model_roles}
    stem = partial(_answer, loaded[STEM]) if STEM in loaded else None
    _check_roles(Encoder(code, stem, at_workers), programs)
    _check_exact(code, models[0])
    if config.policy.liars:
        _check_honest(code, models[0])
    cards = [card for _, card in found]
    if config.code.calibrated:
        code = _calibrated(code, loaded, config, cards[0])
    elif config.policy.liars and isinstance(code, Coin) and not code.can_judge:
        raise InvalidArgument(
            "policy.liars must be 0: the merged models were kept without outputs on calibration "
            "queries, and without these nobody can tell who lies."
        )
    if config.models and isinstance(code, Coin | Calibrated):
        code.prepare()  # every batch of theirs is judged, if all slots reply
    classes = {tuple(card.classes) if card is not None else () for card in cards}
    return Binding(
        code=code,
        encoder=Encoder(code, stem, at_workers, config.pad_scale),
        model=",".join(model.hash for model in models),
        programs={role: programs[role].hash for role in code.roles},
        archives={programs[role].hash: archives[runs[role]] for role in code.roles},
        query=models[0].inputs[0],
        answer=models[0].outputs[0],
        classes=classes.pop() if len(classes) == 1 else (),
        models=tuple(config.models),
    )


def _in_layers(code: LinearLayers, model: Program, card: Card | None) -> Binding:
    """Nothing is pushed to workers but coded weights, which the deployment does."""
    if len(model.inputs) != 1:
        raise InvalidArgument(f"the model must have one input, not {len(model.inputs)}.")
    return Binding(
        code=code,
        encoder=Encoder(code),
        model=model.hash,
        programs={},
        archives={},
        query=model.inputs[0],
        answer=model.outputs[0],
        classes=tuple(card.classes) if card is not None else (),
        network=Network(model, code.layer),
    )


def _check_alike(names: Sequence[str], models: Sequence[Program]) -> None:
    """All models of a group take the same query and give answers of one shape."""
    for name, model in zip(names[1:], models[1:], strict=True):
        for what in ("inputs", "outputs"):
            first, other = getattr(models[0], what), getattr(model, what)
            if first != other:
                raise InvalidArgument(
                    f"models must have the same {what}: {names[0]!r} has {_specs(first)}, "
                    f"{name!r} has {_specs(other)}."
                )


def _specs(specs: Sequence[TensorSpec]) -> str:
    return " and ".join(f"{s.name} {s.datatype} {list(s.shape)}" for s in specs)


def _loaded(name: str, archive: bytes) -> Program:
    try:
        program = load_program(archive)
    except ProgramRefused as error:
        raise FailedPrecondition(f"program {name!r} is refused: {error}") from error
    if len(program.outputs) != 1:
        raise InvalidArgument(f"program {name!r} must have one output, not {len(program.outputs)}.")
    return program


def _check_roles(encoder: Encoder, programs: Mapping[str, Program]) -> None:
    """Every slot's program must take its shard and return what the code decodes."""
    code = encoder.code
    base = programs[code.model_roles[0]]
    if len(base.inputs) != 1:
        raise InvalidArgument(f"the model must have one input, not {len(base.inputs)}.")
    answer = tuple(base.outputs[0].shape)
    try:
        shards = encoder.shards(torch.zeros(1, code.q, *base.inputs[0].shape))
    except ValueError as error:
        raise InvalidArgument(
            f"code {code.name!r} does not take this model's queries: {error}"
        ) from error
    for role, width, shard in zip(code.roles, code.widths, shards, strict=True):
        if role not in programs:
            raise InvalidArgument(f"code {code.name!r} needs a program for role {role!r}.")
        taken = [tuple(spec.shape) for spec in programs[role].inputs]
        sent = [tuple(tensor.shape[1:]) for tensor in shard]
        given = tuple(programs[role].outputs[0].shape)
        wanted = (width, *answer) if width else answer
        if taken != sent or given != wanted:
            raise InvalidArgument(
                f"the program of role {role!r} must take {_listed(sent)} and give "
                f"{wanted} for each group, not {_listed(taken)} and {given}."
            )


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))


def _check_exact(code: Code, program: Program) -> None:
    """A code that is exact for some programs must be for this one, to rounding."""
    if not code.exact or code.exact_case.program == "any":
        return
    error = program_error(code, partial(_answer, program), tuple(program.inputs[0].shape))
    if not error <= EXACT_LIMIT:
        raise InvalidArgument(
            f"code {code.name!r} is exact for {code.exact_case.says}; decoded answers of this "
            f"program are wrong by {error:.2g} of the largest: it is no such program."
        )


def _check_honest(code: Code, program: Program) -> None:
    """Honest results of an exact code must fit together: else everybody would seem to lie."""
    if not (code.exact and isinstance(code, LocatesErrors)):
        return
    shape = tuple(program.inputs[0].shape)
    queries = torch.rand(4, code.q, *shape, generator=torch.Generator().manual_seed(0))
    results = [_answer(program, shard) for shard in code.encode(queries)]
    try:
        code.locate(results, range(code.n), 0)
    except TooManyErrors as error:
        raise InvalidArgument(
            f"policy.liars must be 0 for this program with the code {code.name!r}: its own "
            f"rounding looks like lies, beyond {FIT_LIMIT:g} of the results."
        ) from error


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


def _calibrated(
    code: Code, programs: Mapping[str, Program], config: DeploymentConfig, card: Card | None
) -> Code:
    wish = config.calibration
    name = wish.dataset or (card.dataset if card is not None else None)
    if name is None:
        raise InvalidArgument(
            "calibration.dataset must name a data set: this program's card names none."
        )
    # Models that were trained on these very queries would seem better than they are.
    images = data.load(name, "train" if set(code.roles) == {BASE} else "validation").images
    query = tuple(programs[code.model_roles[0]].inputs[0].shape)
    if tuple(images.shape[1:]) != query:
        raise InvalidArgument(
            f"calibration.dataset {name!r} has images of shape {tuple(images.shape[1:])}, "
            f"the program takes {query}."
        )
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(wish.seed))
    chosen = chosen[: wish.count(config.policy.liars)]
    by_role = {role: partial(_answer, program) for role, program in programs.items()}
    log.info("calibrating", code=repr(code), dataset=name, queries=len(chosen))
    try:
        moments = measure_moments(code, by_role, images[chosen], seed=wish.seed)
        return Calibrated(code, moments)
    except ValueError as error:
        raise InvalidArgument(f"code.calibrated: {error}") from error


def _answer(program: Program, queries: torch.Tensor) -> torch.Tensor:
    return program([queries])[0]
