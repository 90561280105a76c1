"""The device thread: delays in service, batches split again, errors that harm nobody else."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import numpy as np
import pytest
import torch

from kofn.wire.errors import FailedPrecondition, Internal, InvalidArgument
from models.programs import Program, export_program, load_program
from worker.faults import Delay, Faults, Injector
from worker.laws import Constant
from worker.runner import Job, Runner


@pytest.fixture
async def runner() -> AsyncIterator[Runner]:
    """A runner on the processor."""
    made = Runner("cpu", 1)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def program(doubled: object) -> Program:
    """The program that doubles, loaded."""
    return load_program(doubled.data)  # type: ignore[attr-defined]


def job(program: Program, shard: np.ndarray) -> Job:
    """A job that nobody hears of."""
    return Job(object(), None, program, [shard], 0, 0.0, 0.0, lambda outcome: None)


def late(delay_s: float, interruptible: bool) -> Injector:
    """Faults of one constant delay."""
    return Injector(Faults(delay=Delay(Constant(delay_s), 1.0, interruptible)), "w")


async def test_a_delay_is_spent(runner: Runner, program: Program) -> None:
    """In full, also when its job is cancelled, unless it may be interrupted."""
    cancelled = job(program, np.ones((1, 3), np.float32))
    cancelled.is_cancelled = True
    (outcome,) = await runner.run([cancelled], late(0.05, interruptible=False))
    assert outcome.service_s >= 0.05
    assert not outcome.outputs
    start_s = monotonic()
    await runner.run([cancelled], late(600.0, interruptible=True))
    assert monotonic() - start_s < 60


async def test_a_cancellation_ends_a_delay(runner: Runner, program: Program) -> None:
    """When no job of the batch is left that wants it."""
    jobs = [job(program, np.ones((1, 3), np.float32)) for _ in range(2)]
    running = asyncio.create_task(runner.run(jobs, late(600.0, interruptible=True)))
    for each in jobs:
        assert not running.done()
        each.is_cancelled = True
        runner.stir()
    async with asyncio.timeout(10):
        outcomes = await running
    assert [outcome.outputs for outcome in outcomes] == [[], []]


async def test_closing_ends_a_delay(program: Program) -> None:
    """So that a worker can leave."""
    runner = Runner("cpu", 1)
    each = job(program, np.ones((1, 3), np.float32))
    running = asyncio.create_task(runner.run([each], late(600.0, interruptible=False)))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await runner.close()
        await running


async def test_a_bad_job_fails_alone(runner: Runner, program: Program) -> None:
    """Infinite inputs are told; the batch's others are answered."""
    shards = [np.full((2, 3), value, np.float32) for value in (1, np.inf, 3)]
    outcomes = await runner.run([job(program, shard) for shard in shards], Injector(Faults(), "w"))
    assert isinstance(outcomes[1].error, InvalidArgument)
    np.testing.assert_array_equal(outcomes[0].outputs[0], 2 * shards[0])
    np.testing.assert_array_equal(outcomes[2].outputs[0], 2 * shards[2])


async def test_a_program_that_fails_is_told(
    runner: Runner, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job hears of it, and the next batch is run."""

    def broken(*inputs: torch.Tensor) -> torch.Tensor:
        raise IndexError("planted")

    jobs = [job(program, np.ones((1, 3), np.float32)) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(program, "_run", broken)
        outcomes = await runner.run(jobs, Injector(Faults(), "w"))
    assert all(isinstance(outcome.error, Internal) for outcome in outcomes)
    assert not (await runner.run(jobs, Injector(Faults(), "w")))[0].error


async def test_half_precision_is_near_and_leaves_in_the_program_s_datatype() -> None:
    """Products in bfloat16 round to 8 bits, in float16 to 11; outputs are float32 all the same."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    program = load_program(export_program(network, torch.zeros(2, 64)))
    shard = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    given = {}
    for precision in ("float32", "bfloat16", "float16"):
        runner = Runner("cpu", 1, precision)
        try:
            (outcome,) = await runner.run([job(program, shard)], Injector(Faults(), "w"))
        finally:
            await runner.close()
        (given[precision],) = outcome.outputs
        assert given[precision].dtype == np.float32
    size = np.abs(given["float32"]).max()
    far = {name: np.abs(given[name] - given["float32"]).max() / size for name in given}
    assert 0 < far["float16"] < far["bfloat16"] < 2**-5


def test_a_device_that_is_not_there() -> None:
    """Is told at once."""
    with pytest.raises(FailedPrecondition, match="Device 'cuda:77' cannot be used"):
        Runner("cuda:77", 1)
