"""`kofn merge`: models into coded models, which stand in for lost ones on the cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kofn.cli.output import Json, StoreFolder, print_json, print_table, words
from kofn.cli.trainings import Overwrite, Seed

if TYPE_CHECKING:
    from torch import Tensor

    from models.cards import Card
    from models.store import Store
    from models.trained import CodeCard
    from training.merging import Inputs, MergePlan, Parents
    from training.merging.building import Tell
    from training.merging.stored import Merged


def merge(  # noqa: PLR0913 - each flag is an argument to typer
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models of the store; or files A.safetensors B.safetensors, with --arch. "
            "With --update: OLD=NEW."
        ),
    ],
    method: Annotated[
        str, typer.Option(help="coin, average, fisher-merge, regmean or distill.")
    ] = "coin",
    r: Annotated[
        int | None, typer.Option("--r", min=1, help="Coded models; default: rows of weights, or 1.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a coded model, one a model, like 2,1; once a coded model. Default: rows of "
            "a Vandermonde matrix, the first the plain mean."
        ),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            help="Inputs without labels: a data set, or a .npz file with an array images, inputs "
            "or x; may be repeated, and as many as models are each one's own. Default: the "
            "models' data sets."
        ),
    ] = None,
    decoder: Annotated[str, typer.Option(help="fixed or fitted.")] = "fitted",
    inputs: Annotated[int, typer.Option(min=16, help="Calibration inputs in all.")] = 1024,
    samples: Annotated[int, typer.Option(min=1, help="Inputs for Fisher information.")] = 128,
    begin: Annotated[str, typer.Option("--from", help="Of distill: the method it begins with.")] = (
        "coin"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Of distill.")] = 100,
    limit: Annotated[
        float, typer.Option(help="Refuse coded models whose squared error is a larger share.")
    ] = 0.5,
    arch: Annotated[
        str, typer.Option(help="MODULE:FUNCTION that returns the module of the user's own models.")
    ] = "",
    update: Annotated[
        str, typer.Option(help="A code of the store in which NEW takes the place of OLD.")
    ] = "",
    name: Annotated[str | None, typer.Option(help="In the store; default: A+B.coin-kK-rR.")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Merge models of one start into coded models: the code coin."""
    from dataclasses import asdict

    from models.store import Store
    from training.merging import MergePlan

    kept = Store(store)
    with _bar() as tell:
        if update:
            card = _update(kept, update, models, arch, tell)
        else:
            rows = _rows(weights)
            count = r or len(rows or ((),))
            plan = MergePlan(method, count, rows, decoder, samples, begin, steps, limit, seed)
            wanted = _Wanted(models, calibration or [], inputs, arch, name, overwrite)
            card = _merge(kept, plan, wanted, tell)
    if as_json:
        print_json(asdict(card))
        return
    _print(card)


@dataclass(frozen=True)
class _Wanted:
    """What is merged, and where to."""

    models: Sequence[str]
    calibration: Sequence[str]
    inputs: int
    arch: str
    name: str | None
    overwrite: bool


def _merge(store: "Store", plan: "MergePlan", wanted: _Wanted, tell: "Tell") -> "CodeCard":
    from models.folder import NameTaken
    from models.trained import Parent
    from training.merging.stored import default_name, merge_stored

    made = _own(wanted) if wanted.arch else _stored(wanted, store)
    parents, parts, names = made
    plan.rows_for(len(parents.modules))  # a mistake in them is told before any work
    called = wanted.name or default_name(parents.names, plan.r)
    if called in store.codes.names() and not wanted.overwrite:
        raise NameTaken(f"Trained code {called!r} is kept already: choose --name, or --overwrite.")
    own = _cards(parents, wanted, parts[0], store) if wanted.arch else {}
    cards = {one: own[one][1] if one in own else store.card(one) for one in parents.names}
    found = merge_stored(
        parents,
        [Parent(one, card.hash) for one, card in cards.items()],
        plan,
        _mixed(names, parts, wanted, plan, parents),
        called,
        tell,
    )
    for place, (one, (archive, card)) in enumerate(own.items()):
        state = parents.modules[place].state_dict()
        state = {k: v.to(parents.dtype) if v.is_floating_point() else v for k, v in state.items()}
        store.save(one, archive, card, weights=state, overwrite=wanted.overwrite)
    return _save(store, found, overwrite=wanted.overwrite)


def _stored(wanted: _Wanted, store: "Store") -> "tuple[Parents, list[Tensor], list[str]]":
    """Models of the store, and their calibration inputs, by name of the set."""
    from training.merging.files import check_taken, inputs_of
    from training.merging.stored import stored_parents

    files = [model for model in wanted.models if model.endswith(".safetensors")]
    if files:
        raise typer.BadParameter(
            f"must name their architecture, MODULE:FUNCTION, for {files[0]}.", param_hint="--arch"
        )
    parents = stored_parents(wanted.models, store)
    cards = [store.card(model) for model in wanted.models]
    names = list(dict.fromkeys(wanted.calibration or [card.dataset for card in cards]))
    if "" in names:
        raise typer.BadParameter(
            "must be given: not all models name a data set.", param_hint="--calibration"
        )
    parts = [inputs_of(name, cards[0].input_shape) for name in names]
    for part in parts:
        check_taken(parents, part)
    return parents, parts, names


