"""What the master adds to a fan-out: time and CPU a coded batch, against two floors in one run.

The floors send the same payloads to the same processes: over the same gRPC streams with no code
and no deciding, and over raw asyncio sockets. All three wait for all n results. One batch is in
flight at a time; the variants take turns, so that a busy moment of the machine hits all of them.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from statistics import median
from time import monotonic, perf_counter, process_time
from typing import Any

import grpc
import numpy as np
import torch

import codes
from bench.echo import HEADER, PROGRAM
from bench.records import provenance
from bench.spans import tracer_to_nowhere
from kofn.wire import channels, worker_pb2, worker_pb2_grpc
from kofn.wire.tensors import to_wire
from master.binding import Binding
from master.config import DeploymentConfig
from master.deployment import Deployment
from master.encoding import Encoder
from master.pool import Pool
from master.query import Caller, Wishes
from models.programs import TensorSpec

IMAGES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
CLASSES = 10
HOSTS = 2  # processes that share the n echo workers
CONNECT_S = 30.0
BATCH_S = 10.0  # no batch takes that long

Batch = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Cost:
    """Medians over rounds, microseconds a coded batch."""

    wall_us: float
    cpu_us: float


@dataclass(frozen=True)
class Overhead:
    """One row of the table."""

    n: int
    k: int
    code: str
    image: str
    groups: int
    coded: Cost
    bare_grpc: Cost
    raw_sockets: Cost
    coding_share: float  # encode and decode, of the master's CPU
    time_ratio_grpc: float  # medians of the rounds' ratios
    time_ratio_sockets: float
    cpu_ratio_grpc: float
    cpu_ratio_sockets: float
    cpu_ratio_traced: float | None = None  # with every batch traced, to without tracing
    cpu_ratio_unsampled: float | None = None  # with tracing on and nothing sampled, likewise


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Args:
        name: of the code. "parity" has its own answers and decodes nothing here; "berrut" decodes
            every answer of every batch.
        n: slots; k is three quarters of them, or n - 4 where that is more: averages have at most
            four parities.
        image: a key of IMAGES, the shape of a query.
        groups: coding groups in a batch, the images in a slot.
        rounds: turns of each variant; `batches` in each.
        is_traced: two variants more, with tracing on.
    """

    name: str
    n: int
    image: str
    groups: int
    rounds: int
    batches: int
    is_traced: bool = False


async def measure(setting: Setting) -> Overhead:
    """Run the three variants in turns."""
    n, image, groups = setting.n, setting.image, setting.groups
    k = max(3 * n // 4, n - 4)
    code = codes.make(setting.name, k=k, n=n)
    shape = IMAGES[image]
    rows = np.random.default_rng(0).random((k * groups, *shape), np.float32)
    async with contextlib.AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(_host(n // HOSTS, n // HOSTS * i, groups))
            for i in range(HOSTS)
        ]
        workers = [address for host in hosts for address in host["workers"]]
        shards = code.encode(torch.from_numpy(rows).reshape(groups, k, *shape))
        variants = {
            "coded": await stack.enter_async_context(_coded(code, shape, rows, workers)),
            "bare_grpc": await stack.enter_async_context(_bare(shards, workers)),
            "raw_sockets": await stack.enter_async_context(
                _sockets(shards, [host["socket"] for host in hosts])
            ),
        }
        if setting.is_traced:
            for name, share in (("traced", 1.0), ("unsampled", 0.0)):
                with_spans = _coded(code, shape, rows, workers, share)
                variants[name] = await stack.enter_async_context(with_spans)
        for batch in variants.values():  # the first ones open connections and fill caches
            for _ in range(20):
                await asyncio.wait_for(batch(), BATCH_S)
        seen: dict[str, list[Cost]] = {name: [] for name in variants}
        for _ in range(setting.rounds):
            for name, batch in variants.items():
                seen[name].append(await _cost(batch, setting.batches))
    coding_us = _coding_us(code, rows, shape, groups)
    costs = {
        name: Cost(median(c.wall_us for c in seen[name]), median(c.cpu_us for c in seen[name]))
        for name in ("coded", "bare_grpc", "raw_sockets")
    }

    def ratio(floor: str, field: str, of: str = "coded") -> float:
        pairs = zip(seen[of], seen[floor], strict=True)
        return float(median(getattr(a, field) / getattr(b, field) for a, b in pairs))

    return Overhead(
        n=n,
        k=k,
        code=setting.name,
        image=image,
        groups=groups,
        **costs,
        coding_share=coding_us / costs["coded"].cpu_us,
        time_ratio_grpc=ratio("bare_grpc", "wall_us"),
        time_ratio_sockets=ratio("raw_sockets", "wall_us"),
        cpu_ratio_grpc=ratio("bare_grpc", "cpu_us"),
        cpu_ratio_sockets=ratio("raw_sockets", "cpu_us"),
        cpu_ratio_traced=ratio("coded", "cpu_us", "traced") if setting.is_traced else None,
        cpu_ratio_unsampled=ratio("coded", "cpu_us", "unsampled") if setting.is_traced else None,
    )


def record(row: Overhead) -> dict[str, Any]:
    """A row with its provenance, as one JSON object of bench/results/overhead.jsonl."""
    return {"table": "overhead", **asdict(row), **provenance()}


async def _cost(batch: Batch, batches: int) -> Cost:
    walls = []
    cpu = process_time()
    for _ in range(batches):
        began = perf_counter()
        await asyncio.wait_for(batch(), BATCH_S)
        walls.append(perf_counter() - began)
    return Cost(1e6 * median(walls), 1e6 * (process_time() - cpu) / batches)


def _coding_us(code: codes.Code, rows: np.ndarray, shape: tuple[int, ...], groups: int) -> float:
    """CPU microseconds of one encode, and of one decode of what has no own slot."""
    queries = torch.from_numpy(rows).reshape(groups, code.k, *shape)
    results = [torch.zeros(groups, CLASSES) for _ in range(code.n)]
    lost = [j for j, own in enumerate(code.own_slots) if not own]
    times = []
    for _ in range(200):
        cpu = process_time()
        code.encode(queries)
        if lost:
            code.decode(results, range(code.n), lost)
        times.append(process_time() - cpu)
    return 1e6 * median(times)


@contextlib.asynccontextmanager
async def _host(count: int, first: int, groups: int) -> AsyncIterator[dict[str, Any]]:
    arguments = {"count": count, "first": first, "answer": CLASSES, "groups": groups}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.echo",
        *(f"--{name}={value}" for name, value in arguments.items()),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None  # asked for above
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), CONNECT_S)
        yield json.loads(line)
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), CONNECT_S)


