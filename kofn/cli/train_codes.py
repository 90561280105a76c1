"""`kofn train parity|learned|student|assisted`: what is trained for a stored model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kofn.cli.output import Json, StoreFolder, parameters, print_json, words
from kofn.cli.trainings import Device, Epochs, Fresh, Overwrite, Seed, kept_run, training_bar

if TYPE_CHECKING:
    from training.basis import Basis

Base = Annotated[str, typer.Option("--base", help="Model of the store to train for.")]
K = Annotated[int, typer.Option("--k", min=1, help="Queries a group.")]
R = Annotated[int, typer.Option("--r", min=1, help="Extra slots a group.")]
CodeName = Annotated[
    str | None, typer.Option("--name", help="In the store; default: BASE.CODE-kK-rR.")
]
RecipeSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Of the recipe: learning_rate=1e-3, shift_pixels=1, ..."
    ),
]


def parity(  # noqa: PLR0913 - each flag is an argument to typer
    base: Base = "digits-lenet",
    k: K = 2,
    r: R = 1,
    encoder: Annotated[str, typer.Option(help="sum: queries added up; mosaic: side by side.")] = (
        "mosaic"
    ),
    answers: Annotated[
        str, typer.Option(help="Of a mosaic: sum, one sum of all; each, all of them at once.")
    ] = "sum",
    loss: Annotated[str, typer.Option(help="mse, or decoded: also the answers got from it.")] = (
        "decoded"
    ),
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
    """Train parity models: networks that turn coded queries into coded answers (ParM)."""
    if encoder not in ("sum", "mosaic"):
        raise typer.BadParameter(f"must be sum or mosaic, not {encoder!r}.", param_hint="--encoder")
    train_and_keep(
        base,
        {
            "code": "parity" if encoder == "sum" else "mosaic",
            "k": k,
            "r": r,
            "parameters": {} if encoder == "sum" else {"answers": answers},
            "name": name,
            "epochs": epochs,
            "seed": seed,
            "recipe": {"loss": loss, **parameters(settings)},
        },
        device,
        store,
        overwrite=overwrite,
        fresh=fresh,
        as_json=as_json,
    )


def learned(  # noqa: PLR0913 - each flag is an argument to typer
    base: Base = "digits-lenet",
    k: K = 2,
    r: R = 1,
    encoder: Annotated[str, typer.Option(help="mlp or conv.")] = "mlp",
    loss: Annotated[
        str, typer.Option(help="Of a lost answer: mse-base, kl-base or xent-label.")
    ] = "kl-base",
    assisted: Annotated[
        bool,
        typer.Option(help="The last extra slot is a student's; the decoder sees its estimates."),
    ] = False,
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
    """Train a learned code: encoder and decoder together, through the base model."""
    helped = _networks(base, "learned", k, r, None, None, 1, device, store) if assisted else {}
    train_and_keep(
        base,
        {
            "code": "learned",
            "k": k,
            "r": r,
            "parameters": {"encoder": encoder, "assisted": assisted},
            **helped,
            "name": name,
            "epochs": epochs,
            "seed": seed,
            "recipe": {"loss": loss, **parameters(settings)},
        },
        device,
        store,
        overwrite=overwrite,
        fresh=fresh,
        as_json=as_json,
    )


Cost = Annotated[
    str | None,
    typer.Option(help="Of one query, as a share of the base's; default: 1/k, a group costs 1."),
]
StudentNetwork = Annotated[
    str | None, typer.Option("--network", help="mlp, lenet or resnet18; default: the base's.")
]
Pool = Annotated[int, typer.Option(min=1, help="2: the student looks at half the resolution.")]


def student(  # noqa: PLR0913 - each flag is an argument to typer
    base: Base = "digits-lenet",
    k: K = 2,
    r: R = 1,
    cost: Cost = None,
    network: StudentNetwork = None,
    pool: Pool = 1,
    distinct: Annotated[
        bool, typer.Option(help="Another student in each of the r slots; lost answers are a mean.")
    ] = False,
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
    """Train an approximate backup: a small network that answers all queries of a group."""
    train_and_keep(
        base,
        {
            "code": "backup",
            "k": k,
            "r": r,
            "parameters": {"distinct": distinct},
            **_networks(base, "backup", k, r, cost, network, pool, device, store),
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


def assisted(  # noqa: PLR0913 - each flag is an argument to typer
    base: Base = "digits-lenet",
    k: K = 2,
    r: R = 1,
    cost: Cost = None,
    network: StudentNetwork = None,
    pool: Pool = 1,
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
    """Train a student and a parity that are decoded together, for the price of r slots."""
    train_and_keep(
        base,
        {
            "code": "assisted",
            "k": k,
            "r": r,
            **_networks(base, "assisted", k, r, cost, network, pool, device, store),
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


def _networks(  # noqa: PLR0913 - as the commands have them
    base: str,
    code: str,
    k: int,
    r: int,
    cost: str | None,
    network: str | None,
    pool: int,
    device: str,
    store: Path | None,
) -> dict[str, dict[str, Any]]:
    """The networks of extra slots that keep to a budget, told to the user."""
    from training.codes import networks_within

    share = k * _share(cost, k)
    found = networks_within(base_model(base, device, store), code, k, r, share, network, pool)
    for role, options in found.items():
        words.print(f"{role}: {options or 'as the base'}")
    words.print(f"an extra slot costs at most {share:.4g} of a base slot")
    return found


def _share(text: str | None, k: int) -> float:
    from fractions import Fraction

    if text is None:
        return 1 / k
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        share = 0.0
    if not 0 < share <= 1:
        raise typer.BadParameter(f"must be above 0, at most 1, like 1/4, not {text!r}.")
    return share


def base_model(base: str, device: str, store: Path | None) -> "Basis":
    from models.store import Store
    from training.basis import basis

    return basis(base, Store(store), device)


def train_and_keep(
    base: str,
    plan: dict[str, Any],
    device: str,
    folder: Path | None,
    *,
    overwrite: bool,
    fresh: bool,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    from models.folder import NameTaken
    from models.store import Store
    from training.codes import CodePlan, default_name, train_code

    wanted = CodePlan(**plan)
    store = Store(folder)
    name = default_name(base, wanted)
    if name in store.codes.names() and not overwrite:
        raise NameTaken(f"Trained code {name!r} is kept already: choose --name, or --overwrite it.")
    config = {**asdict(wanted), "base_hash": store.card(base).hash}
    with kept_run(store, name, config, fresh=fresh) as run:
        with training_bar(name) as progress:
            model = base_model(base, device, folder)
            trained = train_code(wanted, model, progress=progress, run=run)
        store.codes.save(trained.card, trained.programs, trained.weights, overwrite=overwrite)
    for lost in range(1, wanted.r + 1):
        mark = "" if lost == 1 else f"_{lost}_lost"
        worth = trained.card.metrics[f"lost_only{mark}"]
        low, high = worth.interval
        words.print(
            f"{name}: {lost} lost of {wanted.k + wanted.r}: {worth.value:.4f} of the decoded "
            f"answers right ({low:.4f}–{high:.4f}), clean {trained.card.metrics['clean'].value:.4f}"
        )
    if as_json:
        print_json(asdict(trained.card))
