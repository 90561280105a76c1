"""What `kofn up --models A,B` deploys: a code over models, with the merged models of the store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

COIN, PRODUCT = "coin", "product"
USUAL_QUERIES = 2  # in a group of the product


def names_in(text: str | None) -> list[str]:
    """Names with commas between; none of an empty text."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def coding_over(  # noqa: PLR0913 - each is a flag
    models: Sequence[str],
    code: str,
    k: int | None,
    n: int | None,
    r: int | None,
    settings: Mapping[str, Any],
    calibrated: bool | None,
    checkpoint: str | None,
    folder: Path | None,
) -> dict[str, Any]:
    """The code of a deployment of several models.

    Args:
        models: in the order of the slots.
        code: coin or product.
        k: of the product, queries in a group.
        n: slots; default: as few as there may be with one parity query a group.
        r: merged models, 1 by default.
        settings: further parameters of the code.
        calibrated: default: not COIN, whose merged models have a decoder of their own.
        checkpoint: default: as `kofn merge` calls it.
        folder: of the store.

    Raises:
        typer.BadParameter: another code, or a k that is not the number of models.
    """
    from models.store import Store
    from models.trained import usual_name

    if code not in (COIN, PRODUCT):
        raise typer.BadParameter(
            f"must be {COIN} or {PRODUCT} with --models, not {code}.", param_hint="--code"
        )
    count, merged = len(models), r or 1
    sizes: dict[str, Any]
    if code == COIN:
        if k not in (None, count):
            raise typer.BadParameter(
                f"must be the number of models, {count}, not {k}.", param_hint="--k"
            )
        merged = n - count if n is not None and r is None else merged
        sizes = {"k": count, "n": count + merged}
    else:
        queries = k or USUAL_QUERIES
        slots = n or (count + merged) * (queries + 1)
        sizes = {"k": count * queries, "n": slots, "models": count, "coded": merged}
    stems = [Path(model).stem if model.endswith(".pt2") else model for model in models]
    usual = usual_name("+".join(stems), COIN, count, merged)
    if checkpoint is None and merged:
        known = Store(folder).codes
        if usual not in known.names():
            raise typer.BadParameter(
                f"{', '.join(models)} have no merged models {usual!r} in the store: run "
                f"`kofn merge {' '.join(models)} --r {merged}`, or name --checkpoint.",
                param_hint="--models",
            )
        checkpoint = usual
    trained = {} if checkpoint is None else {"checkpoint": checkpoint}
    is_calibrated = code != COIN if calibrated is None else calibrated
    return {"name": code, **sizes, **settings, "calibrated": is_calibrated, **trained}
