"""Trained codes by name: what a code's extra slots run, its networks, and the base they belong to.

One folder each: a card, programs by role, and the weights of the code's own networks. Knows no
code: parameters are what the code's registry takes. The master reads them at deployment.
"""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass
from safetensors.torch import load_file
from torch import Tensor

from models.archive import content_hash
from models.cards import Metric, read_checked
from models.folder import NameTaken, checked_name, find, names_in, put, unknown, weights_bytes

CARD, WEIGHTS, STATE = "code.json", "code.safetensors", "state.safetensors"
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config={"extra": "forbid"})
class Parent:
    """One of the models that a code over models was made of.

    Attributes:
        name: in the store.
        hash: content hash of its program.
    """

    name: str
    hash: Hash


@dataclass(frozen=True, config={"extra": "forbid"})
class CodeCard:
    """What a trained code is.

    Attributes:
        name: in the store.
        code: of the registry of codes.
        parameters: of that code, all of them but weights.
        base: name of the model that it was trained for.
        base_hash: content hash of that model's program: no other may be served with it.
        parents: of a code over models, all of them in the order of the slots; the first is `base`.
        report: of a code over models, what was measured without labels; see `training.merging`.
        programs: by role, the content hash of what those slots run; the base is not among them.
        dataset: whose queries it was trained on.
        metrics: by name, such as "lost_only"; of the test set, looked at once.
        recipe: the settings of the training.
        cost: multiply-adds of an extra slot for one group, as a share of a base slot's.
        stem_cost: the same of the stem for one query, where queries go through one first.
        errors: by number of responders, the squared error of all answers as a share of their
            variance, mean over sets of responders, with the calibrated decoder; for models whose
            answers are no classes.
        time_cost: time of such a slot for one group as a share of a base slot's, measured.
        payload: numbers that such a slot is sent for a group, over those of a query.
        seed, versions, device, wall_time_s: of the run.
    """

    name: str
    code: str
    parameters: dict[str, Any]
    base: str
    base_hash: Hash
    programs: dict[str, Hash] = field(default_factory=dict)
    dataset: str = ""
    metrics: dict[str, Metric] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    cost: float | None = None
    stem_cost: float | None = None
    payload: float | None = None
    errors: dict[int, float] = field(default_factory=dict)
    time_cost: float | None = None
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    wall_time_s: float | None = None
    parents: tuple[Parent, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
    format: Literal[1] = 1  # of this file; another number is another layout


_CARD = TypeAdapter(CodeCard)


def usual_name(base: str, code: str, k: int, r: int | None) -> str:
    """What a trained code is called if nobody says otherwise; r None: it serves any."""
    return f"{base}.{code}-k{k}" + ("" if r is None else f"-r{r}")


class TrainedCodes:
    """Trained codes in a folder, over those that came with the package.

    Args:
        root: made when first saved to.
        shipped: only read from, for names that `root` does not have.
    """

    def __init__(self, root: Path, *, shipped: Path | None = None) -> None:
        self.root = root
        self._shipped = shipped

    def names(self) -> tuple[str, ...]:
        """Every trained code here, in alphabetical order."""
        return names_in(CARD, self.root, self._shipped)

    def save(
        self,
        card: CodeCard,
        programs: Mapping[str, bytes],
        weights: Mapping[str, Tensor] | None = None,
        state: Mapping[str, Tensor] | None = None,
        *,
        overwrite: bool = False,
    ) -> Path:
        """Keep a trained code under its card's name.

        Args:
            card: its hashes must be those of the programs.
            programs: archives by role.
            weights: of the code's own networks, or its decoders.
            state: what it was made from, to make it again when that changes.
            overwrite: let the name stand for this one from now on.

        Raises:
            NameTaken: the name is in use, and `overwrite` is not set.
            ValueError: a bad name, or hashes that do not agree.
        """
        folder = self.root / checked_name(card.name)
        actual = {role: content_hash(archive) for role, archive in programs.items()}
        if actual != card.programs:
            raise ValueError(f"The card must have the programs {actual}, not {card.programs}.")
        if card.name in self.names() and not overwrite:
            raise NameTaken(
                f"Trained code {card.name!r} is kept in {self._known(card.name).parent}: choose "
                f"another name, or overwrite it."
            )
        files = {f"{checked_name(role)}.pt2": archive for role, archive in programs.items()}
        files[CARD] = _CARD.dump_json(card, indent=2) + b"\n"
        if weights:
            files[WEIGHTS] = weights_bytes(weights)
        if state:
            files[STATE] = weights_bytes(state)
        put(folder, files, CARD, overwrite=overwrite)
        return folder

    def card(self, name: str) -> CodeCard:
        """A trained code's card.

        Raises:
            UnknownModel: no such name.
            CardError: the file is not a card; names the field.
        """
        return read_checked(self._known(name) / CARD, _CARD)

    def program(self, name: str, role: str) -> bytes:
        """The archive of a role, as it was saved. Whoever loads it vets it.

        Raises:
            UnknownModel: no such name, or no such role.
        """
        path = self._known(name) / f"{checked_name(role)}.pt2"
        if not path.is_file():
            raise unknown(f"program of {name!r} for role", role, self.card(name).programs, path)
        return path.read_bytes()

    def weights(self, name: str) -> dict[str, Tensor]:
        """The weights of the code's own networks, on the CPU; none for codes without.

        Raises:
            UnknownModel: no such name.
        """
        return self._tensors(name, WEIGHTS)

    def state(self, name: str) -> dict[str, Tensor]:
        """What a code was made from, on the CPU; nothing for most.

        Raises:
            UnknownModel: no such name.
        """
        return self._tensors(name, STATE)

    def trained_for(self, base_hash: str) -> tuple[CodeCard, ...]:
        """Those that belong to a base model."""
        cards = [self.card(name) for name in self.names()]
        return tuple(card for card in cards if card.base_hash == base_hash)

    def _tensors(self, name: str, file: str) -> dict[str, Tensor]:
        path = self._known(name) / file
        if not path.is_file():
            return {}
        tensors: dict[str, Tensor] = load_file(path)
        return tensors

    def _known(self, name: str) -> Path:
        folder = find(name, CARD, self.root, self._shipped)
        if folder is None:
            raise unknown("trained code", name, self.names(), self.root)
        return folder
