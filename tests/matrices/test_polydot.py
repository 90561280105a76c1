"""Coded products over workers in this process: exact, whoever is late, lies or fails."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from kofn.matrices import PolyDot, engine
from kofn.wire.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    KofnError,
    ResourceExhausted,
    Unavailable,
)
from support.until import until
from worker.server import WorkerServer

LATE = '{"delay": {"law": "constant", "value_ms": 60000, "interruptible": true}}'
PATIENCE_S = 20.0
SETTINGS = [
    ((2, 1, 2), "auto", 6),
    ((1, 3, 1), "auto", 7),
    ((2, 2, 2), "auto", 7),  # complex shares, any 5
    ((2, 2, 1), "mono", 7),
    ((2, 1, 3), "rkrp", 8),
    (None, "auto", 5),
]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PAUSE_S", 0.0)


@pytest.mark.parametrize(("grid", "family", "nodes"), SETTINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
async def test_products_are_exact(
    start: Any, grid: Any, family: str, nodes: int, dtype: Any
) -> None:
    """Of sizes that do not divide; the error is within its estimate, and that is small."""
    a, b = _operands(dtype)
    polydot = _polydot(grid, await start(nodes), family=family)
    done = await polydot.matmul_async(a, b)
    assert done.product.dtype == dtype
    error = _error(done.product, a, b)
    assert error <= done.estimate <= (1e-3 if dtype is np.float32 else 1e-10)
    assert done.report.checked
    assert not done.report.liars


async def test_tensors_give_a_tensor(start: Any) -> None:
    """Of their dtype."""
    a, b = (torch.from_numpy(one) for one in _operands(np.float64))
    done = await _polydot((1, 1, 2), await start(4)).matmul_async(a, b)
    torch.testing.assert_close(done.product, a @ b, rtol=0, atol=1e-9)


async def test_a_straggler_is_not_waited_for(start: Any, inject: Any) -> None:
    """Nor kept busy: its call is cancelled when the product is known."""
    servers = await start(6)
    inject(servers[1:2], LATE)
    a, b = _operands(np.float64)
    done = await _polydot((2, 1, 2), servers).matmul_async(a, b)
    assert _error(done.product, a, b) <= done.estimate
    assert servers[1].address not in done.report.used
    await until(lambda: all(server.dispatcher._others == 0 for server in servers))


@pytest.mark.parametrize("law", ["gaussian", "sign-flip", "swap", "bit-flip"])
async def test_liars_are_named_and_do_no_harm(start: Any, inject: Any, law: str) -> None:
    """Two of eight, with nobody told how many there are. A flipped bit may not matter."""
    servers = await start(8)
    inject(servers[2:4], json.dumps({"corruption": {"law": law}}))
    a, b = _operands(np.float64)
    polydot = _polydot((2, 1, 2), servers)
    named: set[str] = set()
    for _ in range(4):
        done = await polydot.matmul_async(a, b)
        assert _error(done.product, a, b) <= done.estimate <= 1e-7
        named |= set(done.report.liars)
        a = a + 1.0
    lying = {server.address for server in servers[2:4]}
    assert named <= lying
    assert named or law == "bit-flip"


async def test_too_many_liars_are_refused(start: Any, inject: Any) -> None:
    """And not answered from: of six, four decode, and three lie."""
    servers = await start(6)
    inject(servers[:3], '{"corruption": {"law": "gaussian", "scale": 100}}')
    a, b = _operands(np.float32)
    with pytest.raises(FailedPrecondition, match="All 6 answers") as caught:
        await _polydot((2, 1, 2), servers).matmul_async(a, b)
    assert caught.value.reason == "too-many-errors"


async def test_failures_are_tried_again_and_then_erased(start: Any, inject: Any) -> None:
    """Two of six refuse whatever they are asked; one more, and nothing comes of it."""
    servers = await start(6)
    inject(servers[:2], '{"failure": {"kind": "refuse", "probability": 1.0}}')
    a, b = _operands(np.float64)
    polydot = _polydot((2, 1, 2), servers)
    done = await polydot.matmul_async(a, b)
    assert _error(done.product, a, b) <= done.estimate
    assert not done.report.checked  # four have answered and four decode
    inject(servers[:3], '{"failure": {"kind": "refuse", "probability": 1.0}}')
    with pytest.raises(Unavailable, match="4 workers must answer, and 3 have; 3 failed") as caught:
        await polydot.matmul_async(a, b)
    assert caught.value.reason == "too-few-workers"


async def test_a_failure_that_passes_costs_nothing(
    start: Any, inject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every worker refuses four in five tasks, each try anew: with many, the product comes out."""
    monkeypatch.setattr(engine, "TRIES", 40)
    servers = await start(8)
    inject(servers, '{"failure": {"kind": "refuse", "probability": 0.8}}')
    a, b = _operands(np.float64)
    done = await _polydot((2, 1, 2), servers).matmul_async(a, b)
    assert _error(done.product, a, b) <= done.estimate


