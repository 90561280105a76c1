"""Delays as they are written, their values, and the policies that are refused."""

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import codes
from master.latency import Latency
from master.policy import FALLBACK_S, FLOOR_S, MIN_SAMPLES, NEVER, Delay, Moments, Policy, usual


def seen(*samples: float) -> Latency:
    latency = Latency()
    for sample in samples:
        latency.add(sample)
    return latency


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("20ms", Delay(fixed_s=0.02)),
        ("0.02s", Delay(fixed_s=0.02)),
        ("500 us", Delay(fixed_s=0.0005)),
        (".5s", Delay(fixed_s=0.5)),
        ("0ms", Delay(fixed_s=0.0)),
        ("p95", Delay(quantile=0.95)),
        ("p99.9", Delay(quantile=0.999)),
        ("3*p50", Delay(quantile=0.5, factor=3.0)),
        (" 1.5 * p50 ", Delay(quantile=0.5, factor=1.5)),
        ("none", NEVER),
        (None, NEVER),
    ],
)
def test_delays_are_read_as_written(text: str | None, delay: Delay) -> None:
    parsed = Delay.parse(text)
    assert parsed == delay
    assert str(Delay.parse(str(parsed))) == str(parsed)


@pytest.mark.parametrize(
    "text", ["", "20", 20, 0.5, True, "p", "p100", "-1ms", "3*20ms", "p50*3", "2x", "1e9ms", "nan"]
)
def test_anything_else_is_refused_with_what_is_accepted(text: Any) -> None:
    with pytest.raises(ValueError, match=r'A delay is a duration \("20ms".*"3\*p50".*"none", not'):
        Delay.parse(text)


@given(st.floats(1e-6, 1e3), st.floats(0.0, 0.999), st.floats(0.01, 100.0))
def test_what_is_written_is_what_is_read(fixed_s: float, quantile: float, factor: float) -> None:
    fixed = Delay(fixed_s=fixed_s)
    assert Delay.parse(str(fixed)).at(Latency()) == pytest.approx(fixed_s, rel=1e-9, abs=1e-9)
    assert fixed.at(Latency()) == fixed_s


def test_a_followed_quantile_has_a_fallback_and_a_floor() -> None:
    delay = Delay.parse("3*p50")
    assert delay.at(Latency()) == FALLBACK_S
    assert delay.at(seen(*[0.04] * (MIN_SAMPLES - 1))) == FALLBACK_S
    assert delay.at(seen(*[0.04] * MIN_SAMPLES)) == pytest.approx(0.12)
    assert delay.at(seen(*[1e-6] * MIN_SAMPLES)) == FLOOR_S
    assert replace(delay, floor_s=0.5).at(seen(*[1e-6] * MIN_SAMPLES)) == 0.5
    assert replace(delay, fallback_s=0.5).at(Latency()) == 0.5


def test_never_is_never() -> None:
    assert NEVER.at(seen(*[1.0] * 100)) is None
    assert str(NEVER) == "none"


@pytest.mark.parametrize(
    "values",
    [
        {"fixed_s": 1.0, "quantile": 0.5},
        {"fixed_s": -0.001},
        {"fixed_s": inf},
        {"fixed_s": nan},
        {"quantile": 1.001},
        {"quantile": 0.5, "factor": 0.0},
        {"quantile": 0.5, "floor_s": 0.0},
        {"quantile": 0.5, "fallback_s": inf},
    ],
)
def test_impossible_delays_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"delay"):
        Delay(**values)


TEN_MS, FIFTY_MS = Delay(fixed_s=0.01), Delay(fixed_s=0.05)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy("soft", FIFTY_MS), Moments(100.05, None)),
        (Policy("soft", NEVER), Moments(None, None)),
        (Policy("soft", FIFTY_MS, hedge=TEN_MS), Moments(100.05, 100.01)),
        (Policy("soft", FIFTY_MS, hedge=NEVER), Moments(100.05, None)),
        (Policy("first", FIFTY_MS), Moments(100.0, None)),
        (Policy("first", FIFTY_MS, gain_limit=2.0), Moments(100.05, None)),
        (Policy("all", FIFTY_MS, hedge=TEN_MS), Moments(None, 100.01)),
    ],
)
def test_moments_are_absolute(policy: Policy, expected: Moments) -> None:
    assert policy.moments(Latency(), 100.0) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"wait": "last"},
            '\'wait\' must be one of "first", "soft", "all", "adaptive", not \'last\'',
        ),
        ({"max_sends": 0}, "'max_sends' must be at least 1, not 0"),
        ({"max_sends": 1, "hedge": TEN_MS}, "'max_sends' must be at least 2 for a hedge"),
        ({"gain_limit": 0.0}, "'gain_limit' must be above 0, not 0.0"),
        ({"liars": -1}, "'liars' must be at least 0, not -1"),
        ({"recheck": 1.0}, "'recheck' must be at least 0 and below 1, not 1.0"),
        ({"recheck": -0.1}, "'recheck' must be at least 0 and below 1, not -0.1"),
        ({"gain_limit": nan}, "'gain_limit' must be above 0, not nan"),
        ({"recovery_threshold": 0}, "'recovery_threshold' must be at least 1, not 0"),
        ({"budget": 0.0}, "'budget' must be above 0 and at most 8, not 0.0"),
        ({"budget": 8.1}, "'budget' must be above 0 and at most 8, not 8.1"),
        ({"wait": "adaptive", "hedge": TEN_MS}, "'hedge' must be none, not 10ms, where 'wait' is"),
    ],
)
def test_impossible_policies_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(**values)


def test_the_limits_themselves_are_accepted() -> None:
    Policy(max_sends=1, hedge=NEVER)
    Policy(max_sends=2, hedge=TEN_MS, gain_limit=1e-9, recovery_threshold=1)


def test_a_policy_tells_itself_in_words() -> None:
    """What `kofn status` shows."""
    assert str(Policy()) == "soft 3*p50, at most 3 sends"
    told = str(Policy(wait="all", hedge=Delay.parse("p95"), gain_limit=2.5, recovery_threshold=4))
    assert told == "all, hedge p95, gain up to 2.5, R = 4, at most 3 sends"
    told = str(Policy("adaptive", budget=0.1, max_sends=2))
    assert told == "adaptive, budget 10 %, at most 2 sends"


def test_a_code_that_any_slots_decode_says_how_many_to_wait_for() -> None:
    split = codes.make("split-lagrange", k=4, n=6, dimension=5)
    assert usual(Policy(), split).recovery_threshold == 5
    assert usual(Policy(recovery_threshold=1), split).recovery_threshold == 1
    assert usual(Policy(), codes.make("parity", k=4, n=6)) == Policy()
