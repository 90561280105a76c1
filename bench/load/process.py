"""The load generator as a process of its own: `python -m bench.load.process`, started here.

Whoever measures has other things to do; in its own process the generator is late for its own
reasons only, and no garbage collection interrupts it. Where the system allows it, it goes before
the processes that it measures: on shared cores it would be late whenever they are busy. It reads
orders, a line of JSON each, from its standard input, arrays in files of a folder, and ends with
the input.
"""

import asyncio
import gc
import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import kofn
from bench.load.driving import Driver, Server
from bench.load.seen import Seen
from kofn.wire.tls import Tls

START_S = 60.0  # importing numpy and gRPC on a busy machine
PATIENCE_S = 60.0  # beyond the last deadline: parsing what came, on a busy machine
COLUMNS = ("rows", "late_s", "latency_s", "source", "outputs", "responders")


class LoadProcess:
    """`async with` starts it and ends it; it sends one load at a time.

    Raises (on entry):
        Unavailable: it did not start.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process
        self._folder: tempfile.TemporaryDirectory[str]
        self._bound_s = 0.0  # of the load that was prepared

    async def __aenter__(self) -> "LoadProcess":
        self._folder = tempfile.TemporaryDirectory(prefix="kofn-load-")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.load.process", self._folder.name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C goes to whoever started it, which ends it
        )  # fmt: skip
        try:
            await self._told(START_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._end()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def prepare(
        self,
        server: Server,
        images: npt.NDArray[np.float32],
        requests: npt.NDArray[np.int64],
        times: npt.NDArray[np.float64],
        tls_folder: Path | None = None,
    ) -> None:
        """Connect and serialize; arguments as of `driving.Driver`.

        Args:
            tls_folder: in place of the server's `tls`, with its peer name.

        Raises:
            KofnError: the server cannot be reached, or has no such model.
        """
        folder = Path(self._folder.name)
        await asyncio.to_thread(
            np.savez, folder / "order.npz", images=images, requests=requests, times=times
        )
        peer = None if server.tls is None else server.tls.peer_name
        order = {
            "target": server.target, "model": server.model, "deadline_s": server.deadline_s,
            "parameters": dict(server.parameters), "peer": peer,
            "tls": None if tls_folder is None else str(tls_folder),
        }  # fmt: skip
        self._bound_s = (float(times[-1]) if len(times) else 0.0) + server.deadline_s + PATIENCE_S
        await self._ask(order, PATIENCE_S)

    async def run(self) -> Seen:
        """Send what was prepared; returns when all requests have ended.

        Raises:
            KofnError: the process failed.
        """
        await self._ask("go", self._bound_s)
        return await asyncio.to_thread(_load, Path(self._folder.name))

    async def _ask(self, order: Any, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()
        return await self._told(timeout_s)

    async def _told(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise kofn.Unavailable("the load generator does not answer") from None
        if not line:
            raise kofn.Unavailable("the load generator has ended")
        told: dict[str, Any] = json.loads(line)
        if "failed" in told:
            raise kofn.Unavailable(told["failed"])
        return told

    async def _end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()  # it holds nothing that would be lost
        await self._process.wait()
        self._folder.cleanup()


def _load(folder: Path) -> Seen:
    with np.load(folder / "seen.npz") as arrays:
        columns = {name: arrays[name] for name in COLUMNS}
    errors = json.loads((folder / "errors.json").read_text())
    return Seen(**columns, errors={int(number): text for number, text in errors.items()})


async def _serve(folder: Path) -> None:
    """Take orders until the input ends."""
    _tell({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        with np.load(folder / "order.npz") as arrays:
            images, requests, times = (arrays[name] for name in ("images", "requests", "times"))
        tls = None if order["tls"] is None else Tls.in_folder(Path(order["tls"]), order["peer"])
        server = Server(
            order["target"], order["model"], order["deadline_s"], tls, order["parameters"]
        )
        try:
            async with Driver(server, images) as driver:
                driver.prepare(requests)
                _tell({"ready": True})
                if not await asyncio.to_thread(sys.stdin.readline):
                    return
                gc.collect()
                gc.disable()
                seen = await driver.run(requests, times)
                gc.enable()
        except (kofn.KofnError, ValueError) as error:
            _tell({"failed": str(error)})
            continue
        np.savez(folder / "seen.npz", **{name: getattr(seen, name) for name in COLUMNS})
        (folder / "errors.json").write_text(json.dumps(seen.errors))  # any number of them
        _tell({"ready": True})


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def _go_first() -> None:
    """This thread and all that it starts run as soon as they can, if it may: more weight among
    ordinary threads would give it longer turns, not earlier ones."""
    with suppress(AttributeError, PermissionError):  # not of Linux; not root
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


if __name__ == "__main__":
    _go_first()
    asyncio.run(_serve(Path(sys.argv[1])))
