"""Ray Serve as a baseline: started beside the cluster, asked in turns with its systems."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import psutil

import kofn
from bench.load.driving import Server
from bench.sweep.counters import Counters, cpu_s, memory_mib
from bench.sweep.plan import System
from bench.sweep.text import ContentionText
from models.programs import load_program
from worker.faults_text import FaultsText

SERVICER = "kofn.wire.inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"
CALL_S = 10.0
SETTLE_S = 5.0
LOOK_AGAIN_S = 0.05
STORE_BYTES = 80 * 2**20
FRONT = ("ray::ServeReplica:default:Ingress", "ray::ProxyActor")  # beside them the master stands
REPLICA = "ray::ServeReplica:default:Replica"


class RayServe:
    """Ray Serve with the model, ready to be asked; see `bench.sweep.subjects.Subject`."""

    def __init__(
        self, system: System, server: Server, ingress: Any, tally: Any, ask: Callable[[Any], Any]
    ) -> None:
        self.system = system
        self.server = server
        self._ingress = ingress
        self._tally = tally
        self._ask = ask

    def disturbed(
        self, straggler: FaultsText | ContentionText, seed: int
    ) -> AbstractAsyncContextManager[None]:
        """Nothing to do: the faults come with each request (`asked`)."""
        return nullcontext()

    def asked(self, straggler: FaultsText | ContentionText, seed: int) -> Server:
        """See `Subject`."""
        assert isinstance(straggler, FaultsText)  # a plan with another is refused
        faults = straggler.model_copy(update={"seed": seed}).json_text()
        return replace(self.server, parameters={"faults": faults})

    async def settle(self) -> None:
        """See `Subject`; rows that nobody waited for are done by then, or never."""
        try:
            async with asyncio.timeout(SETTLE_S):
                # It tells nobody.
                while (await self._told())[0] < (await self._sent())[0]:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_AGAIN_S)
        except TimeoutError:
            return  # those that were cancelled before a replica took them are never done

    async def counters(self) -> Counters:
        """See `Subject`; a row is a task, a batch and a group."""
        (sent, sent_bytes), (_, busy_s) = await self._sent(), await self._told()
        spent = sum(cpu_s(process.pid) for process in await asyncio.to_thread(_named, *FRONT))
        return Counters(sent, sent, sent, busy_s, sent_bytes, spent)

    async def memory_mib(self) -> tuple[float | None, float | None]:
        """See `Subject`: of proxy and ingress together, and of the largest replica."""

        def of(*names: str) -> list[float]:
            found = [memory_mib(process.pid) for process in _named(*names)]
            return [size for size in found if size is not None]

        front, replicas = await asyncio.to_thread(of, *FRONT), await asyncio.to_thread(of, REPLICA)
        return sum(front) or None, max(replicas, default=None)

    async def _sent(self) -> tuple[int, int]:
        sent: tuple[int, int] = await asyncio.to_thread(
            lambda: self._ingress.sent.remote().result(timeout_s=CALL_S)
        )
        return sent

    async def _told(self) -> tuple[int, float]:
        told: tuple[int, float] = await asyncio.to_thread(self._ask, self._tally.told.remote())
        return told


@asynccontextmanager
async def serving(
    system: System, archive: bytes, replicas: int, deadline_s: float
) -> AsyncIterator[RayServe]:
    """Start Ray and Ray Serve here; both end with the context.

    Raises:
        FailedPrecondition: the package is not installed.
        Unavailable: it did not start.
    """
    check_installed()
    try:
        try:
            started = await asyncio.to_thread(_start, archive, replicas)
        except Exception as error:  # Ray raises bare ones, such as when a node is slow
            raise kofn.Unavailable(f"Ray Serve did not start: {error}") from error
        ray, ingress, tally, port = started
        yield RayServe(
            system,
            Server(f"127.0.0.1:{port}", "ray-serve", deadline_s),
            ingress,
            tally,
            lambda what: ray.get(what, timeout=CALL_S),
        )
    finally:
        await asyncio.to_thread(_stop)


def check_installed() -> None:
    """Raise FailedPrecondition where Ray Serve is not there."""
    if find_spec("ray") is None or find_spec("starlette") is None:  # without, only Ray's core
        raise kofn.FailedPrecondition("Ray Serve is not installed: pip install 'kofn[ray-serve]'.")


def _start(archive: bytes, replicas: int) -> tuple[Any, Any, Any, int]:
    import ray
    from ray import serve

    from bench.sweep.ray_app import Tally, application

    program = load_program(archive)
    port = _free_port()
    ray.init(
        address="local", num_cpus=1, object_store_memory=STORE_BYTES, include_dashboard=False,
        log_to_driver=False, logging_level=logging.ERROR,
    )  # fmt: skip
    serve.start(
        http_options={"host": "127.0.0.1", "port": _free_port()},  # its proxy serves gRPC, too
        grpc_options={"port": port, "grpc_servicer_functions": [SERVICER]},
        logging_config={"log_level": "ERROR", "enable_access_log": False},
    )
    tally = Tally.remote()  # type: ignore[attr-defined]
    query, classes = list(program.inputs[0].shape), int(program.outputs[0].shape[0])
    ingress = serve.run(application(archive, tally, replicas, query, classes))
    return ray, ingress, tally, port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop() -> None:
    import ray
    from ray import serve

    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def _named(*names: str) -> list[psutil.Process]:
    """Processes of this one's Ray whose title begins so."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith(names):
            found.append(process)
    return found
