"""Matrices that a worker holds: products, steps, sketches, limits, faults, cancellation."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from kofn.wire import matrices_pb2 as pb
from kofn.wire import matrices_pb2_grpc
from kofn.wire.errors import KofnError, from_rpc_error
from kofn.wire.matrices import DTYPES, Filling, chunks, head_of, omega
from support.until import until
from worker.faults import Corruption, Delay, Failure, Faults, Injector
from worker.laws import Constant
from worker.server import WorkerServer

PATIENCE_S = 10.0
DTYPE_NAMES = sorted(DTYPES)


class Caller:
    """A caller of the service `Matrices`."""

    def __init__(self, channel: Any) -> None:
        self.stub: Any = matrices_pb2_grpc.MatricesStub(channel)

    async def put(self, name: str, array: np.ndarray, version: int = 0, part: int = 0) -> Any:
        ref = pb.MatrixRef(name=name, version=version, part=part)
        first = pb.PutMessage(put=pb.PutMatrix(matrix=ref, head=head_of(array)))
        rest = (pb.PutMessage(data=bytes(data)) for data in chunks(array))
        return await _settled(self.stub.Put(_sent(first, rest), timeout=PATIENCE_S))

    async def get(self, name: str, version: int = 0, **fields: Any) -> np.ndarray:
        part = fields.pop("part", 0)
        ref = pb.MatrixRef(name=name, version=version, part=part)
        request = pb.GetMatrixRequest(matrix=ref, **fields)
        return (await _read(self.stub.Get(request, timeout=PATIENCE_S)))[1]

    async def multiply(
        self, left: Any, right: Any, timeout: float = PATIENCE_S, **fields: Any
    ) -> tuple[pb.MatrixAnswer, np.ndarray]:
        operands = {}
        arrays = []
        for side, given in (("left", left), ("right", right)):
            operands[side] = given if isinstance(given, pb.Operand) else _operand(given)
            arrays += [] if isinstance(given, pb.Operand) else [given]
        first = pb.MultiplyMessage(multiply=pb.MultiplyRequest(**operands, **fields))
        rest = (pb.MultiplyMessage(data=bytes(data)) for array in arrays for data in chunks(array))
        return await _read(self.stub.Multiply(_sent(first, rest), timeout=timeout))

    async def update(
        self, name: str, step: int, outputs: np.ndarray, inputs: np.ndarray, **fields: Any
    ) -> pb.HeldMatrix:
        request = pb.UpdateRequest(
            name=name, step=step, outputs=head_of(outputs), inputs=head_of(inputs), **fields
        )
        rest = (
            pb.UpdateMessage(data=bytes(data))
            for array in (outputs, inputs)
            for data in chunks(array)
        )
        call = self.stub.Update(_sent(pb.UpdateMessage(update=request), rest), timeout=PATIENCE_S)
        held: pb.HeldMatrix = await _settled(call)
        return held

    async def sketch(self, name: str, version: int, seed: int, columns: int) -> np.ndarray:
        ref = pb.MatrixRef(name=name, version=version)
        request = pb.SketchRequest(matrix=ref, omega_seed=seed, columns=columns)
        return (await _read(self.stub.Sketch(request, timeout=PATIENCE_S)))[1]

    async def status(self) -> pb.MatricesStatus:
        request = pb.GetMatricesStatusRequest()
        status: pb.MatricesStatus = await self.stub.GetStatus(request, timeout=PATIENCE_S)
        return status


@pytest.fixture
def call(connect: Any) -> Any:
    """Connects a caller to a worker."""
    return lambda server: Caller(connect(server.address).channel)


@pytest.fixture
async def caller(call: Any, worker: WorkerServer) -> Caller:
    """A caller of one worker, as configured by default."""
    connected: Caller = call(worker)
    return connected


@pytest.mark.parametrize("datatype", DTYPE_NAMES)
async def test_products_of_held_and_sent_matrices(caller: Caller, datatype: str) -> None:
    """Held or sent, transposed or not, a complex one by a real one; large ones in many chunks."""
    a, b = _matrix(datatype, 600, 500), _matrix(datatype, 600, 300, seed=1)
    await caller.put("a", a)
    held = pb.Operand(held=pb.MatrixRef(name="a"), transpose=True)
    answer, c = await caller.multiply(held, b)
    assert (answer.head.datatype, answer.kept) == (datatype, False)
    np.testing.assert_allclose(c, a.T @ b, rtol=0, atol=_tolerance(datatype) * 600)
    real = np.ascontiguousarray(b.real)
    for left, right in ((a.T.copy(), real), (real.T.copy(), a)):
        _, mixed = await caller.multiply(left, right)
        np.testing.assert_allclose(mixed, left @ right, rtol=0, atol=_tolerance(datatype) * 600)
    np.testing.assert_array_equal(await caller.get("a"), a)


async def test_a_product_can_stay(caller: Caller) -> None:
    """It is held under the name that was asked for, and no bytes come back."""
    a = _matrix("FP64", 7, 5)
    keep = pb.MatrixRef(name="square", version=3)
    answer, _ = await caller.multiply(a, a.T.copy(), keep=keep)
    assert answer.kept
    # NumPy sees that it is symmetric, and may add up in another order.
    np.testing.assert_allclose(await caller.get("square", 3), a @ a.T, rtol=1e-13)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
async def test_steps_are_those_of_torch(caller: Caller, momentum: float) -> None:
    """Staged, committed by whoever names the version; repeated ones are done once."""
    w, rate, decay = _matrix("FP64", 6, 4), 0.1, 0.01
    weight = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimizer = torch.optim.SGD([weight], rate, momentum=momentum, weight_decay=decay)
    await caller.put("w", w)
    fields = {"rate": rate, "momentum": momentum, "weight_decay": decay}
    for step in range(1, 4):
        outputs, inputs = _matrix("FP64", 6, 2, seed=step), _matrix("FP64", 4, 2, seed=-step % 99)
        weight.grad = torch.from_numpy(outputs @ inputs.T)
        before = weight.detach().numpy().copy()
        optimizer.step()
        for _ in range(2):  # sent again: the same step, once
            held = await caller.update("w", step, outputs, inputs, **fields)
            assert held.staged
        if step == 2:  # not asked for between: the next step commits it
            continue
        np.testing.assert_allclose(await caller.get("w", step - 1), before, rtol=1e-14)
        np.testing.assert_allclose(await caller.get("w", step), weight.detach(), rtol=1e-14)
        held = await caller.update("w", step, outputs, inputs, **fields)
        assert (held.version, held.staged) == (step, False)
    v = await caller.get("w", 3, part=pb.MOMENTUM)
    expected = optimizer.state[weight].get("momentum_buffer")
    np.testing.assert_allclose(v, 0 * w if expected is None else expected, rtol=1e-13)


async def test_a_worker_that_missed_a_step_says_so(caller: Caller) -> None:
    """Replaying the steps brings it up to date; so does a matrix put with its momentum."""
    w, outputs, inputs = _matrix("FP32", 3, 2), _matrix("FP32", 3, 1), _matrix("FP32", 2, 1)
    await caller.put("w", w)
    with _refused("stale"):
        await caller.update("w", 2, outputs, inputs, rate=1.0)
    with _refused("stale"):
        await caller.get("w", 1)
    await caller.update("w", 1, outputs, inputs, rate=1.0)
    await caller.update("w", 2, outputs, inputs, rate=1.0)
    np.testing.assert_allclose(
        await caller.get("w", 2), w - 2 * outputs @ inputs.T, rtol=0, atol=1e-5
    )
    await caller.put("w", w, version=7)
    await caller.put("w", w, version=7, part=pb.MOMENTUM)
    np.testing.assert_array_equal(await caller.get("w", 7, part=pb.MOMENTUM), w)
    with _refused("no-matrix"):
        await caller.get("v")


async def test_sketches_are_in_double_precision(caller: Caller) -> None:
    """Whoever has the seed knows what was multiplied by."""
    w = _matrix("C64", 30, 20)
    await caller.put("w", w)
    sketch = await caller.sketch("w", 0, seed=5, columns=3)
    assert sketch.dtype == np.complex128
    np.testing.assert_allclose(sketch, w @ omega(5, 20, 3), rtol=0, atol=1e-12)


async def test_memory_is_bounded_and_given_back(start: Any, call: Any) -> None:
    """What does not fit is refused at the head; what is dropped makes room."""
    caller = call(await start(matrices_mb=1))
    half = np.zeros((256, 256))  # 2^19 bytes
    await caller.put("a", half)
    with _refused("no-memory"):
        await caller.put("b", np.zeros((257, 256)))
    with _refused("no-memory"):  # operand and answer
        await caller.multiply(half, pb.Operand(held=pb.MatrixRef(name="a")))
    await caller.update("a", 1, half[:, :1], half[:, :1].copy(), rate=0.1)
    with _refused("no-memory"):  # a momentum
        await caller.update("a", 2, half[:, :1], half[:, :1].copy(), rate=0.1, momentum=0.9)
    status = await caller.status()
    assert status.declared_bytes == 2**20
    assert status.used_bytes == 2**19 + 2 * 256 * 8 == status.matrices[0].bytes
    await caller.stub.Drop(pb.DropRequest(prefix="a"), timeout=PATIENCE_S)
    assert (await caller.status()).used_bytes == 0
    await caller.put("b", np.zeros((257, 256)))


@pytest.mark.parametrize(
    ("left", "right", "says"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), "as many columns"),
        (np.ones((2, 3)), np.ones((3, 2), np.float32), "one precision"),
        (np.ones((2, 3)), np.full((3, 2), np.nan), "right must be finite"),
    ],
)
async def test_bad_operands_are_refused(
    caller: Caller, left: np.ndarray, right: np.ndarray, says: str
) -> None:
    """In words that say which, and nothing is left behind."""
    with pytest.raises(KofnError, match=says):
        await caller.multiply(left, right)
    assert (await caller.status()).used_bytes == 0


async def test_bad_messages_are_refused(caller: Caller) -> None:
    """Too few bytes, too many, no head, no datatype."""
    head = head_of(np.ones((2, 2)))
    put = pb.PutMessage(put=pb.PutMatrix(matrix=pb.MatrixRef(name="a"), head=head))
    strange = pb.PutMatrix(matrix=pb.MatrixRef(name="a"), head=pb.MatrixHead(datatype="BF16"))
    for messages, says in (
        ([put, pb.PutMessage(data=b"1234")], "32 bytes, not 4"),
        ([put, pb.PutMessage(data=bytes(40))], "no bytes after"),
        ([pb.PutMessage(data=bytes(32))], "must open with"),
        ([pb.PutMessage(put=strange)], "BF16"),
        ([put, put], "Only bytes"),
    ):
        with pytest.raises(KofnError, match=says):
            await _settled(_put(caller, messages))
    assert not (await caller.status()).matrices


def _put(caller: Caller, messages: list[pb.PutMessage]) -> Any:
    return caller.stub.Put(_sent(messages[0], iter(messages[1:])), timeout=PATIENCE_S)


@pytest.mark.parametrize("law", ["gaussian", "sign-flip", "swap", "bit-flip"])
@pytest.mark.parametrize("datatype", ["FP32", "C128"])
async def test_injected_corruption(
    worker: WorkerServer, caller: Caller, law: Any, datatype: str
) -> None:
    """Every law makes a product wrong, the same seed in the same way; the matrix stays right."""
    a, b = _matrix(datatype, 8, 8), _matrix(datatype, 8, 8, seed=1)
    truth = a @ b
    await caller.put("a", a)
    held = pb.Operand(held=pb.MatrixRef(name="a"))
    worker.dispatcher._injector = Injector(Faults(corruption=Corruption(law)), "w")
    _, first = await caller.multiply(held, b, seed=3)
    _, again = await caller.multiply(held, b, seed=3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, truth)
    worker.dispatcher._injector = Injector(Faults(), "w")
    np.testing.assert_allclose((await caller.multiply(held, b))[1], truth, rtol=0, atol=1e-5)


async def test_swap_answers_with_another_block(worker: WorkerServer, caller: Caller) -> None:
    """That is what makes it hard to see: it is a product that would be right elsewhere."""
    worker.dispatcher._injector = Injector(Faults(corruption=Corruption("swap")), "w")
    a, b = _matrix("FP64", 4, 4), _matrix("FP64", 4, 4, seed=1)
    await caller.multiply(a, a)
    _, told = await caller.multiply(a, b)
    np.testing.assert_allclose(told, a @ a, rtol=1e-14)


async def test_a_corrupted_step_stays(worker: WorkerServer, caller: Caller) -> None:
    """Where the faults say so, and only there: by default steps are right."""
    w, outputs, inputs = _matrix("FP64", 4, 4), _matrix("FP64", 4, 1), _matrix("FP64", 4, 1)
    for probability, is_right in ((0.0, True), (1.0, False)):
        lie = Corruption("gaussian", 0.0, 1.0, probability)
        worker.dispatcher._injector = Injector(Faults(corruption=lie), "w")
        await caller.put("w", w)
        await caller.update("w", 1, outputs, inputs, rate=1.0)
        left = await caller.get("w", 1)
        assert np.allclose(left, w - outputs @ inputs.T) == is_right
        np.testing.assert_array_equal(left, await caller.get("w", 1))


async def test_a_refused_and_a_dropped_operation(worker: WorkerServer, caller: Caller) -> None:
    """The one says so; the other is never answered, and ends with its caller's patience."""
    a = np.ones((2, 2))
    worker.dispatcher._injector = Injector(Faults(failure=Failure("refuse", None, 1.0)), "w")
    with _refused("injected"):
        await caller.multiply(a, a)
    worker.dispatcher._injector = Injector(Faults(failure=Failure("drop", None, 1.0)), "w")
    with pytest.raises(KofnError, match="Deadline"):
        await caller.multiply(a, a, timeout=0.3)
    await until(lambda: worker.dispatcher._others == 0)
    assert (await caller.status()).used_bytes == 0


