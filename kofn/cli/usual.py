"""What `kofn up` takes where its flags say nothing: sizes, calibration, trained codes, models."""

from pathlib import Path
from typing import Any

SPLIT = "split-lagrange"
LAYERS = "polydot"  # the model's linear layers as coded products


def provide_model(model: str, folder: Path | None) -> None:
    """Train a digits model where it is asked for and not there; others must be there.

    Raises:
        UnknownModel: not there, and not trained in seconds.
    """
    from models import networks
    from models.store import Store

    store = Store(folder)
    dataset, _, network = model.partition("-")
    if model in store.names() or dataset != "digits" or network not in networks.REGISTRY:
        if not model.endswith(".pt2"):
            store.card(model)  # raises, saying which there are
        return
    from kofn.cli.trainings import train_showing_progress

    train_showing_progress(dataset, network, store=store)


def is_function(model: str) -> bool:
    """Whether it is a function that comes with the package, and no trained model."""
    from models.functions import TARGETS

    return model in TARGETS


def code_of(
    name: str, k: int | None, n: int, settings: dict[str, Any], calibrated: bool | None, liars: int
) -> dict[str, Any]:
    """The code of a deployment file: sizes and calibration as said, else as is usual."""
    import codes
    from codes.linear import LinearDecoding

    if name == "uncoded":
        sizes = {"k": n if k is None else k}
    else:
        sizes = {"k": usual_k(name, n, settings, liars) if k is None else k, "n": n}
    code = {"name": name, **sizes, **settings}
    made = codes.make(**code)
    if calibrated is None:
        # A split network knows its noise from its training.
        calibrated = not made.exact and isinstance(made, LinearDecoding) and name != SPLIT
    return {**code, "calibrated": calibrated}


def usual_blocks(n: int, liars: int) -> int:
    """Blocks of each linear layer: half of n, as their code takes, or what liars leave."""
    return max(1, min((n + 1) // 2, n - max(1, 2 * liars)))


def usual_k(name: str, n: int, settings: dict[str, Any], liars: int = 0) -> int:
    """Two thirds of n, or as much less as the code needs, as for a degree or against liars."""
    import codes
    from codes.locating import most_liars

    most = max(1, n - max(1, n // 3))
    for k in range(most, 0, -1):
        try:
            code = codes.make(name, k=k, n=n, **settings)
        except ValueError:
            continue
        if liars <= most_liars(code):
            return k
    return most  # what is wrong is not k, and is told by the code


def trained_sizes(
    model: str, code: str, workers: int, folder: Path | None
) -> tuple[int | None, int | None]:
    """k and n of the largest trained code that these workers can hold; None where there is none."""
    import codes
    from models.store import Store

    known = Store(folder).codes
    cards = [known.card(name) for name in known.names() if name.startswith(f"{model}.{code}-")]
    is_free = code in codes.REGISTRY and "n" in codes.REGISTRY[code].free
    sizes = [(card.parameters["k"], workers if is_free else card.parameters["n"]) for card in cards]
    return max((size for size in sizes if size[0] <= size[1] <= workers), default=(None, None))


def trained_code(model: str, code: dict[str, Any], folder: Path | None) -> str | None:
    """The trained code of the usual name, where the store has it and it is what is asked for."""
    import codes
    from models.store import Store
    from models.trained import usual_name

    free = codes.REGISTRY[code["name"]].free
    r = None if "n" in free else code.get("n", code["k"]) - code["k"]
    known = Store(folder).codes
    name = usual_name(model, code["name"], code["k"], r)
    if name not in known.names():
        return None
    trained = known.card(name).parameters
    fixed = trained.keys() - free
    is_asked_for = all(trained[key] == value for key, value in code.items() if key in fixed)
    return name if is_asked_for else None
