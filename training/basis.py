"""The base model that something is trained for: its module, its data and its answers.

Every trainer of `training` but the base's own begins here.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from models import data, networks
from models.cards import Card
from models.data import DataSet
from models.store import Store
from training.descent import lay_out
from training.images import varied
from training.measure import answers_of


@dataclass(frozen=True, eq=False)
class Basis:
    """A stored base model, ready to be learned from.

    Attributes:
        card: of the model.
        module: in evaluation mode, frozen, on `device`.
        device: where training happens.
    """

    card: Card
    module: nn.Module
    device: str

    @cached_property
    def learning(self) -> DataSet:
        """What to learn from."""
        return data.load(self.card.dataset, "learning")

    @cached_property
    def validation(self) -> DataSet:
        """What to select and calibrate by."""
        return data.load(self.card.dataset, "validation")

    @cached_property
    def test(self) -> DataSet:
        """What is looked at once, afterwards."""
        return data.load(self.card.dataset, "test")

    @cached_property
    def answers(self) -> Tensor:
        """The base model's answers to the learning images, [m, classes], on the device."""
        return answers_of(self.module, self.learning.images, self.device).to(self.device)

    @cached_property
    def images(self) -> Tensor:
        """The learning images, on the device."""
        return self.learning.images.to(self.device)

    @cached_property
    def labels(self) -> Tensor:
        """Their labels, on the device."""
        return self.learning.labels.to(self.device)

    def lesson(
        self, chosen: Tensor, shift_pixels: int = 0, flip: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Some learning images and the base model's answers to them.

        Args:
            chosen: positions, of any shape [*s].
            shift_pixels, flip: vary the images; the answers are those to the varied ones.

        Returns:
            [*s, c, h, w] and [*s, classes].
        """
        queries, answers = self.images[chosen], self.answers[chosen]
        if shift_pixels or flip:
            flat = varied(queries.flatten(0, -4), shift_pixels, flip)
            with torch.no_grad():
                queries, answers = (
                    flat.view(queries.shape),
                    self.module(flat).float().view(answers.shape),
                )
        return queries, answers

    @cached_property
    def scale(self) -> Tensor:
        """Deviation of each entry of an answer, [classes]: what makes their errors comparable."""
        return self.answers.std(0).clamp_min(1e-6)

    def like(self, classes: int | None = None, *, warm: bool = False) -> nn.Module:
        """Another network of the base's architecture.

        Args:
            classes: length of its answers, if not the base's.
            warm: begin with the base's weights, repeated where an answer is so many times longer;
                else with fresh ones.
        """
        card = self.card
        count = len(card.classes) if classes is None else classes
        made = networks.make(card.network, card.input_shape, count, **card.options)
        if warm:
            state = self.module.state_dict()
            for name, own in made.state_dict().items():
                times = len(own) // len(state[name]) if own.ndim else 1
                own.copy_(
                    state[name].repeat(times, *[1] * (own.ndim - 1)) if times > 1 else state[name]
                )
        return made.to(self.device)


def basis(name: str, store: Store, device: str = "cpu") -> Basis:
    """Load a base model to train for.

    Raises:
        UnknownModel: not in the store, or saved without its weights.
        DataError: its card names no data set.
    """
    card = store.card(name)
    if not card.dataset:
        raise data.DataError(f"Model {name!r} names no data set to learn from.")
    module = networks.make(card.network, card.input_shape, len(card.classes), **card.options)
    module.load_state_dict(store.weights(name))
    module.to(device).eval().requires_grad_(False)
    return Basis(card, lay_out(module, torch.channels_last), device)


def permuted_groups(chosen: Tensor, k: int) -> Tensor:
    """A step's examples, which come in random order, as coding groups, at least one.

    [b] to [b // k, k]; what is left over is not used this time, and fewer than k are repeated.
    """
    if len(chosen) < k:
        chosen = chosen.repeat(-(-k // len(chosen)))
    return chosen[: len(chosen) // k * k].view(-1, k)


def soft_agreement(decoded: Tensor, truth: Tensor) -> Tensor:
    """KL divergence of the decoded class probabilities from the true answer's; a scalar.

    Args:
        decoded, truth: logits [..., classes].
    """
    return kl_div(
        decoded.log_softmax(-1).flatten(0, -2),
        truth.log_softmax(-1).flatten(0, -2),
        reduction="batchmean",
        log_target=True,
    )
