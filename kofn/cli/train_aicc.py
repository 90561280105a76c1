"""`kofn train aicc`: a network that stands for a function of matrices, on mixes of them."""

from typing import Annotated

import typer

from kofn.cli.output import Json, StoreFolder, parameters, print_json, words
from kofn.cli.train_codes import CodeName, K, RecipeSettings
from kofn.cli.train_lagrange import numbers_of_slots
from kofn.cli.trainings import Device, Epochs, Fresh, Overwrite, Seed, kept_run, training_bar


def aicc(  # noqa: PLR0913 - each flag is an argument to typer
    function: Annotated[
        str, typer.Option(help="determinant, eigenvalue, eigenvector or exponential.")
    ] = "determinant",
    size: Annotated[int, typer.Option(help="Of the matrices: 4 or 8.")] = 4,
    k: K = 4,
    n: Annotated[
        str | None,
        typer.Option("--n", help="Numbers of slots to learn for, like 5,6,8; default: to 2 k."),
    ] = None,
    recovery_threshold: Annotated[
        int | None,
        typer.Option(help="R, of the functions that results are taken for: k to n; default k."),
    ] = None,
    name: CodeName = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "cpu",
    settings: RecipeSettings = None,
    overwrite: Overwrite = False,
    fresh: Fresh = False,
    store: StoreFolder = None,
    as_json: Json = False,
) -> None:
    """Train a network that stands for a function of a matrix, on mixes; the function is kept too.

    The function is stored as the model wishart-SIZE-FUNCTION, in standard units.
    """
    from dataclasses import asdict

    from models.folder import NameTaken
    from models.store import Store
    from training.aicc import AiccPlan, function_model, train_aicc

    slots = numbers_of_slots(n, k, recovery_threshold)
    recipe = parameters(settings) | ({} if epochs is None else {"epochs": epochs})
    plan = AiccPlan(function, size, k, slots, recovery_threshold, name, seed, recipe)
    kept = Store(store)
    called = plan.code_name
    if called in kept.codes.names() and not overwrite:
        raise NameTaken(
            f"Trained code {called!r} is kept already: choose --name, or --overwrite it."
        )
    archive, base = function_model(plan.target)
    with kept_run(kept, called, asdict(plan), fresh=fresh) as run:
        with training_bar(called) as progress:
            trained = train_aicc(plan, progress=progress, run=run, device=device)
        kept.save(base.name, archive, base)
        kept.codes.save(trained.card, trained.programs, overwrite=overwrite)
    card = trained.card
    for answers, error in card.errors.items():
        words.print(f"{called}: from {answers} of {max(slots)} answers, error {error:.4f}")
    words.print("errors are shares of the variance of the answers: the mean has 1")
    assert card.time_cost is not None
    told = f"the network takes {card.time_cost:.2f} times as long as the function itself"
    words.print(f"{told}: the function is cheaper" if card.time_cost > 1 else told)
    if as_json:
        print_json(asdict(card))