@contextlib.asynccontextmanager
async def _coded(
    code: codes.Code,
    shape: tuple[int, ...],
    rows: np.ndarray,
    workers: list[str],
    sampled: float | None = None,
) -> AsyncIterator[Batch]:
    """The master's own way, from rows to answers, below the client's protocol.

    Args:
        sampled: share of requests that are traced; None is tracing off.
    """
    tracer = None if sampled is None else tracer_to_nowhere(sampled)
    groups = len(rows) // code.k
    config = DeploymentConfig.model_validate(
        {
            "name": "overhead",
            "program": "echo",
            "code": {"name": code.name, "k": code.k, "n": code.n},
            "policy": {"wait": "all"},
            "batching": {"max_groups": groups, "max_request_rows": len(rows)},
        }
    )
    binding = Binding(
        code=code,
        encoder=Encoder(code),
        model=PROGRAM,
        programs=dict.fromkeys(code.roles, PROGRAM),
        archives={},
        query=TensorSpec("input", "FP32", shape),
        answer=TensorSpec("logits", "FP32", (CLASSES,)),
        classes=(),
    )
    pool = Pool(workers, lambda kind, subject, detail: None)
    running = asyncio.create_task(pool.run())
    try:
        if not await pool.wait_for_workers(len(workers), CONNECT_S):
            raise TimeoutError(
                f"only {pool.workers_up} of {len(workers)} echo workers were reached"
            )
        deployment = Deployment(config, binding, pool, tracer)

        async def batch() -> None:
            wishes = Wishes(deadline=monotonic() + BATCH_S)
            span = None if tracer is None else tracer.start_span("request")
            await deployment.infer(rows, wishes, deployment.policy, Caller("", span))
            if span is not None:
                span.end()

        yield batch
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def _bare(shards: list[torch.Tensor], workers: list[str]) -> AsyncIterator[Batch]:
    """The same messages on the same kind of streams, written and counted, nothing else."""
    opened = [channels.worker_channel(address, None) for address in workers]
    calls = [worker_pb2_grpc.WorkerStub(channel).Work() for channel in opened]
    for call in calls:
        await asyncio.wait_for(call.read(), CONNECT_S)  # the greeting

    async def one(call: "grpc.aio.StreamStreamCall[object, object]", shard: torch.Tensor) -> None:
        task = worker_pb2.Task(id=1, program=PROGRAM, inputs=[to_wire(shard.numpy())])
        await call.write(worker_pb2.ToWorker(task=task))
        await call.read()

    async def batch() -> None:
        await asyncio.gather(*map(one, calls, shards))

    try:
        yield batch
    finally:
        for call in calls:
            call.cancel()
        for channel in opened:
            await channel.close(None)


@contextlib.asynccontextmanager
async def _sockets(shards: list[torch.Tensor], ports: list[int]) -> AsyncIterator[Batch]:
    """The same bytes over plain TCP, one connection a slot."""
    ends = [
        await asyncio.open_connection("127.0.0.1", ports[slot % len(ports)])
        for slot in range(len(shards))
    ]

    async def one(
        end: tuple[asyncio.StreamReader, asyncio.StreamWriter], shard: torch.Tensor
    ) -> None:
        reader, writer = end
        payload = shard.numpy().tobytes()
        writer.write(HEADER.pack(len(payload)))
        writer.write(payload)
        await writer.drain()
        (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        await reader.readexactly(length)

    async def batch() -> None:
        await asyncio.gather(*map(one, ends, shards))

    try:
        yield batch
    finally:
        for _, writer in ends:
            writer.close()
            await writer.wait_closed()