async def test_a_broken_connection_and_a_hang(worker: WorkerServer, caller: Caller) -> None:
    """A disconnect breaks what is in hand; a hang holds everything until faults are cleared."""
    a = np.ones((2, 2))
    late = Faults(delay=Delay(Constant(30.0), interruptible=True))
    worker.dispatcher._injector = Injector(late, "w")
    waiting = asyncio.ensure_future(caller.multiply(a, a))
    await until(lambda: worker.dispatcher._others == 1)
    worker.dispatcher.fail_now("disconnect")
    with _refused("connection-lost"):
        await waiting
    worker.dispatcher._injector = Injector(Faults(), "w")
    worker.dispatcher.fail_now("hang")
    waiting = asyncio.ensure_future(caller.multiply(a, a))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.2)
    worker.dispatcher.awake.set()
    np.testing.assert_array_equal((await waiting)[1], a @ a)


async def test_a_cancelled_operation_frees_the_device(worker: WorkerServer, caller: Caller) -> None:
    """An interruptible delay ends with its call, and the next one has the device."""
    late = Faults(delay=Delay(Constant(30.0), interruptible=True))
    worker.dispatcher._injector = Injector(late, "w")
    a = np.ones((2, 2))
    with pytest.raises(KofnError, match="Deadline"):
        await caller.multiply(a, a, timeout=0.2)
    worker.dispatcher._injector = Injector(Faults(), "w")
    np.testing.assert_array_equal((await caller.multiply(a, a))[1], a @ a)
    await until(lambda: worker.dispatcher._others == 0)


