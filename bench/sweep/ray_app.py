"""A model behind Ray Serve, as its users write it: replicas, and an ingress that fans rows out.

It answers the Open Inference Protocol, so that the same load generator asks it, and replicas are
stragglers by the same laws as workers: the faults come with each request, as the parameter
`faults`, and their delays are spent in service. Imported where Ray Serve is installed only.
"""

import asyncio
import threading
from time import monotonic
from typing import Any

import numpy as np
import ray
import torch
from ray import serve

from kofn.wire import inference_pb2 as pb
from kofn.wire.source import Source
from kofn.wire.tensors import input_array, output_tensor
from models.programs import load_program
from worker.faults import Faults, Injector
from worker.faults_text import parse_faults

OUTPUT = "output"


@ray.remote(num_cpus=0)
class Tally:
    """What replicas have done."""

    def __init__(self) -> None:
        self._tasks = 0
        self._busy_s = 0.0

    def add(self, busy_s: float) -> None:
        """A task has ended that took so long."""
        self._tasks += 1
        self._busy_s += busy_s

    def told(self) -> tuple[int, float]:
        """Tasks that have ended, and seconds that they took."""
        return self._tasks, self._busy_s


@serve.deployment(max_ongoing_requests=1, ray_actor_options={"num_cpus": 0})
class Replica:
    """One process with the model; a query at a time."""

    def __init__(self, archive: bytes, tally: Any) -> None:
        torch.set_num_threads(1)
        self._program = load_program(archive)
        self._tally = tally
        self._name = str(serve.get_replica_context().replica_id.unique_id)
        self._faults, self._injector = "", Injector(Faults(), self._name)

    def answer(self, row: np.ndarray, faults: str, seed: int) -> np.ndarray:
        """[1, c] for a query [1, *query]."""
        began = monotonic()
        if faults != self._faults:
            self._faults = faults
            self._injector = Injector(parse_faults(faults).laws(), self._name)
        threading.Event().wait(self._injector.delay_s(seed))
        answer: np.ndarray = self._program([torch.from_numpy(row.copy())])[0].numpy()
        self._tally.add.remote(monotonic() - began)
        return answer


@serve.deployment(max_ongoing_requests=10_000, ray_actor_options={"num_cpus": 0})
class Ingress:
    """Takes requests, gives each row to a replica, and answers with what is there in time."""

    def __init__(self, replicas: Any, query: list[int], classes: int) -> None:
        self._replicas = replicas
        self._query = query
        self._classes = classes
        self._sent, self._sent_bytes = 0, 0

    async def ModelMetadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Of the only model."""
        reply = pb.ModelMetadataResponse(name=request.name, platform="ray-serve")
        reply.inputs.add(name="input", datatype="FP32", shape=[-1, *self._query])
        reply.outputs.add(name=OUTPUT, datatype="FP32", shape=[-1, self._classes])
        return reply

    async def ModelInfer(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        """Rows without an answer are missing when `timeout_ms` are over."""
        rows = input_array(request.inputs[0], request.raw_input_contents[0])
        parameters = request.parameters
        timeout_s = parameters["timeout_ms"].int64_param / 1e3 if "timeout_ms" in parameters else 30
        faults = parameters["faults"].string_param if "faults" in parameters else ""
        asked = []
        for row in rows:
            self._sent += 1
            self._sent_bytes += row.nbytes
            asked.append(asyncio.create_task(self._ask(row[None], faults, self._sent)))
        _, late = await asyncio.wait(asked, timeout=timeout_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        outputs = np.zeros((len(rows), self._classes), np.float32)
        source = np.full(len(rows), Source.MISSING, np.uint8)
        for number, task in enumerate(asked):
            if task not in late and task.exception() is None:
                outputs[number], source[number] = task.result()[0], Source.DIRECT
        reply = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        arrays: dict[str, np.ndarray] = {
            OUTPUT: outputs,
            "source": source,
            "expected_error": np.zeros(len(rows), np.float32),
        }
        for name, array in arrays.items():
            tensor, raw = output_tensor(name, array)
            reply.outputs.append(tensor)
            reply.raw_output_contents.append(raw)
        return reply

    async def sent(self) -> tuple[int, int]:
        """Rows given to replicas, and their payload in bytes."""
        return self._sent, self._sent_bytes

    async def _ask(self, row: np.ndarray, faults: str, seed: int) -> np.ndarray:
        answer: np.ndarray = await self._replicas.answer.remote(row, faults, seed)
        return answer


def application(
    archive: bytes, tally: Any, replicas: int, query: list[int], classes: int
) -> serve.Application:
    """The model with so many replicas."""
    model = Replica.options(num_replicas=replicas).bind(archive, tally)  # type: ignore[attr-defined]
    return Ingress.bind(model, query, classes)  # type: ignore[attr-defined,no-any-return]
