"""The clients of a soak: both stacks, single requests and streams, all reported to the ledger."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

import kofn
from bench.soak.ledger import MARGIN_S, Ledger
from bench.soak.plan import CLIENTS, PATIENT_S, Ask, Call
from kofn.cli.connection import At

IN_FLIGHT = {"aio": 24, "sync": 4}  # calls of one client; further ones are sent when there is room
STREAM_S = PATIENT_S + 2.0  # each of its requests has PATIENT_S
WRONG_PARAMETERS: dict[str, dict[str, Any]] = {
    "parameter": {"no_such_parameter": 1},
    "wait": {"wait": "never"},
}

Images = npt.NDArray[np.float32]


class Load:
    """Clients of one master; `async with` opens and closes them.

    Args:
        at: the master, and how to connect to it.
        images: [m, *query], those that requests choose from.
        ledger: is told what is sent and what comes.
        clock: seconds of the run.
    """

    def __init__(self, at: At, images: Images, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._at = at
        self._images = images
        self._ledger = ledger
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._aio: dict[str, kofn.AsyncClient] = {}
        self._sync: dict[str, kofn.Client] = {}
        self._places: dict[str, asyncio.Semaphore] = {}
        self._threads: ThreadPoolExecutor
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Load":
        for name in CLIENTS:
            kind = name.partition("-")[0]
            self._places[name] = asyncio.Semaphore(IN_FLIGHT[kind])
            if kind == "aio":
                client = self._at.async_client()
                self._aio[name] = await self._stack.enter_async_context(client)
            else:
                self._sync[name] = self._stack.enter_context(self._at.client())
        threads = IN_FLIGHT["sync"] * len(self._sync)
        self._threads = self._stack.enter_context(ThreadPoolExecutor(threads, "soak"))
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def warm_up(self, systems: Iterable[str]) -> None:
        """Every client asks every system once, so that connections and buffers are there."""
        rows = self._images[:8]
        for name in systems:
            for aio in self._aio.values():
                await aio.infer(name, rows, timeout_s=PATIENT_S)
            for sync in self._sync.values():
                await asyncio.to_thread(sync.infer, name, rows, timeout_s=PATIENT_S)

    async def run(self, calls: Iterable[Call]) -> None:
        """Send calls at their times; returns when all have come to an end."""
        async with asyncio.TaskGroup() as group:
            for call in calls:
                await asyncio.sleep(max(0.0, call.at_s - self._clock()))
                group.create_task(self._make(call), name=f"call {call.asks[0].number}")

    async def _make(self, call: Call) -> None:
        async with self._places[call.client]:
            if call.is_stream and call.client in self._aio:
                await self._stream(self._aio[call.client], call)
            elif call.is_stream:
                await self._in_thread(self._blocking_stream, self._sync[call.client], call)
            else:
                await self._single(call.client, call.asks[0])

    async def _single(self, client: str, ask: Ask) -> None:
        options: dict[str, Any] = {
            "timeout_s": ask.timeout_s,
            "allow_partial": ask.allow_partial,
            "parameters": WRONG_PARAMETERS.get(ask.malformed),
            "request_id": str(ask.number),
        }
        model = "no-such-model" if ask.malformed == "model" else ask.system
        images = self._images[list(ask.rows)]
        if ask.malformed == "shape":
            images = images[..., :-1]
        elif ask.malformed == "not finite":
            images = np.full_like(images, np.nan)
        elif ask.malformed == "no rows":
            images = images[:0]
        self._ledger.sent(ask, self._clock())
        if client in self._aio:
            asking = asyncio.ensure_future(self._aio[client].infer(model, images, **options))
        else:
            infer = partial(self._sync[client].infer, model, images, **options)
            asking = asyncio.ensure_future(self._in_thread(infer))
        patience_s = ask.timeout_s + 2 * MARGIN_S if ask.cancel_s is None else ask.cancel_s
        done, _ = await asyncio.wait({asking}, timeout=patience_s)
        if not done:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            if ask.cancel_s is not None:
                self._ledger.cancelled(ask.number, self._clock())
            return  # else it stays open, which the ledger calls lost
        try:
            self._answered(asking.result(), None)
        except kofn.KofnError as error:
            self._ledger.failed(ask.number, error.status.name, str(error), self._clock())

    async def _stream(self, client: kofn.AsyncClient, call: Call) -> None:
        sent: list[Ask] = []

        async def batches() -> AsyncIterator[Images]:
            for ask in call.asks:
                self._ledger.sent(ask, self._clock())
                sent.append(ask)
                yield self._images[list(ask.rows)]

        try:
            async with asyncio.timeout(STREAM_S + 2 * MARGIN_S):
                async for reply in client.stream(
                    call.asks[0].system, batches(), **_stream_options()
                ):
                    self._replied(call, reply)
        except TimeoutError:
            return  # what is open is lost
        except kofn.KofnError as error:
            self._broken(sent, error)

    def _blocking_stream(self, client: kofn.Client, call: Call) -> None:
        tell = self._loop.call_soon_threadsafe
        sent: list[Ask] = []

        def batches() -> Iterator[Images]:
            for ask in call.asks:
                tell(self._ledger.sent, ask, self._clock())
                sent.append(ask)
                yield self._images[list(ask.rows)]

        try:
            for reply in client.stream(call.asks[0].system, batches(), **_stream_options()):
                tell(self._replied, call, reply)
        except kofn.KofnError as error:
            tell(self._broken, sent, error)

    def _replied(self, call: Call, reply: kofn.StreamReply) -> None:
        ask = call.asks[reply.index]
        if reply.answers is not None:
            self._answered(reply.answers, ask)
        elif reply.error is not None:
            error = reply.error
            self._ledger.failed(ask.number, error.status.name, str(error), self._clock())

    def _answered(self, answers: kofn.Answers, ask: Ask | None) -> None:
        # Single requests are told apart by the id that comes back, those of streams by index.
        number = int(answers.request_id) if ask is None else ask.number
        self._ledger.answered(
            number, answers.outputs, answers.source, answers.expected_error, self._clock()
        )

    def _broken(self, sent: Iterable[Ask], error: kofn.KofnError) -> None:
        for ask in sent:
            if self._ledger.is_open(ask.number):
                self._ledger.failed(ask.number, error.status.name, str(error), self._clock())

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._threads, function, *arguments)


def _stream_options() -> dict[str, Any]:
    return {"timeout_s": STREAM_S, "parameters": {"timeout_ms": int(PATIENT_S * 1e3)}}
