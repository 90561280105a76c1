"""A linear layer whose weight is coded once and stays so: forward, backward and update on shares.

Node i holds one coded block W~ of the weight. Inputs and gradients are mixed by the master (or by
each node for itself), what nodes return is decoded by `forward_frame` and `backward_frame`, and the
update W~ <- W~ - rate d^ x^T is exact at every node alone. Pure NumPy; who sends what is elsewhere.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from codes.base import Matrix
from codes.checks import check_choice, check_size
from codes.polydot.families import Mixes, Powers, half_circle, picked, segment, unit, waves
from codes.polydot.frame import Frame
from codes.polydot.product import check_blocks, mixed, split

Array = NDArray[Any]


@dataclass(frozen=True)
class Mixings:
    """How nodes mix, each [nodes, ...], rows of norm 1; the weight's is d^ times x^."""

    weight: Mixes  # [nodes, m, n]
    x: Mixes  # [nodes, n], for the forward pass: x~
    d: Mixes  # [nodes, m], for the backward pass: d~
    x_update: Mixes  # [nodes, n]: x^
    d_update: Mixes  # [nodes, m]: d^
    forward: Mixes  # [nodes, K_f], and what is wanted of these unknowns
    forward_wanted: Matrix  # [m, K_f]
    backward: Mixes  # [nodes, K_b]
    backward_wanted: Matrix  # [n, K_b]


