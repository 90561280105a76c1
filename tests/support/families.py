"""Small networks of a common start, for those who merge them."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.cards import Card
from models.networks import make
from models.programs import content_hash, export_program
from models.store import Store
from models.trained import Parent
from training.loop import seeded


class Tied(nn.Module):
    """An autoencoder whose second layer has the first one's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(12, 12), nn.Linear(12, 12)
        self.outer.weight = self.inner.weight

    def forward(self, rows: Tensor) -> Tensor:
        """[b, 12] to [b, 12]."""
        outputs: Tensor = self.outer(torch.tanh(self.inner(rows)))
        return outputs


class Attention(nn.Module):
    """One block of a transformer's encoder over five tokens, and a head on their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """[b, 5, 8] to [b, 4]."""
        outputs: Tensor = self.head(self.block(tokens).mean(1))
        return outputs


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {  # of `models.networks.make`
    "mlp": ("mlp", {"hidden": (12, 8)}),
    "digits": ("mlp", {"hidden": (16,)}),
    "lenet": ("lenet", {"width": 0.5, "hidden": (12, 8)}),
    "resnet": ("resnet18", {"width": 2, "blocks": 1, "stages": 2}),
}
SHAPES = {
    "mlp": (1, 2, 4),
    "digits": (1, 8, 8),
    "lenet": (1, 8, 8),
    "resnet": (1, 8, 8),
    "tied": (12,),
    "attention": (5, 8),
}


def fresh(kind: str, seed: int = 0) -> nn.Module:
    """A network with fresh weights."""
    with seeded(seed):
        if kind in OPTIONS:
            network, options = OPTIONS[kind]
            return make(network, SHAPES[kind], classes(kind), **options)
        return Tied() if kind == "tied" else Attention()


def classes(kind: str) -> int:
    """How long an answer is."""
    return {"digits": 10, "tied": 12}.get(kind, 4)


def inputs(kind: str, count: int, seed: int) -> Tensor:
    """[count, ...] of a network's shape, in 0..1."""
    shape, generator = SHAPES[kind], torch.Generator().manual_seed(seed)
    levels = torch.rand(count, *[1] * len(shape), generator=generator)
    return levels * torch.rand(count, *shape, generator=generator)


def family(kind: str, members: int = 2, steps: int = 20) -> list[nn.Module]:
    """Networks of one start, each tuned a little to labels of its own."""
    start, found = fresh(kind), []
    for member in range(members):
        with seeded(member + 1):
            module = copy.deepcopy(start).train()
            optimiser = torch.optim.SGD(module.parameters(), 0.05)
            rows = inputs(kind, 64, 100 + member)
            labels = (rows.flatten(1).sum(1) * (member + 3)).long() % classes(kind)
            for _ in range(steps):
                optimiser.zero_grad()
                torch.autograd.backward(cross_entropy(module(rows).flatten(1), labels))
                optimiser.step()
        found.append(module.eval())
    return found


def keep(
    store: Store, name: str, kind: str, module: nn.Module, start: str = "a" * 64, dataset: str = ""
) -> Parent:
    """Save a network as a model that was trained from a start."""
    archive = export_program(module, inputs(kind, 1, 0))
    network, options = OPTIONS[kind]
    card = Card(
        name=name,
        hash=content_hash(archive),
        dataset=dataset,
        network=network,
        options=options,
        input_shape=SHAPES[kind],
        classes=tuple(map(str, range(classes(kind)))),
        start_hash=start,
    )
    store.save(name, archive, card, weights=module.state_dict())
    return Parent(name, card.hash)
