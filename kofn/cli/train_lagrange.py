"""`kofn train lagrange`: split networks; and what all trainings on mixes are asked."""

from pathlib import Path
from typing import Annotated

import typer

from kofn.cli.output import Json, StoreFolder, parameters
from kofn.cli.train_codes import Base, RecipeSettings, base_model, train_and_keep
from kofn.cli.trainings import Device, Epochs, Fresh, Overwrite, Seed


def lagrange(  # noqa: PLR0913 - each flag is an argument to typer
    base: Base = "digits-lenet",
    k: Annotated[int, typer.Option("--k", min=1, help="Queries a group.")] = 4,
    n: Annotated[
        str | None,
        typer.Option(
            "--n", help="Numbers of slots to learn for, comma-separated; default: k + 1 to 2 k."
        ),
    ] = None,
    cut: Annotated[
        str | None,
        typer.Option(
            help="Step of the base after which queries are mixed; default: the second. A wrong "
            "one is answered with all there are."
        ),
    ] = None,
    recovery_threshold: Annotated[
        int | None, typer.Option(help="R of the decoder, k or more; default: k.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="In the store; default: BASE.split-lagrange-kK.")
    ] = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: RecipeSettings = None,
    overwrite: Overwrite = False,
    fresh: Fresh = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Train a split Lagrange network: a stem for each query, and a trunk that works on mixes."""
    slots = numbers_of_slots(n, k, recovery_threshold)
    if min(slots) < k:
        raise typer.BadParameter(f"must be k = {k} or more, not {min(slots)}.", param_hint="--n")
    train_and_keep(
        base,
        {
            "code": "split-lagrange",
            "k": k,
            "r": max(slots) - k,
            "slots": slots,
            "cut": cut or _usual_cut(base, device, store),
            "parameters": {"dimension": recovery_threshold},
            "name": name,
            "epochs": epochs,
            "seed": seed,
            "recipe": parameters(settings),
        },
        device,
        store,
        overwrite=overwrite,
        fresh=fresh,
        as_json=as_json,
    )


def _usual_cut(base: str, device: str, store: Path | None) -> str:
    from models.networks.cutting import cuts

    known = cuts(base_model(base, device, store).module)
    return known[min(1, len(known) - 1)]


def numbers_of_slots(text: str | None, k: int, threshold: int | None) -> list[int]:
    """As they are given; or k + 1 to 2 k, as far as the threshold R allows."""
    given = _whole_numbers(text)
    if given:
        return given
    usual = sorted({k + 1, k + max(2, k // 2), 2 * k})
    return [count for count in usual if threshold is None or count >= threshold] or usual


def _whole_numbers(text: str | None) -> list[int]:
    """What `--n` lists, in order; none where it is not given."""
    try:
        return sorted({int(part) for part in text.split(",")}) if text else []
    except ValueError:
        raise typer.BadParameter(
            f"must be whole numbers like 5,6,8, not {text!r}.", param_hint="--n"
        ) from None
