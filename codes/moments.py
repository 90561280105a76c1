"""First and second moments of a program's answers and of its results on coded queries.

Measured once at deployment, kept with the model, read by `codes.calibrated`. Covariances are
pooled over the entries of an answer: one coefficient a responder, as the codes' own decoders have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from codes.base import BASE, Code
from codes.stages import STEM, shards_of

Program = Callable[[Tensor], Tensor]
Programs = Program | Mapping[str, Program]  # by role

MOST_KEPT = 1 << 22  # numbers in group_covs, 32 MB: a thousand groups of 64 rows
ROWS_AT_ONCE = 256  # queries in one call of the program: bounded memory


@dataclass(frozen=True, eq=False, repr=False)
class Moments:
    """Means and covariances, float64; equal when their contents are.

    Attributes:
        answer_mean: [k, *answer], of the uncoded answers.
        result_mean: [rows, *answer], of the rows of the slots' results.
        answer_cov: [k, k], mean over entries.
        cross_cov: [k, rows], of answers with results.
        result_cov: [rows, rows].
        group_covs: [m, rows, rows], the same of single groups, some of those that it is the mean
            of: how honest results scatter.

    Raises:
        ValueError: shapes that do not fit each other, or a value that is not finite.
    """

    answer_mean: Float64[np.ndarray, " k *answer"]
    result_mean: Float64[np.ndarray, " rows *answer"]
    answer_cov: Float64[np.ndarray, "k k"]
    cross_cov: Float64[np.ndarray, "k rows"]
    result_cov: Float64[np.ndarray, "rows rows"]
    group_covs: Float64[np.ndarray, "m rows rows"]

    def __post_init__(self) -> None:
        for name, array in self.to_arrays().items():
            own = np.array(array, np.float64)  # nobody else can write into it
            own.flags.writeable = False
            object.__setattr__(self, name, own)
            if not own.ndim or not np.isfinite(own).all():
                raise ValueError(f"Argument '{name}' must be a finite array of 1 axis or more.")
        k, rows, answer = self.k, self.rows, self.answer_mean.shape[1:]
        expected = {
            "result_mean": (rows, *answer),
            "answer_cov": (k, k),
            "cross_cov": (k, rows),
            "result_cov": (rows, rows),
            "group_covs": (len(self.group_covs), rows, rows),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"Argument '{name}' must be {list(shape)} for k = {k}, {rows} rows and answers "
                    f"{list(answer)}, not {list(getattr(self, name).shape)}."
                )

    @property
    def k(self) -> int:
        """Answers in a group."""
        return len(self.answer_mean)

    @property
    def rows(self) -> int:
        """Of the slots' results: as many as slots, where each returns one answer."""
        return len(self.result_mean)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays by name, for safetensors or npz."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Moments":
        """The inverse of `to_arrays`.

        Raises:
            ValueError: an array is missing, unknown, or of the wrong shape.
        """
        names = {field.name for field in fields(cls)}
        if set(arrays) != names:
            raise ValueError(f"Moments need the arrays {sorted(names)}, not {sorted(arrays)}.")
        return cls(**arrays)

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of names, shapes and contents."""
        digest = sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(f"{name}{array.shape}".encode())
            digest.update(array.astype("<f8").tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Moments) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Moments(k={self.k}, rows={self.rows}, hash={self.hash[:12]!r})"


def measure_moments(
    code: Code,
    programs: Programs,
    queries: Float[Tensor, " m *query"],
    *,
    seed: int = 0,
    groupings: int = 4,
) -> Moments:
    """Run the programs over coded queries and take the moments of what they return.

    The queries are shuffled into coding groups `groupings` times. The programs that give answers
    are called on every query once, and every slot's on every shard that is not a query. More
    groupings steady the covariances of a small sample.

    Args:
        code: that will be calibrated.
        programs: by role, as the slots run them, rows independent; a model's is [rows, *query] ->
            [rows, *answer]. One program alone stands for a code whose roles are all "base". A
            "stem" among them is what queries go through before they are coded.
        queries: unlabelled, as clients send them, best such that no program was trained on; at
            least 2 q, at best a thousand; some thousands where liars are to be located.
        seed: of the groupings.
        groupings: at least 1.

    Raises:
        ValueError: too few queries or groupings, a role without a program, or one whose results
            are not finite.
    """
    q, groups = code.q, len(queries) // code.q
    if groups < 2:
        raise ValueError(
            f"Argument 'queries' must have at least 2 q = {2 * q} rows, not {len(queries)}."
        )
    if groupings < 1:
        raise ValueError(f"Argument 'groupings' must be at least 1, not {groupings}.")
    by_role = programs if isinstance(programs, Mapping) else {BASE: programs}
    missing = sorted({*code.roles, *code.model_roles} - set(by_role))
    if missing:
        raise ValueError(f"Argument 'programs' must have a program for role {missing[0]!r}.")
    own = {slot: j for j, slots in enumerate(code.own_slots) for slot in slots}
    generator = torch.Generator().manual_seed(seed)
    truths = [_run(by_role[model], queries) for model in code.model_roles]
    stem = by_role.get(STEM)
    answers, results = [], []  # [groups, k, *answer] and [groups, rows, *answer] of each grouping
    for _ in range(groupings):
        order = torch.randperm(len(queries), generator=generator)[: groups * q].view(groups, q)
        shards = shards_of(code, queries[order.to(queries.device)], stem)
        grouped = np.concatenate([truth[order.numpy()] for truth in truths], axis=1)
        answers.append(grouped)
        rows = []
        for slot, width in enumerate(code.widths):
            if slot in own:
                result = grouped[:, own[slot]]
            else:
                result = _run(by_role[code.roles[slot]], shards[slot])
            rows.append(result if width else result[:, None])
        results.append(np.concatenate(rows, axis=1))
    return take_moments(np.concatenate(answers), np.concatenate(results))


def take_moments(
    answers: Float64[np.ndarray, " g k *answer"], results: Float64[np.ndarray, " g n *answer"]
) -> Moments:
    """Moments of g groups of answers and of their slots' results."""
    answer_mean, result_mean = answers.mean(axis=0), results.mean(axis=0)
    groups = len(answers)
    t = np.moveaxis((answers - answer_mean).reshape(groups, answers.shape[1], -1), 1, 0)
    c = np.moveaxis((results - result_mean).reshape(groups, results.shape[1], -1), 1, 0)
    kept = c[:, : max(1, MOST_KEPT // len(c) ** 2)]
    group_covs = np.einsum("agx,bgx->gab", kept, kept) / c.shape[2]
    t, c = t.reshape(len(t), -1), c.reshape(len(c), -1)
    count = t.shape[1]
    covs = t @ t.T / count, t @ c.T / count, c @ c.T / count
    return Moments(answer_mean, result_mean, *covs, group_covs)


def _run(program: Program, rows: Tensor) -> np.ndarray:
    with torch.no_grad():
        parts = [
            program(rows[start : start + ROWS_AT_ONCE]).to("cpu", torch.float64)
            for start in range(0, len(rows), ROWS_AT_ONCE)
        ]
    values: np.ndarray = torch.cat(parts).numpy()
    if not np.isfinite(values).all():
        raise ValueError("Argument 'program' must return finite results for the queries.")
    return values
