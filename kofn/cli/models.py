"""`kofn models`: what is in the model store."""

from dataclasses import asdict
from typing import Annotated

import typer

from kofn.cli.output import Json, StoreFolder, paper, print_json, print_table

app = typer.Typer(help="The model store.", no_args_is_help=True)


@app.command("list")
def list_(store: StoreFolder = None, as_json: Json = False) -> None:
    """Show every stored model."""
    from models.store import Store

    found = Store(store)
    cards = [found.card(name) for name in found.names()]
    if as_json:
        print_json([asdict(card) for card in cards])
        return
    rows = []
    for card in cards:
        accuracy = card.metrics.get("test_accuracy")
        shape = "x".join(map(str, card.input_shape))
        told = f"{accuracy.value:.4f}" if accuracy else ""
        rows.append((card.name, card.dataset, card.network, shape, told, card.hash[:12]))
    columns = ("model", "data set", "network", "input", "test accuracy", "hash")
    print_table(f"Models in {found.root}", columns, rows)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="As in `kofn models list`.")],
    store: StoreFolder = None,
) -> None:
    """Print a model's whole card, as JSON."""
    from models.store import Store

    paper.print_json(data=asdict(Store(store).card(name)))


@app.command()
def codes(store: StoreFolder = None, as_json: Json = False) -> None:
    """Show every trained code: what it is for, what it costs and what it is worth."""
    from models.store import Store

    found = Store(store).codes
    cards = [found.card(name) for name in found.names()]
    if as_json:
        print_json([asdict(card) for card in cards])
        return
    rows = []
    for card in cards:
        worth, clean = card.metrics.get("lost_only"), card.metrics.get("clean")
        rows.append(
            (
                card.name, card.code, card.base, card.parameters["k"], card.parameters["n"],
                "" if card.cost is None else f"{card.cost:.2f}",
                f"{clean.value:.4f}" if clean else "", f"{worth.value:.4f}" if worth else "",
                card.base_hash[:12],
            )
        )  # fmt: skip
    columns = ("trained code", "code", "base", "k", "n", "cost", "clean", "lost-only", "base hash")
    print_table(f"Trained codes in {found.root}", columns, rows)
