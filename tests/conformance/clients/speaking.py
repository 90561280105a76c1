"""What the Python clients here share: the plan is read, each scenario is sent, JSON is printed.

Each script wraps one published client in a class with the methods of `Speaker` and calls `speak`.
Runs in the client's own environment: the standard library only, and nothing of kofn.

Usage: with_CLIENT.py ADDRESS PLAN.json
"""

import asyncio
import base64
import inspect
import json
import sys
from pathlib import Path
from typing import Any, Protocol


class Refused(Exception):
    """The server said no.

    Args:
        status: gRPC's name of it, such as NOT_FOUND.
        message: of the server.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.told = {"status": status, "message": message}


class Speaker(Protocol):
    """A client; methods may be coroutines. `statistics` and `stream` where it has them."""

    def describe(self) -> dict[str, Any]:
        """What the server tells of itself and of the model digits."""

    def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request; the reply as `reply` makes it. Raises Refused."""


def reply(message: Any, outputs: list[tuple[str, str, list[int], bytes]]) -> dict[str, Any]:
    """An answer as JSON; `message` has model_name, model_version and id."""
    return {
        "model": message.model_name,
        "version": message.model_version,
        "id": message.id,
        "outputs": [
            {
                "name": name,
                "datatype": datatype,
                "shape": list(shape),
                "data": base64.b64encode(data).decode(),
            }
            for name, datatype, shape, data in outputs
        ],
    }


def speak(make: Any, can: set[str]) -> None:
    """Go through the plan with the client that `make(address)` gives, and print what came."""
    address, path = sys.argv[1:]
    plan = json.loads(Path(path).read_text())
    print(json.dumps(asyncio.run(_told(make, address, can, plan))))


async def _told(make: Any, address: str, can: set[str], plan: dict[str, Any]) -> dict[str, Any]:
    client = make(address)
    told: dict[str, Any] = {"statistics": []}
    if "statistics" in can:
        told["statistics"].append(await _result(client.statistics))
    told["describe"] = await _result(client.describe)
    told["answers"] = {
        name: await _answer(client, request)
        for name, request in plan["requests"].items()
        if can.issuperset(request["needs"])
    }
    told["concurrent"] = await asyncio.gather(
        *(_answer(client, plan["concurrent"]) for _ in range(8))
    )
    if "stream" in can:
        told["stream"] = await _result(client.stream, plan["stream"])
    if "statistics" in can:
        told["statistics"].append(await _result(client.statistics))
    await _result(client.close)
    return told


async def _answer(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return await _result(client.infer, request)
    except Refused as refused:
        return refused.told


async def _result(method: Any, *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(method):
        return await method(*arguments)
    return await asyncio.to_thread(method, *arguments)
