"""Models that are linear, so that their averages are what merged models should be: exactly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from codes.coin import coin_roles, vandermonde_rows
from models.cards import Card
from models.programs import content_hash, export_program
from models.store import Store
from models.trained import CodeCard, Parent

QUERY, CLASSES = (1, 4, 4), 5
SAMPLE = 200  # calibration queries


def linear(seed: int, scale: float = 1.0) -> nn.Module:
    """A model with weights of its own."""
    layer = nn.Linear(16, CLASSES)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(scale * torch.randn(CLASSES, 16, generator=generator))
        layer.bias.copy_(scale * torch.randn(CLASSES, generator=generator))
    return nn.Sequential(nn.Flatten(), layer).eval()


def merged(models: Sequence[nn.Module], weights: Sequence[float], noise: float = 0.0) -> nn.Module:
    """The weighted average of their weights, off by some noise."""
    made = linear(99)
    states = [model.state_dict() for model in models]
    generator = torch.Generator().manual_seed(7)
    made.load_state_dict(
        {
            key: sum(w * state[key] for w, state in zip(weights, states, strict=True))
            + noise * torch.randn(value.shape, generator=generator)
            for key, value in states[0].items()
        }
    )
    return made


@dataclass(frozen=True)
class Merged:
    """What a test may touch: the store, the modules by role, and the merged code's name."""

    store: Store
    modules: dict[str, nn.Module]
    checkpoint: str

    def answers(self, queries: Tensor) -> Tensor:
        """[rows, models, CLASSES] of the models alone."""
        own = [module for role, module in self.modules.items() if role.startswith("model")]
        with torch.no_grad():
            return torch.stack([module(queries) for module in own], 1)


def queries(count: int, seed: int = 0) -> Tensor:
    """[count, *QUERY]."""
    return torch.rand(count, *QUERY, generator=torch.Generator().manual_seed(seed))


def save_model(store: Store, name: str, module: nn.Module) -> str:
    """Keep a model; its content hash."""
    archive = export_program(module, queries(2))
    card = Card(
        name=name,
        hash=content_hash(archive),
        dataset="",
        network="linear",
        input_shape=QUERY,
        classes=tuple("abcde"),
    )
    store.save(name, archive, card, overwrite=True)
    return card.hash


def save_merged(
    store: Store,
    models: dict[str, nn.Module],
    r: int = 1,
    *,
    decoding: str = "fixed",
    noise: float = 0.0,
    checkpoint: str | None = None,
) -> Merged:
    """Keep models and their averages as the code "coin"."""
    own = list(models.values())
    hashes = {name: save_model(store, name, module) for name, module in models.items()}
    rows = vandermonde_rows(len(own), r).tolist()
    every = [*own, *(merged(own, row, noise) for row in rows)]
    modules = dict(zip(coin_roles(len(own), r), every, strict=True))
    archives = {
        role: export_program(module, queries(2))
        for role, module in modules.items()
        if role.startswith("coded")
    }
    name = checkpoint or "+".join(models) + f".coin-r{r}"
    card = CodeCard(
        name=name,
        code="coin",
        parameters={"k": len(own), "n": len(own) + r, "weights": rows, "decoding": decoding},
        base=next(iter(hashes)),
        base_hash=next(iter(hashes.values())),
        parents=tuple(Parent(name, hash) for name, hash in hashes.items()),
        programs={role: content_hash(archive) for role, archive in archives.items()},
    )
    with torch.no_grad():
        outputs = torch.stack([module(queries(SAMPLE, seed=5)) for module in every], 1)
    store.codes.save(card, archives, {"outputs": outputs}, overwrite=True)
    return Merged(store, modules, name)


def deployment(made: Merged, name: str = "both", **fields: object) -> dict[str, object]:
    """A deployment of all its models, as a deployment file has it."""
    card = made.store.codes.card(made.checkpoint)
    code = {"name": "coin", "k": card.parameters["k"], "n": card.parameters["n"]}
    return {
        "name": name,
        "models": {parent.name[0]: parent.name for parent in card.parents},
        "code": {**code, "checkpoint": made.checkpoint},
        "batching": {"max_delay_ms": 0},
        "timeout_ms": 20_000,
        **fields,
    }


def store_in(folder: Path) -> Store:
    """An empty store that sees nothing of what is shipped."""
    return Store(folder / "store", shipped=None)
