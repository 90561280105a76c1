"""Wrong results are found: all of them and nobody else, up to what mathematics allows."""

import pickle
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

import codes
from codes.lagrange import Lagrange
from codes.locating import TooManyErrors, misfits
from codes.verify import subsets

Lie = Callable[[Tensor], Tensor]


def squares(inputs: int = 6, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """A network of degree 2, float32."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(inputs, 16, generator=generator) / inputs**0.5
    last = torch.randn(16, 3, generator=generator)
    return lambda x: (x @ first + 0.1).square() @ last + 0.3


def results_of(code: codes.Code, g: int = 2, seed: int = 0) -> list[Tensor]:
    queries = torch.rand(g, code.k, 6, generator=torch.Generator().manual_seed(seed))
    return [squares()(shard) for shard in code.encode(queries)]


def one_bit(result: Tensor) -> Tensor:
    wrong = result.clone()
    wrong[0, 0] *= -(2.0**100)
    return wrong


def noise(scale: float) -> Lie:
    return lambda y: y + scale * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))


LIES: dict[str, Lie] = {
    "sign": lambda y: -y,
    "loud": noise(100.0),
    "quiet": noise(1e-3),
    "another's": lambda y: y.roll(1, 0),
    "shifted": lambda y: y + 1,
    "one bit": one_bit,
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(
    ("k", "errors", "points"), [(1, 1, "circle"), (3, 2, "circle"), (4, 1, "first")]
)
def test_every_set_of_liars_is_found(k: int, errors: int, points: str, lie: str) -> None:
    """From R + 2 E slots, exactly those who lied."""
    slots = Lagrange(k, 40, 2, points).recovery_threshold + 2 * errors
    code = Lagrange(k, slots, 2, points)
    honest = results_of(code)
    for liars in combinations(range(slots), errors):
        told = [LIES[lie](y) if i in liars else y for i, y in enumerate(honest)]
        assert code.locate(told, range(slots), errors) == liars


def test_lies_of_all_sizes_at_once_are_found() -> None:
    """The loudest does not hide the quietest; three of eleven, whoever they are."""
    code = Lagrange(3, 11, 2)
    honest = results_of(code)
    lies = [one_bit, LIES["sign"], noise(1e-2)]
    for liars in subsets(11, 3, 60):
        told = list(honest)
        for liar, lie in zip(liars, lies, strict=True):
            told[liar] = lie(told[liar])
        assert code.locate(told, range(11), 3) == liars


def test_liars_who_agree_are_found_by_comparing_sets() -> None:
    """Equal shifts fool the search one by one for some sets; all sets of a size do not."""
    code = Lagrange(8, 23, 2)
    honest = results_of(code)
    for liars in subsets(23, 3, 60):
        told = [y + 1 if i in liars else y for i, y in enumerate(honest)]
        assert code.locate(told, range(23), 3) == liars


@pytest.mark.parametrize("points", ["circle", "first", "second"])
@pytest.mark.parametrize(("k", "n", "degree"), [(3, 8, 2), (4, 12, 2), (8, 21, 2), (1, 2, 3)])
def test_honest_workers_are_left_alone(k: int, n: int, degree: int, points: str) -> None:
    """From every number of slots, and whatever the size of the answers."""
    code = Lagrange(k, n, degree, points)
    for seed, scale in ((1, 1.0), (2, 1e-20), (3, 1e20)):
        results = [scale * y for y in results_of(code, seed=seed)]
        for size in range(1, n + 1):
            for slots in subsets(n, size, 10, seed):
                assert code.locate([results[slot] for slot in slots], slots, 2) == ()


def test_order_and_groups_do_not_matter() -> None:
    """A lie in one group of many is a lie, and slots may come in any order."""
    code = Lagrange(3, 8, 2)
    told = results_of(code, g=16)
    told[5] = told[5].clone()
    told[5][7] += 0.01
    order = [6, 5, 0, 1, 2, 4, 7]
    assert code.locate([told[slot] for slot in order], order, 1) == (5,)


def test_nobody_is_named_without_proof() -> None:
    """One slot too few, or one liar too many: it says so instead of blaming somebody."""
    code = Lagrange(3, 10, 2)
    assert code.recovery_threshold == 5
    told = results_of(code)
    told[2] = -told[2]
    assert code.locate(told[:7], range(7), 1) == (2,)
    assert code.locate(told, range(10), 1) == (2,)
    for slots, most in ((6, 1), (7, 0)):
        with pytest.raises(TooManyErrors) as caught:
            code.locate(told[:slots], range(slots), most)
        assert caught.value.slots == tuple(range(slots))
        assert caught.value.most == most
    told[3] = told[3] + 1
    with pytest.raises(TooManyErrors, match="no 1 or fewer"):
        code.locate(told[:7], range(7), 1)
    with pytest.raises(TooManyErrors, match="no 2 or fewer"):
        code.locate(told[:8], range(8), 2)
    assert code.locate(told[:9], range(9), 2) == (2, 3)
    assert code.locate(told[:5], range(5), 2) == ()  # any R results fit together


def test_what_is_found_is_decoded_without() -> None:
    """An error located is an erasure."""
    code = Lagrange(3, 7, 2)
    queries = torch.rand(4, 3, 6, generator=torch.Generator().manual_seed(1))
    told = [squares()(shard) for shard in code.encode(queries)]
    told[0] = -told[0]
    (liar,) = code.locate(told, range(7), 1)
    honest = [slot for slot in range(7) if slot != liar]
    decoded = code.decode([told[slot] for slot in honest], honest)
    np.testing.assert_allclose(decoded, squares()(queries), atol=1e-5)
    assert float((code.decode(told, range(7)) - squares()(queries)).abs().max()) > 0.1


def test_wrong_arguments_are_refused() -> None:
    """By name."""
    code = Lagrange(3, 7, 2)
    told = results_of(code)
    with pytest.raises(ValueError, match="'most' must be at least 0, not -1"):
        code.locate(told, range(7), -1)
    with pytest.raises(ValueError, match="slot 0 twice"):
        code.locate(told[:2], (0, 0), 1)
    with pytest.raises(ValueError, match="one result a slot, 7"):
        code.locate(told[:6], range(7), 1)
    told[4] = told[4] * torch.nan
    with pytest.raises(ValueError, match="slot 4 must be finite"):
        code.locate(told, range(7), 1)


def test_the_error_travels() -> None:
    error = pickle.loads(pickle.dumps(TooManyErrors((0, 2), 1)))
    assert (error.slots, error.most) == ((0, 2), 1)


def test_misfits_of_values_that_are_all_nothing() -> None:
    """A group of zeros has no size, and fits; a lie in it does not."""
    frame = np.vander(np.linspace(-1, 1, 6), 3)
    values = np.zeros((6, 2, 4))
    assert misfits(frame, values, 1) == ()
    values[3, 1, 2] = 1e-30
    assert misfits(frame, values, 1) == (3,)