@final
@dataclass(frozen=True)
class Layer:
    """W [N_out, N_in] as an m x n grid of blocks, of which every node holds a mix.

    Forward: S = W X for X [N_in, B]; the node returns W~ x~, m blocks are decoded from K_f rows.
    Backward: C = W^T D for D [N_out, B]; W~^T d~ (plain transpose), n blocks from K_b rows.
    Update: W~ <- W~ - rate d^ x^T (plain transpose) changes W by - rate D X^T.
    Families: circle, for n = 1: all real, x~ = x^ = X unsplit and d~ = d^, so that an update needs
    nothing that the passes have not sent; K_f = m, K_b = 2 m - 1. conj: complex, two rows a node,
    K_f = m n + n - 1, K_b = 2 m n - n; x~ and d~ are conj(x^) and conj(d^), turned. mono: the same
    K, real, for a few blocks only: it amplifies rounding.
    Source: [dutta2018]; circle is this project's.

    Args:
        blocks_m, blocks_n: of W's rows and columns, 1 to 64 each.
        nodes: enough for both passes, up to 256.
        family: "circle", "conj" or "mono"; "auto": circle for n = 1, else conj.
    """

    FAMILIES: ClassVar[tuple[str, ...]] = ("mono", "conj", "circle")

    blocks_m: int
    blocks_n: int
    nodes: int
    family: str = "auto"

    def __post_init__(self) -> None:
        for argument in ("blocks_m", "blocks_n"):
            check_blocks(argument, getattr(self, argument))
        check_choice("family", self.family, ("auto", *self.FAMILIES))
        if self.kind == "circle" and self.blocks_n > 1:
            raise ValueError(
                f"Argument 'blocks_n' must be 1 for the family circle, not {self.blocks_n}; "
                f"conj takes any."
            )
        says = f"what {self.kind} at (m, n) = ({self.blocks_m}, {self.blocks_n}) needs"
        check_size("nodes", self.nodes, self.node_threshold, says)

    @property
    def kind(self) -> str:
        """The family that was chosen."""
        if self.family != "auto":
            return self.family
        return "circle" if self.blocks_n == 1 else "conj"

    @property
    def forward_threshold(self) -> int:
        """K_f, real rows."""
        m, n = self.blocks_m, self.blocks_n
        return m if self.kind == "circle" else m * n + n - 1

    @property
    def backward_threshold(self) -> int:
        """K_b, real rows."""
        m, n = self.blocks_m, self.blocks_n
        return 2 * m - 1 if self.kind == "circle" else 2 * m * n - n

    @property
    def rows_per_node(self) -> int:
        """1, or 2 where shares are complex."""
        return 2 if self.kind == "conj" else 1

    @property
    def node_threshold(self) -> int:
        """Any that many nodes serve both passes."""
        return -(-max(self.forward_threshold, self.backward_threshold) // self.rows_per_node)

    @cached_property
    def mixings(self) -> Mixings:
        """With which numbers nodes mix."""
        if self.kind == "circle":
            return _rows(self.blocks_m, self.nodes)
        powers = half_circle if self.kind == "conj" else segment
        return _grid(self.blocks_m, self.blocks_n, self.nodes, powers)

    def split_weight(self, weight: Array) -> Array:
        """W [N_out, N_in] as blocks [m, n, ceil(N_out / m), ceil(N_in / n)], padded with zeros."""
        return split(weight, "weight", self.blocks_m, self.blocks_n)

    def split_x(self, x: Array) -> Array:
        """X [N_in, B] as blocks [n, 1, ceil(N_in / n), B]."""
        return split(x, "x", self.blocks_n, 1)

    def split_d(self, d: Array) -> Array:
        """D [N_out, B] as blocks [m, 1, ceil(N_out / m), B]."""
        return split(d, "d", self.blocks_m, 1)

    def weight_share(self, blocks: Array, node: int) -> Array:
        """W~ of a node, from the weight's blocks."""
        return mixed(self.mixings.weight[self._checked(node)], blocks)

    def forward_input(self, blocks: Array, node: int) -> Array:
        """x~ of a node, from the blocks of X."""
        return mixed(self.mixings.x[self._checked(node)], blocks)

    def backward_input(self, blocks: Array, node: int) -> Array:
        """d~ of a node, from the blocks of D."""
        return mixed(self.mixings.d[self._checked(node)], blocks)

    def update_inputs(self, x_blocks: Array, d_blocks: Array, node: int) -> tuple[Array, Array]:
        """(x^, d^) of a node: its share then changes by - rate d^ x^T."""
        of_x, of_d = self.mixings.x_update, self.mixings.d_update
        return mixed(of_x[self._checked(node)], x_blocks), mixed(of_d[node], d_blocks)

    def joined_out(self, values: Array, outputs: int) -> Array:
        """Decoded blocks of S, [m, height, B], as [N_out, B]."""
        return values.reshape(-1, values.shape[-1])[:outputs]

    def joined_in(self, values: Array, inputs: int) -> Array:
        """Decoded blocks of C, [n, width, B], as [N_in, B]."""
        return values.reshape(-1, values.shape[-1])[:inputs]

    @cached_property
    def forward_frame(self) -> Frame:
        """Of the results W~ x~; wanted are the m blocks of S."""
        return Frame(self.mixings.forward, self.mixings.forward_wanted)

    @cached_property
    def backward_frame(self) -> Frame:
        """Of the results W~^T d~; wanted are the n blocks of C."""
        return Frame(self.mixings.backward, self.mixings.backward_wanted)

    @cached_property
    def state_frame(self) -> Frame:
        """Of the shares W~ themselves; wanted are the m n blocks of W. For scrub and repair."""
        return _plain(self.mixings.weight)

    @cached_property
    def x_update_frame(self) -> Frame:
        """Of x^, for the verification exchange."""
        return _plain(self.mixings.x_update)

    @cached_property
    def d_update_frame(self) -> Frame:
        """Of d^, the same."""
        return _plain(self.mixings.d_update)

    def _checked(self, node: int) -> int:
        if not 0 <= node < self.nodes:
            raise ValueError(f"Argument 'node' must be 0 to {self.nodes - 1}, not {node}.")
        return node


def _plain(mixes: Mixes) -> Frame:
    """Of mixes of blocks, all of which are wanted."""
    rows = mixes.reshape(len(mixes), -1)
    return Frame(rows, np.eye(rows.shape[1]))


def _rows(m: int, nodes: int) -> Mixings:
    """W_i and D_i at wave i: in the backward pass wanted is the mean of products,
    1/2 sum_i W_i^T D_i, which is at sqrt(1/2)."""
    of_rows, size = unit(waves(nodes, m))
    ones = np.ones((nodes, 1))
    width = 2 * m - 1
    return Mixings(
        weight=of_rows[:, :, None], x=ones, d=of_rows, x_update=ones, d_update=of_rows,
        forward=of_rows, forward_wanted=np.eye(m),
        backward=waves(nodes, width) / (size * size)[:, None],
        backward_wanted=picked(np.array([0]), width, float(np.sqrt(2))),
    )  # fmt: skip


def _grid(m: int, n: int, nodes: int, powers: Powers) -> Mixings:
    """W_ij at exponent n i + j, X_l at n - 1 - l, D_i at n (m - 1 - i): S_i is found at n i + n - 1
    and C_j at n (m - 1) + j."""
    i, j = np.arange(m), np.arange(n)
    forward, backward = m * n + n - 1, 2 * m * n - n
    x, size_x = unit(powers(nodes, j))
    d, size_d = unit(powers(nodes, n * i))
    return Mixings(
        weight=d[:, :, None] * x[:, None, :],
        x=x[:, ::-1],
        d=d[:, ::-1],
        x_update=x,
        d_update=d,
        forward=powers(nodes, np.arange(forward)) / (size_d * size_x**2)[:, None],
        forward_wanted=picked(n * i + n - 1, forward),
        backward=powers(nodes, np.arange(backward)) / (size_x * size_d**2)[:, None],
        backward_wanted=picked(n * (m - 1) + j, backward),
    )
