"""When requests are to leave, and which queries they hold. Pure but for reading a trace's file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.float64]


def poisson(rate: float, seconds: float, seed: int) -> Times:
    """Arrival times in 0..seconds, `rate` a second on average."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, int(2 * rate * seconds) + 20)
    times = np.cumsum(gaps)
    return times[times < seconds]


def read_trace(path: Path) -> Times:
    """Arrival times from a file: seconds since its beginning, one a line, in order.

    Raises:
        ValueError: another content; names the file and the line.
        OSError: it cannot be read.
    """
    times: list[float] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            at_s = float(text)
        except ValueError:
            raise ValueError(
                f"{path}:{number}: must be a number of seconds, not {text!r}."
            ) from None
        if not 0 <= at_s < np.inf:
            raise ValueError(f"{path}:{number}: must be at least 0 s and finite, not {text}.")
        if times and at_s < times[-1]:
            raise ValueError(f"{path}:{number}: must not be before {times[-1]:g} s, but is {text}.")
        times.append(at_s)
    if not times:
        raise ValueError(f"{path}:1: must hold at least one time.")
    return np.array(times)


def choose(images: int, requests: int, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Which images each request holds, [requests, rows]: all of them in random order, again and
    again in further orders, so that each is asked for as often as the others, give or take one."""
    rng = np.random.default_rng([seed, 1])
    passes = -(-requests * rows // images)
    order = np.concatenate(
        [np.empty(0, np.int64), *(rng.permutation(images) for _ in range(passes))]
    )
    return order[: requests * rows].reshape(requests, rows)
