"""The device: one thread that runs a batch at a time, and spends the injected delays in service.

Blocking work lives here and nowhere else, so that a delay makes tasks queue up behind it as real
slowness would. Does not choose what runs (`queue.py`) nor who hears of it (`dispatch.py`).
"""

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import structlog
import torch

from kofn.wire.errors import FailedPrecondition, Internal, InvalidArgument, KofnError
from models.programs import TORCH_DTYPES, Program
from worker.faults import Injector

Array = npt.NDArray[Any]
LAST_KEPT = 64  # programs whose last results are kept
MOST_TOLD = 16  # tasks in one log line
LONGEST_WAIT_S = 86_400.0  # of one wait, which heavy tails of delay laws can exceed

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Delayed(Protocol):
    """What may be late on the device: a job, or an operation on matrices."""

    seed: int
    is_cancelled: bool


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with outputs, or with an error.

    Attributes:
        outputs: one array [g, ...] for each of the program's outputs.
        program: content hash of the one that made them.
        error: why there are none.
        queue_s: waited for the device.
        service_s: on the device, injected delay included.
    """

    outputs: Sequence[Array] = ()
    program: str = ""
    error: KofnError | None = None
    queue_s: float = 0.0
    service_s: float = 0.0


@dataclass(eq=False)
class Job:
    """One task with its tensors, from its arrival to its outcome.

    Attributes:
        ticket, owner: as of `queue.Waiting`.
        inputs: one array [g, ...] for each of the program's inputs, as checked by `check_inputs`.
        seed: of its faults.
        batch, traceparent: the master's number of the coded batch, and its trace context; for logs
            and spans.
        arrived_s, due_s: monotonic time.
        then: told the outcome, once, on the event loop, unless the task is cancelled first.
        released: told, once, that nothing of a task runs any more that `then` is told nothing of.
        is_cancelled: written by the event loop only; the device thread reads it.
    """

    ticket: Hashable
    owner: Hashable
    program: Program
    inputs: list[Array]
    seed: int
    arrived_s: float
    due_s: float
    then: Callable[[Outcome], None]
    batch: int = 0
    traceparent: str = ""
    released: Callable[[], None] = lambda: None
    is_cancelled: bool = field(default=False, init=False)

    @property
    def rows(self) -> int:
        """Coding groups, at least 1."""
        return len(self.inputs[0])

    def about(self) -> dict[str, Any]:
        """What a log line says of it: its batch, and its trace where it has one."""
        trace = self.traceparent.split("-")[1:2]
        return {"batch": self.batch, **({"trace": trace[0]} if trace else {})}


class Runner:
    """The device thread.

    Args:
        device: of the programs that will be run.
        threads: of torch, within a forward pass.
        precision: in which torch multiplies; half of it where torch knows that to be safe.

    Raises:
        FailedPrecondition: there is no such device.
    """

    def __init__(self, device: str, threads: int, precision: str = "float32") -> None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise FailedPrecondition(f"Device {device!r} cannot be used: {error}") from error
        self._thread = ThreadPoolExecutor(
            1, "device", initializer=torch.set_num_threads, initargs=(threads,)
        )
        self._device = torch.device(device)
        self._precision: torch.dtype = getattr(torch, precision)
        self._stirred = threading.Event()  # set when a delay under way may have become shorter
        self._is_closing = False
        # Each program's last true results, its last row: what "swap" answers a lone row with.
        self._last: dict[str, list[Array]] = {}

    async def run(self, jobs: Sequence[Job], injector: Injector) -> list[Outcome]:
        """Run jobs of one program as one batch; one outcome each, without waiting times.

        The batch takes as long as its slowest job is delayed, and then the forward pass.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._serve, jobs, injector)

    async def perform(
        self, one: Delayed, work: Callable[[], T], injector: Injector
    ) -> tuple[T | None, float]:
        """Do other work than programs, after its delay; None where it was cancelled meanwhile.

        Returns:
            What it gives, and the seconds in service, delay included.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._perform, one, work, injector)

    def _perform(
        self, one: Delayed, work: Callable[[], T], injector: Injector
    ) -> tuple[T | None, float]:
        start_s = monotonic()
        self._wait([one], injector, start_s)
        with torch.inference_mode():
            done = None if one.is_cancelled else work()
        return done, monotonic() - start_s

    def stir(self) -> None:
        """A job was cancelled: an interruptible delay may end."""
        self._stirred.set()

    async def close(self) -> None:
        """End the thread, cutting a delay short; a forward pass under way is waited for."""
        self._is_closing = True
        self._stirred.set()
        await asyncio.to_thread(self._thread.shutdown)

    def _serve(self, jobs: Sequence[Job], injector: Injector) -> list[Outcome]:
        start_s = monotonic()
        self._wait(jobs, injector, start_s)
        wanted = [job for job in jobs if not job.is_cancelled]
        results = self._results(wanted) if wanted else {}
        service_s = monotonic() - start_s
        outcomes = []
        for job in jobs:
            result = results.get(id(job), [])
            if isinstance(result, KofnError):
                outcomes.append(Outcome(error=result, service_s=service_s))
                continue
            if result:
                before = self._last.get(job.program.hash, [])
                self._remember(job.program.hash, [array[-1:].copy() for array in result])
                result = injector.corrupt(job.seed, result, before)
            outcomes.append(Outcome(result, job.program.hash, service_s=service_s))
        return outcomes

    def _remember(self, program: str, result: list[Array]) -> None:
        self._last.pop(program, None)
        self._last[program] = result
        if len(self._last) > LAST_KEPT:
            del self._last[next(iter(self._last))]  # of the program that ran longest ago

    def _wait(self, jobs: Sequence[Delayed], injector: Injector, start_s: float) -> None:
        """Spend the delays of a batch."""
        delay = injector.faults.delay
        if delay is None:
            return
        delays_s = [injector.delay_s(job.seed) for job in jobs]
        while not self._is_closing:
            self._stirred.clear()  # first, so that a cancellation from here on is noticed
            left_s = (
                start_s
                - monotonic()
                + max(
                    (
                        delay_s
                        for job, delay_s in zip(jobs, delays_s, strict=True)
                        if not (delay.interruptible and job.is_cancelled)
                    ),
                    default=0.0,
                )
            )
            if left_s <= 0:
                return
            self._stirred.wait(min(left_s, LONGEST_WAIT_S))

    def _results(self, jobs: Sequence[Job]) -> dict[int, list[Array] | KofnError]:
        """Outputs or error of each job, by its identity."""
        bad = {
            id(job): InvalidArgument(f"Input {name!r} must be finite.", "not-finite")
            for job, name in _non_finite(jobs)
        }
        jobs = [job for job in jobs if id(job) not in bad]
        if not jobs:
            return dict(bad)
        program = jobs[0].program
        try:
            joined = [
                self._joined([job.inputs[i] for job in jobs]) for i in range(len(program.inputs))
            ]
            with self._multiplying():
                given = program(joined)
            outputs = [
                tensor.to("cpu", TORCH_DTYPES[spec.datatype]).numpy()
                for tensor, spec in zip(given, program.outputs, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - torch raises anything; the worker lives on
            told = [job.about() for job in jobs[:MOST_TOLD]]
            log.error("program-failed", program=program.hash, tasks=told, error=str(error))
            failed = Internal(f"The program failed: {error}", "program-failed")
            return {**bad, **{id(job): failed for job in jobs}}
        ends = np.cumsum([job.rows for job in jobs])
        parts = [np.split(array, ends[:-1]) for array in outputs]
        return {**bad, **{id(job): [part[i] for part in parts] for i, job in enumerate(jobs)}}

    def _joined(self, arrays: Sequence[Array]) -> torch.Tensor:
        """The batch on the device, in one copy, also of a job alone: its arrays are read-only
        views of a message's bytes. A GPU fetches it from pinned memory without a second one."""
        shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
        dtype = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
        batch = torch.empty(shape, dtype=dtype, pin_memory=self._device.type == "cuda")
        np.concatenate(arrays, out=batch.numpy())
        return batch.to(self._device, non_blocking=True)

    def _multiplying(self) -> AbstractContextManager[Any]:
        if self._precision is torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._precision)


def check_inputs(program: Program, inputs: Sequence[Array]) -> None:
    """Raise InvalidArgument unless these arrays, [g, ...] each, are what the program takes."""
    if len(inputs) != len(program.inputs):
        raise InvalidArgument(f"The program takes {len(program.inputs)} inputs, not {len(inputs)}.")
    rows = len(inputs[0]) if inputs[0].ndim else 0
    for array, spec in zip(inputs, program.inputs, strict=True):
        if rows < 1 or array.shape != (rows, *spec.shape):
            raise InvalidArgument(
                f"Input {spec.name!r} must have shape {['g', *spec.shape]} with one g >= 1 for all "
                f"inputs, not {list(array.shape)}."
            )


def _non_finite(jobs: Sequence[Job]) -> list[tuple[Job, str]]:
    """Jobs with an infinity or NaN in an input, and that input's name."""
    return [
        (job, spec.name)
        for job in jobs
        for array, spec in zip(job.inputs, job.program.inputs, strict=True)
        if array.dtype.kind == "f" and not np.isfinite(array).all()
    ]
