"""Open-loop load: requests leave at Poisson times, whatever became of those before.

Latency counts from the intended time, so that a client that falls behind does not hide delay. The
load is bounded: a request ends by its deadline, and there are as many as `arrivals` has times.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
import numpy.typing as npt

import kofn


@dataclass(frozen=True)
class Observation:
    """What became of one request.

    Attributes:
        rows: [r] int64, which images it held.
        latency_s: from the intended time to the reply, or to giving up.
        source: [r] uint8, a `kofn.Source` each; MISSING where it failed.
        predictions: [r] int64, top class; meaningless where missing.
        error: why it failed; "" when it did not.
    """

    rows: npt.NDArray[np.int64]
    latency_s: float
    source: npt.NDArray[np.uint8]
    predictions: npt.NDArray[np.int64]
    error: str = ""


def poisson(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    """Arrival times in 0..seconds, `rate` a second on average."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, int(2 * rate * seconds) + 20)
    times = np.cumsum(gaps)
    return times[times < seconds]


async def drive(
    client: kofn.AsyncClient,
    model: str,
    images: npt.NDArray[np.float32],
    requests: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
    *,
    deadline_s: float,
    on_reply: Callable[[Observation], None] = lambda seen: None,
) -> list[Observation]:
    """Send one request at each time; returns when all have ended.

    Args:
        client: of the master.
        model: deployment.
        images: [m, *query].
        requests: [len(times), r], which images each request holds.
        times: seconds from now.
        deadline_s: of a request, from the time it is sent; what is there then is taken.
        on_reply: told of each as it ends.
    """
    began = monotonic()

    async def one(rows: npt.NDArray[np.int64], at_s: float) -> Observation:
        await asyncio.sleep(max(0.0, began + at_s - monotonic()))
        try:
            answers = await client.infer(
                model, images[rows], timeout_s=deadline_s, allow_partial=True
            )
            seen = Observation(
                rows, monotonic() - began - at_s, answers.source, answers.outputs.argmax(1)
            )
        except kofn.KofnError as error:
            none = np.zeros(len(rows), np.uint8)
            seen = Observation(
                rows, monotonic() - began - at_s, none, none.astype(np.int64), str(error)
            )
        on_reply(seen)
        return seen

    return list(
        await asyncio.gather(*(one(r, float(t)) for r, t in zip(requests, times, strict=True)))
    )