def _own(wanted: _Wanted) -> "tuple[Parents, list[Tensor], list[str]]":
    """The same of the user's own files."""
    from models.folder import checked_name
    from training.merging.files import built, check_taken, inputs_of, weights_in
    from training.merging.parents import parents_of

    if not wanted.calibration:
        raise typer.BadParameter("must be given for files.", param_hint="--calibration")
    paths = [Path(model) for model in wanted.models]
    module = built(wanted.arch)
    names = [checked_name(path.name.removesuffix(".safetensors")) for path in paths]
    parents = parents_of(names, [weights_in(path) for path in paths], module)
    parts = [inputs_of(name) for name in wanted.calibration]
    for part in parts:
        check_taken(parents, part)
    return parents, parts, list(wanted.calibration)


def _cards(
    parents: "Parents", wanted: _Wanted, example: "Tensor", store: "Store"
) -> "dict[str, tuple[bytes, Card]]":
    """Programs and cards of the user's own models; their names must be free, or their own."""
    from models.folder import NameTaken
    from training.merging.files import as_stored

    found = {}
    for place, name in enumerate(parents.names):
        archive, card = as_stored(name, parents, place, wanted.arch, example)
        taken = name in store.names() and store.card(name).hash != card.hash
        if taken and not wanted.overwrite:
            raise NameTaken(
                f"Model {name!r} is kept in {store.root} with another hash: rename the file, or "
                f"--overwrite it."
            )
        found[name] = archive, card
    return found


def _mixed(
    names: Sequence[str],
    parts: "Sequence[Tensor]",
    wanted: _Wanted,
    plan: "MergePlan",
    parents: "Parents",
) -> "Inputs":
    from training.merging import mixed

    shared = len(names) == 1 and not wanted.calibration
    return mixed(names, parts, wanted.inputs, plan.seed, len(parents.modules), shared=shared)


def _update(
    store: "Store", code: str, models: Sequence[str], arch: str, tell: "Tell"
) -> "CodeCard":
    from training.merging.files import built
    from training.merging.remerge import replaced

    old, equals, new = models[0].partition("=")
    if len(models) != 1 or not (old and equals and new):
        raise typer.BadParameter(
            f"must be one OLD=NEW with --update, not {' '.join(models)}.", param_hint="MODELS"
        )
    module = built(arch) if arch else None
    return _save(store, replaced(code, old, new, store, module, tell), overwrite=True)


def _save(store: "Store", found: "Merged", *, overwrite: bool) -> "CodeCard":
    store.codes.save(found.card, found.programs, found.weights, found.state, overwrite=overwrite)
    return found.card


def _rows(weights: Sequence[str] | None) -> tuple[tuple[float, ...], ...] | None:
    if not weights:
        return None
    try:
        return tuple(tuple(float(part) for part in row.split(",")) for row in weights)
    except ValueError:
        raise typer.BadParameter(
            f"must be numbers like 2,1, not {', '.join(weights)}.", param_hint="--weights"
        ) from None


@contextmanager
def _bar() -> "Iterator[Tell]":
    """One line that says what is being done, and how far."""
    from rich import progress as rich

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns, console=words, transient=True) as shown:
        bar = shown.add_task("merging", total=1.0)

        def tell(what: str, share: float) -> None:
            shown.update(bar, description=what, completed=share)

        yield tell


def _print(card: "CodeCard") -> None:
    """What a coded model is worth, one line a model that it can stand in for."""
    from training.merging.plan import COIN, DISTILL

    report: dict[str, Any] = card.report
    rows = card.parameters["weights"]
    for number, row in enumerate(rows):
        weights = ", ".join(f"{weight:.3f}" for weight in row)
        words.print(
            f"coded-{number} = {weights}: coding loss {report['coding_loss'][number]:.4g}, "
            f"{100 * report['relative_loss'][number]:.2f} % of the variance"
        )
    method, damping = card.recipe["method"], card.recipe["damping"]
    if damping is not None:
        method += f", damping {damping:g}"
    elif COIN in (method, card.recipe["begin"] if method == DISTILL else ""):
        method += ", the plain average: no damping was surely better"
    best = [
        min(
            (row[j] for row in report["predicted_error"] if row[j] is not None),
            default=float("inf"),
        )
        for j in range(len(card.parents))
    ]
    print_table(
        f"{card.name}: {method}, built in {card.wall_time_s:.1f} s",
        ("lost model", "predicted error", "decoded error, share", "agreement", "95 %", "hash"),
        [
            (
                parent.name,
                f"{best[j]:.4g}",
                f"{report['decode_error'][j]:.4f}",
                f"{card.metrics[f'agreement_{j}'].value:.4f}",
                "–".join(f"{end:.3f}" for end in card.metrics[f"agreement_{j}"].interval),
                parent.hash[:12],
            )
            for j, parent in enumerate(card.parents)
        ],
    )
    words.print(f"without labels, on {report['held']} inputs that were held back")
