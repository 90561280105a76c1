"""Mean delays, against draws."""

import json

import numpy as np
import pytest

from bench.sweep.laws import mean_ms
from worker.faults import Injector
from worker.faults_text import parse_faults

LAWS = [
    {"law": "constant", "value_ms": 7},
    {"law": "expon", "shift_ms": 3, "scale_ms": 5, "probability": 0.5},
    {"law": "pareto", "scale_ms": 5, "b": 4},
    {"law": "weibull_min", "scale_ms": 5, "c": 1.5},
    {"law": "lognorm", "scale_ms": 5, "s": 0.5},
    {"law": "bimodal", "fast_ms": 1, "slow_ms": 9, "slow_probability": 0.25},
    {"law": "bursts", "fast_ms": 1, "slow_ms": 9, "enter_probability": 0.1,
     "leave_probability": 0.3},
    {"law": "trace", "delays_ms": [1, 2, 6]},
]  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: str(law["law"]))
def test_the_mean_is_that_of_many_draws(law: dict[str, object]) -> None:
    faults = parse_faults(json.dumps({"seed": 1, "delay": law}))
    injector = Injector(faults.laws(), "w")
    draws = [1e3 * injector.delay_s(seed) for seed in range(40_000)]
    assert mean_ms(faults) == pytest.approx(np.mean(draws), rel=0.04)


def test_no_delay_no_mean() -> None:
    assert mean_ms(parse_faults("{}")) == 0
    assert mean_ms(parse_faults('{"delay": {"law": "pareto", "scale_ms": 1, "b": 1}}')) is None