async def test_the_seed_of_a_step_is_what_its_fault_is_drawn_from() -> None:
    """A tenth of the seeds are corrupted, and always the same ones."""
    lie = Corruption("sign-flip", 0.0, update_probability=0.1)
    value = [np.ones((1, 1))]
    wrong = [
        {seed for seed in range(1000) if injector.corrupt_update(seed, value) is not value}
        for injector in (Injector(Faults(corruption=lie), "w") for _ in range(2))
    ]
    assert wrong[0] == wrong[1]
    assert 70 < len(wrong[0]) < 130


def _matrix(datatype: str, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed)
    matrix = noise.standard_normal((rows, columns)) + 1j * noise.standard_normal((rows, columns))
    is_complex = datatype.startswith("C")
    return (matrix if is_complex else matrix.real).astype(DTYPES[datatype])


def _tolerance(datatype: str) -> float:
    return 1e-6 if datatype in ("FP32", "C64") else 1e-14


def _operand(array: np.ndarray) -> pb.Operand:
    return pb.Operand(sent=head_of(array))


async def _sent(first: Any, rest: Iterator[Any]) -> AsyncIterator[Any]:
    yield first
    for message in rest:
        yield message


async def _settled(call: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def _read(call: Any) -> tuple[pb.MatrixAnswer, np.ndarray]:
    try:
        answer = (await call.read()).answer
        filling = Filling("answer", answer.head)
        while not answer.kept and not filling.is_full:
            filling.take((await call.read()).data)
        assert await call.read() is grpc.aio.EOF
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    return answer, filling.array


@contextlib.contextmanager
def _refused(reason: str) -> Iterator[None]:
    with pytest.raises(KofnError) as caught:
        yield
    assert caught.value.reason == reason