async def test_workers_that_are_not_there(start: Any) -> None:
    """Are no nodes; where they are too few, that is said before anything is sent."""
    servers = await start(4)
    a, b = _operands(np.float64)
    addresses = [*(server.address for server in servers), "127.0.0.1:1"]
    done = await PolyDot(1, 1, 2, workers=addresses).matmul_async(a, b)
    assert _error(done.product, a, b) <= done.estimate
    with pytest.raises(Unavailable, match="No worker answers"):
        await PolyDot(1, 1, 2, workers=["127.0.0.1:1"]).matmul_async(a, b)


async def test_a_deadline_ends_it(start: Any, inject: Any) -> None:
    """And says how far it came."""
    servers = await start(6)
    inject(servers[:3], LATE)
    a, b = _operands(np.float64)
    polydot = _polydot((2, 1, 2), servers, timeout_s=1.5)
    with pytest.raises(DeadlineExceeded, match="3 of 6 workers have answered, and 4 must"):
        await polydot.matmul_async(a, b)
    await until(lambda: all(server.dispatcher._others == 0 for server in servers))


async def test_sizes_are_bounded_by_declared_memory(start: Any) -> None:
    """Refused before anything is sent, with a setting that would fit."""
    servers = await start(6, matrices_mb=1)
    a = np.ones((400, 300))  # 0.96 MB
    with pytest.raises(ResourceExhausted) as caught:
        await _polydot((1, 1, 2), servers).matmul_async(a, a.T.copy())
    assert caught.value.reason == "no-memory"
    assert "(1, 1, 2) needs 2 MiB" in caught.value.message
    assert "would do with" in caught.value.message
    assert all(server.dispatcher.busy_s == 0 for server in servers)
    with pytest.raises(ResourceExhausted, match="more workers or memory"):
        await _polydot(None, servers).matmul_async(np.ones((2000, 2000)), np.ones((2000, 2000)))


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (
            (4, 1, 4),
            r"needs 16 workers, and there are 6. The nearest that works is "
            r"\(m, p, n\) = \(2, 1, 2\), for which any 4 of the 6 do.",
        ),
        ((3, 3, 3), r"needs 15 workers, and there are 6. The nearest that works is \(m, p, n\)"),
        ((16, 16, 16), "must be at least what conj"),
        ((0, 1, 2), "'blocks_m' must be a whole number in 1..64, not 0"),
    ],
)
async def test_settings_that_need_more_workers(start: Any, grid: Any, says: str) -> None:
    """The constraint is named, and the nearest setting that works, which does."""
    servers = await start(6)
    a, b = _operands(np.float64)
    with pytest.raises(InvalidArgument, match=says):
        await _polydot(grid, servers).matmul_async(a, b)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), "as many columns as B has rows"),
        (np.ones((2, 3)), np.ones((3, 2), np.float32), "one dtype"),
        (np.ones(3), np.ones((3, 2)), r"A must be a matrix of at least 1 entry, not of shape \[3"),
        (np.ones((2, 3), np.int64), np.ones((3, 2)), "A must be float32 or float64, not int64"),
        (np.ones((2, 3)), np.diag([1.0, np.inf, 1.0]), r"B must be finite, which entry \[1, 1\]"),
        ([[1.0]], np.ones((1, 1)), "A must be a NumPy array or a torch tensor, not list"),
    ],
)
async def test_bad_operands(start: Any, a: Any, b: Any, says: str) -> None:
    """Each in words that say which and what is accepted."""
    with pytest.raises(InvalidArgument, match=says):
        await _polydot((1, 1, 1), await start(2)).matmul_async(a, b)


async def test_limits_are_told() -> None:
    """Of a setting; without one they depend on the product."""
    workers = [f"127.0.0.1:{port}" for port in range(1, 9)]
    assert PolyDot(2, 1, 2, workers=workers).most_liars() == (3, 2)
    assert PolyDot(2, 1, 2, workers=workers).most_liars(erased=2) == (1, 1)
    with pytest.raises(KofnError, match="must be given"):
        PolyDot(workers=workers).most_liars()


def _polydot(grid: Any, servers: list[WorkerServer], **settings: Any) -> PolyDot:
    addresses = [server.address for server in servers]
    settings = {"timeout_s": PATIENCE_S, **settings}
    return PolyDot(*(grid or (None, None, None)), workers=addresses, **settings)


def _operands(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0)
    a, b = noise.standard_normal((37, 29)), noise.standard_normal((29, 41))
    return a.astype(dtype), b.astype(dtype)


def _error(product: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    truth = a.astype(np.float64) @ b.astype(np.float64)
    return float(np.linalg.norm(product - truth) / np.linalg.norm(truth))
