"""How many images a second a worker's forward pass takes, by device and precision.

Goes through the worker's own device thread: rows are joined in pinned memory where the device is a
GPU, sent over, multiplied, and fetched back as arrays. No network and no code: `throughput` has
those. Half precision's answers are held against the processor's float32.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.records import machine
from models import data
from models.programs import Program, load_program
from models.store import Store
from worker.faults import Faults, Injector
from worker.runner import Job, Runner

CPU = "cpu"
WARM_UPS = 3
CHECKED = 2000  # test images whose answers are compared
TITLES = (
    "device", "precision", "threads", "images a pass", "pass, ms", "images/s", "accuracy",
    "class of float32", "largest error",
)  # fmt: skip
Images = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    device: str
    precision: str
    threads: int  # of torch, on the processor
    batch: int  # images a forward pass


def measure_all(
    model: str, settings: Sequence[Setting], seconds: float
) -> Iterator[dict[str, Any]]:
    """Time a stored model's forward passes.

    Args:
        model: its name; its card says which data set's test images it is asked.
        settings: a row each.
        seconds: for each of them, and at least three passes.

    Yields:
        The setting, the median time of a pass, and of the first 2,000 test images the accuracy and
        the share with float32's class on the processor.
    """
    store = Store()
    archive, card = store.archive(model), store.card(model)
    test = data.load(card.dataset, "test")
    images, labels = test.images[:CHECKED].numpy(), test.labels[:CHECKED].numpy()
    usual = _answers(archive, Setting(CPU, "float32", torch.get_num_threads(), CHECKED), images)
    known: dict[tuple[str, str], Images] = {}  # by device and precision
    for setting in settings:
        place = setting.device, setting.precision
        if place not in known:
            known[place] = _answers(archive, setting, images)
        answers = known[place]
        top = answers.argmax(1)
        yield {
            "model": model,
            "device": setting.device,
            "precision": setting.precision,
            "threads": setting.threads,
            "batch": setting.batch,
            **asyncio.run(_timed(archive, setting, images, seconds)),
            "accuracy": float((top == labels).mean()),
            "agreement": float((top == usual.argmax(1)).mean()),
            "deviation": float(np.abs(answers - usual).max() / np.abs(usual).max()),
            "machine": machine(setting.device),
        }


def _answers(archive: bytes, setting: Setting, images: Images) -> Images:
    async def asked() -> Images:
        runner, program = _ready(archive, setting)
        try:
            return await _passed(runner, program, images)
        finally:
            await runner.close()

    return asyncio.run(asked())


def cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    """A record as text, under `TITLES`; errors are over the largest entry of an answer."""
    return (
        record["device"], record["precision"], str(record["threads"]), str(record["batch"]),
        f"{record['pass_ms']:.2f}", f"{record['images_per_s']:,.0f}", f"{record['accuracy']:.4f}",
        f"{100 * record['agreement']:.2f} %", f"{record['deviation']:.1e}",
    )  # fmt: skip


async def _timed(
    archive: bytes, setting: Setting, images: Images, seconds: float
) -> dict[str, float]:
    runner, program = _ready(archive, setting)
    batch = np.resize(images, (setting.batch, *images.shape[1:]))
    took_s: list[float] = []
    try:
        for _ in range(WARM_UPS):
            await _passed(runner, program, batch)
        while len(took_s) < WARM_UPS or sum(took_s) < seconds:
            began = perf_counter()
            await _passed(runner, program, batch)
            took_s.append(perf_counter() - began)
    finally:
        await runner.close()
    usual_s = median(took_s)
    return {
        "passes": len(took_s),
        "pass_ms": 1e3 * usual_s,
        "images_per_s": setting.batch / usual_s,
    }


def _ready(archive: bytes, setting: Setting) -> tuple[Runner, Program]:
    runner = Runner(setting.device, setting.threads, setting.precision)
    return runner, load_program(archive, setting.device)


async def _passed(runner: Runner, program: Program, batch: Images) -> Images:
    job = Job(object(), None, program, [batch], 0, 0.0, 0.0, lambda outcome: None)
    (outcome,) = await runner.run([job], Injector(Faults(), "bench"))
    if outcome.error:
        raise outcome.error
    (answers,) = outcome.outputs
    return np.asarray(answers, np.float32)
