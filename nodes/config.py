"""The file that all nodes of a training share, and the plan that it stands for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kofn.settings import ServerTlsFiles
from models import data
from training.coded.local import Rates
from training.coded.network import Network
from training.coded.peer_plan import Plan
from training.coded.run import CodedRecipe
from training.coded.scheme import polydot

Chance = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[int, Field(ge=1)]


class FaultRates(BaseModel):
    """Probabilities of a fault, of each node and operation; for trying it out."""

    model_config = ConfigDict(extra="forbid")
    product: Chance = 0.0
    encode: Chance = 0.0
    decode: Chance = 0.0
    activation: Chance = 0.0
    update: Chance = 0.0


class NodesConfig(BaseModel):
    """A training.

    Attributes:
        addresses: "host:port" of all nodes, by number.
        dataset: with labels, which every node has; hidden: widths of the network's hidden layers.
        activation, dtype: of the network.
        blocks: of every weight's rows.
        steps, batch_size, lr, momentum, weight_decay, clip, seed: of SGD.
        checkpoint_every: steps between nodes' copies of their own blocks; scrub_every divides it.
        faults: that nodes inject into themselves.
        tls: files by which nodes listen to and dial each other, at one path for all of them; with
            an authority, which vouches for listeners, callers show certificates, too. None is
            plaintext.
    """

    model_config = ConfigDict(extra="forbid")
    addresses: Annotated[list[str], Field(min_length=1)]
    dataset: str = "digits"
    hidden: list[Size] = [128]
    activation: Literal["tanh", "relu"] = "tanh"
    dtype: Literal["float32", "float64"] = "float32"
    blocks: Size = 4
    steps: Size = 600
    batch_size: Size = 64
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0
    seed: int = 0
    checkpoint_every: Size = 50
    scrub_every: Size = 5
    faults: FaultRates = FaultRates()
    tls: ServerTlsFiles | None = None

    @property
    def rates(self) -> Rates:
        """Of faults."""
        return Rates(**self.faults.model_dump())

    def plan(self) -> Plan:
        """What nodes do; loads the data.

        Raises:
            ValueError: the code needs more nodes, or scrub_every does not divide checkpoint_every.
            DataError, DataUnavailable: of the data.
        """
        found = data.load(self.dataset, "train")
        images = found.images.flatten(1).numpy()
        network = Network(
            (images.shape[1], *self.hidden, len(found.classes)), self.activation, self.dtype
        )
        schemes = tuple(
            polydot(rows, columns, self.dtype, len(self.addresses), self.blocks)
            for rows, columns in network.shapes
        )
        recipe = CodedRecipe(
            self.steps, self.batch_size, self.lr, self.momentum, self.weight_decay, self.clip,
            self.checkpoint_every, seed=self.seed,
        )  # fmt: skip
        return Plan(network, recipe, schemes, images, found.labels.numpy(), self.scrub_every)


def read_config(path: Path) -> NodesConfig:
    """From a JSON file; raises ValueError, which names the field, and OSError."""
    return NodesConfig.model_validate_json(path.read_bytes())
