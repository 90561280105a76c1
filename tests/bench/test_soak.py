"""The soak's bookkeeping: every kind of thing that must not be is found in a made-up history."""

import logging
from collections import Counter

import numpy as np
import pytest

from bench.soak import plan, report, verdict
from bench.soak.chaos import Chaos, Event
from bench.soak.ledger import MARGIN_S, Ledger, Tally, Violation
from bench.soak.logs import suspicious
from bench.soak.plan import Ask, Trouble
from bench.soak.run import Ears, Settings, Soaked
from bench.soak.systems import MOST_SLOTS, SYSTEMS, System, Truth
from bench.soak.verdict import Sample
from kofn.wire.source import Source

DIRECT, DECODED, MISSING = Source.DIRECT, Source.DECODED, Source.MISSING
EXACT = System("exact", "", {})
ROUGH = System("rough", "", {}, exact=False)
RIGHT = np.random.default_rng(0).standard_normal((40, 10)).astype(np.float32)
TRUTH = Truth(np.zeros((40, 1)), {"exact": RIGHT, "rough": RIGHT})


def ledger(lies: bool = False) -> Ledger:
    return Ledger({"exact": EXACT, "rough": ROUGH}, TRUTH, lambda since: lies)


def ask(number: int = 0, system: str = "exact", rows: int = 3, timeout_s: float = 10.0, **more):
    return Ask(number, system, tuple(range(rows)), timeout_s, **more)


def answer(
    book: Ledger, asked: Ask, *, off: float = 0.0, source=DIRECT, stated: float = 0.0, now=1.0
) -> None:
    """Answer a request with what is right, one row `off`, all rows of one source."""
    outputs = RIGHT[list(asked.rows)].copy()
    outputs[-1] += off
    count = len(outputs)
    book.answered(asked.number, outputs, np.full(count, source), np.full(count, stated), now)


def kinds(violations: list[Violation]) -> list[str]:
    return sorted(Counter(violation.kind for violation in violations))


def test_a_clean_history_has_nothing_wrong() -> None:
    """Direct and decoded rows, an accepted error of a hasty request, a refusal, a cancellation."""
    book = ledger()
    history = [
        ask(0),
        ask(1),
        ask(2, timeout_s=0.1),
        ask(3, malformed="shape"),
        ask(4),
        ask(5, "rough"),
    ]
    for one in history:
        book.sent(one, 0.0)
    answer(book, history[0])
    answer(book, history[1], source=DECODED, off=1e-5)
    book.failed(2, "DEADLINE_EXCEEDED", "", 0.2)
    book.failed(3, "INVALID_ARGUMENT", "", 0.2)
    book.cancelled(4, 0.3)
    answer(book, history[5], source=DECODED, off=0.5, stated=0.1)
    book.overdue(1000.0)
    book.close()
    assert book.violations == []
    exact = book.tallies["exact"]
    assert (exact.asked, exact.answered, exact.declared, exact.cancelled, exact.refused) == (
        4, 2, 1, 1, 1,
    )  # fmt: skip
    assert (exact.direct_rows, exact.decoded_rows, exact.unknown_rows) == (3, 3, 6)
    assert book.open == 0


@pytest.mark.parametrize("ending", ["overdue", "close", "late answer", "late error"])
def test_a_lost_answer_is_found(ending: str) -> None:
    """None at all, or one after the deadline and the margin."""
    book = ledger()
    book.sent(ask(7), 100.0)
    late = 110.1 + MARGIN_S
    if ending == "overdue":
        book.overdue(late - 0.2)
        assert not book.violations, "too early to say"
        book.overdue(late)
    elif ending == "close":
        book.close()
    elif ending == "late answer":
        answer(book, ask(7), now=late)
    else:
        book.failed(7, "UNAVAILABLE", "", late)
    assert "lost" in kinds(book.violations)
    assert "request 7 to exact" in book.violations[0].what


def test_an_answer_after_it_was_lost_counts_once_more() -> None:
    book = ledger()
    book.sent(ask(), 0.0)
    book.overdue(100.0)
    answer(book, ask(), now=101.0)
    assert kinds(book.violations) == ["duplicated", "lost"]


@pytest.mark.parametrize("second", ["answer", "error", "cancelled"])
def test_a_duplicate_is_found(second: str) -> None:
    book = ledger()
    book.sent(ask(3), 0.0)
    answer(book, ask(3))
    if second == "answer":
        answer(book, ask(3))
    elif second == "error":
        book.failed(3, "UNAVAILABLE", "", 2.0)
    else:
        book.cancelled(3, 2.0)
    (found,) = book.violations
    assert found.kind == "duplicated"
    assert "request 3" in found.what


def test_an_answer_under_the_number_of_another_request_is_found() -> None:
    """It is one too many there, and lacks here."""
    book = ledger()
    book.sent(ask(0), 0.0)
    answer(book, ask(9))
    book.close()
    assert kinds(book.violations) == ["duplicated", "lost"]


@pytest.mark.parametrize(
    ("system", "source", "off", "stated", "is_wrong"),
    [
        ("exact", DIRECT, 0.1, 0.0, True),
        ("exact", DECODED, 0.1, 0.1, True),
        ("exact", DIRECT, np.nan, 0.0, True),
        ("rough", DIRECT, 0.1, 0.0, True),
        ("rough", DECODED, 0.1, np.nan, True),
        ("rough", DECODED, 0.1, 0.1, False),
        ("exact", 7, 0.0, 0.0, True),
    ],
)
def test_a_wrong_answer_that_is_not_flagged_is_found(
    system: str, source: int, off: float, stated: float, is_wrong: bool
) -> None:
    book = ledger()
    asked = ask(1, system)
    book.sent(asked, 0.0)
    answer(book, asked, source=source, off=off, stated=stated)
    assert kinds(book.violations) == (["wrong"] if is_wrong else [])


def test_swapped_rows_are_wrong() -> None:
    """Right values in the places of others."""
    book = ledger()
    book.sent(ask(), 0.0)
    book.answered(0, RIGHT[[1, 0, 2]], np.full(3, DIRECT), np.zeros(3), 1.0)
    assert kinds(book.violations) == ["wrong"]
    assert "[0, 1]" in book.violations[0].what


def test_missing_rows_must_be_allowed_and_the_time_be_short() -> None:
    for allowed, timeout_s, expected in (
        (False, 0.1, ["wrong"]), (True, 0.1, []), (True, 10.0, ["failed"]),
    ):  # fmt: skip
        book = ledger()
        asked = ask(timeout_s=timeout_s, allow_partial=allowed)
        book.sent(asked, 0.0)
        book.answered(0, np.full((3, 10), np.nan), np.full(3, MISSING), np.full(3, np.nan), 0.1)
        assert kinds(book.violations) == expected


def test_too_few_rows_and_answers_to_malformed_requests_are_wrong() -> None:
    book = ledger()
    book.sent(ask(0), 0.0)
    book.answered(0, RIGHT[:2], np.full(2, DIRECT), np.zeros(2), 1.0)
    book.sent(ask(1, malformed="shape"), 0.0)
    answer(book, ask(1))
    assert [violation.kind for violation in book.violations] == ["wrong", "wrong"]


def test_errors_of_other_kinds_and_of_patient_requests_are_found() -> None:
    """A client need not expect INTERNAL; who has time enough is answered."""
    book = ledger()
    hasty, patient, odd, malformed = (
        ask(0, timeout_s=0.1),
        ask(1),
        ask(2),
        ask(3, malformed="shape"),
    )
    for one in (hasty, patient, odd, malformed):
        book.sent(one, 0.0)
    book.failed(0, "UNAVAILABLE", "", 0.1)
    assert not book.violations
    book.failed(1, "UNAVAILABLE", "nobody is up", 0.1)
    book.failed(2, "INTERNAL", "see the log", 0.1)
    book.failed(3, "INTERNAL", "see the log", 0.1)
    assert [violation.kind for violation in book.violations] == [
        "failed",
        "unexpected",
        "unexpected",
    ]
    assert "nobody is up" in book.violations[0].what


def test_what_comes_while_a_worker_lies_is_not_judged() -> None:
    """But it must come, once; and a code that bears liars is judged all the same."""
    book = ledger(lies=True)
    book.sent(ask(), 0.0)
    answer(book, ask(), off=5.0)
    assert not book.violations
    assert book.tallies["exact"].unjudged_rows == 3
    answer(book, ask(), off=5.0)
    assert kinds(book.violations) == ["duplicated"]
    bears = System("exact", "", {}, bears_liars=True)
    strict = Ledger({"exact": bears}, TRUTH, lambda since: True)
    strict.sent(ask(), 0.0)
    answer(strict, ask(), off=5.0)
    assert kinds(strict.violations) == ["wrong"]


@pytest.mark.parametrize(("share", "is_found"), [(1.0, False), (1.1, False), (2.0, True)])
def test_stated_errors_are_held_to(share: float, is_found: bool) -> None:
    """Beyond a quarter more, and what chance does, it is a lie about oneself."""
    rng = np.random.default_rng(1)
    errors = 0.1 * share * rng.exponential(size=400)
    tally = Tally(estimates=[(float(error), 0.1, 4) for error in errors])
    assert kinds(verdict.estimates({"rough": tally})) == (["wrong"] if is_found else [])


@pytest.mark.parametrize(
    ("told", "is_found"),
    [((10, 4), False), ((13, 4), False), ((14, 4), True), ((9, 4), True), ((10, 3), True)],
)
def test_the_masters_counters_must_agree(told: tuple[int, int], is_found: bool) -> None:
    """10 rows came, and 3 belonged to requests that failed or were given up."""
    tally = Tally(direct_rows=6, decoded_rows=4, unknown_rows=3)
    found = verdict.counters({"exact": tally}, {"exact": told})
    assert kinds(found) == (["counters"] if is_found else [])


def grows(seconds: float, per_s: float, start_mib: float = 300.0) -> list[Sample]:
    return [Sample(float(at), start_mib + per_s * at, 20) for at in range(int(seconds))]


@pytest.mark.parametrize(
    ("seconds", "per_s", "is_found"),
    [
        (1800, 0.0, False),
        (1800, 0.005, False),  # 7 MiB of 300 after the first five minutes
        (1800, 0.02, True),  # 29 MiB
        (60, 0.3, False),  # 12 MiB: pools that still fill
        (60, 1.0, True),
    ],
)
def test_a_leak_of_memory_is_found(seconds: float, per_s: float, is_found: bool) -> None:
    series = {"master/1": grows(seconds, per_s), "worker-0/2": grows(seconds, 0.0)}
    found, levels = verdict.memory(series, seconds)
    assert kinds(found) == (["memory"] if is_found else [])
    assert all(violation.what.startswith("master/1") for violation in found)
    assert levels.keys() == series.keys()


def test_a_process_that_was_restarted_is_another() -> None:
    """What it was before its death is not judged, and it settles anew."""
    whole = grows(1800, 1.0)
    lives = {"worker-3/1": whole[:700], "worker-3/2": whole[700:], "worker-4/3": whole[1500:]}
    found, levels = verdict.memory(lives, 1800)
    assert levels.keys() == {"worker-3/2"}
    assert kinds(found) == ["memory"]
    assert verdict.memory({"worker-3/2": grows(60, 5.0)[10:]}, 60) == ([], {})
    young = [Sample(s.at_s, 300.0 if s.at_s > 1000 else 200.0, 20) for s in whole[800:]]
    assert verdict.memory({"worker-5/4": young}, 1800)[0] == []


def test_leaks_of_tasks_and_files_are_found() -> None:
    before = {"master/1": Sample(0, 300, 30, 12), "worker-0/2": Sample(0, 300, 30)}
    assert verdict.leaks(before, before) == []
    after = {"master/1": Sample(9, 300, 30, 40), "worker-0/2": Sample(9, 300, 60)}
    assert kinds(verdict.leaks(before, after)) == ["files", "tasks"]
    assert verdict.leaks(before, {"worker-0/3": Sample(9, 300, 99)}) == []


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        "asyncio: Task exception was never retrieved",
        '{"event": "failed", "level": "error", "timestamp": "2026-01-01"}',
        "sys:1: RuntimeWarning: coroutine 'x' was never awaited",
        "kofn.wire.errors: /kofn.Worker/Stream failed unexpectedly",
    ],
)
def test_an_exception_in_a_log_is_found(line: str) -> None:
    """With its place; ordinary lines are none."""
    calm = '{"event": "worker down", "level": "warning"}\n'
    (found,) = suspicious("worker-3", calm + line + "\n" + calm)
    assert found.kind == "log"
    assert found.what.startswith("worker-3.log:2: ")
    assert list(suspicious("worker-3", calm)) == []
    slow = '{"event": "program-not-taken", "level": "error"}'
    assert list(suspicious("master", slow)) == []


def test_what_the_clients_log_is_heard() -> None:
    """As asyncio does with an exception that nobody took; warnings are none."""
    ears, logger = Ears(), logging.getLogger("soaked")
    logger.addHandler(ears)
    logger.warning("hm")
    logger.error("Task exception was never retrieved", exc_info=ValueError("x"))
    (found,) = ears.heard
    assert found.kind == "log"
    assert "never retrieved: ValueError('x')" in found.what


WORKERS = [f"worker-{i}" for i in range(9)]


@pytest.mark.parametrize("seed", range(5))
def test_a_schedule_keeps_to_what_the_codes_bear(seed: int) -> None:
    """Two at once and a liar; one trouble a worker; the watched live; same seed, same."""
    schedule = plan.troubles(seed, 600, WORKERS, ("pause", "kill"))
    assert schedule == plan.troubles(seed, 600, WORKERS, ("pause", "kill"))
    assert len(schedule) > 60
    assert {t.kind for t in schedule} >= {"pause", "kill", "lie", "hang", "drop"}
    for trouble in schedule:
        beside = [t for t in schedule if t.at_s <= trouble.at_s < t.clear_s]
        assert len({t.worker for t in beside}) == len(beside)
        assert sum(not t.is_lie for t in beside) <= plan.OUT
        assert sum(t.is_lie for t in beside) <= 1
        assert len(WORKERS) - len(beside) >= MOST_SLOTS
        assert trouble.kind != "kill" or trouble.worker not in WORKERS[: plan.WATCHED]
        assert trouble.at_s + trouble.lasts_s < 600


def test_calls_are_numbered_mixed_and_bounded() -> None:
    """All kinds of them, in order; nobody who minds liars is asked while a worker lies."""
    schedule = plan.troubles(3, 300, WORKERS, ())
    calls = list(plan.calls(3, 300, SYSTEMS, 360, schedule))
    asks = [ask for call in calls for ask in call.asks]
    assert [ask.number for ask in asks] == list(range(len(asks)))
    assert [call.at_s for call in calls] == sorted(call.at_s for call in calls)
    assert {call.client for call in calls} == set(plan.CLIENTS)
    assert {ask.system for ask in asks} == {system.name for system in SYSTEMS}
    assert {ask.malformed for ask in asks} == {"", *plan.MALFORMED}
    assert any(call.is_stream for call in calls)
    assert any(ask.cancel_s for ask in asks)
    assert any(not ask.is_patient for ask in asks)
    assert 10 < len(asks) / 300 < 50
    lies = [trouble for trouble in schedule if trouble.is_lie]
    assert lies
    for call in calls:
        if any(lie.at_s <= call.at_s <= lie.at_s + lie.lasts_s for lie in lies):
            assert {ask.system for ask in call.asks} == {"liars"}


def test_lies_are_remembered_from_their_beginning_until_after_their_end() -> None:
    lie = Trouble(10, "lie", "worker-1", 5, {"corruption": {"law": "swap"}})
    chaos = Chaos(None, None, [lie], lambda: 0.0, print)  # type: ignore[arg-type] # nothing is done
    assert not chaos.lied_since(0.0)
    chaos.events[0].began_s = 10.0
    assert chaos.lied_since(500.0)
    chaos.events[0].ended_s = 15.0
    assert chaos.lied_since(15.5)
    assert not chaos.lied_since(17.0)


def test_a_record_tells_what_was_found_and_can_be_drawn(tmp_path) -> None:
    book = ledger()
    for number in range(3):
        book.sent(ask(number), number * 20.0)
        answer(book, ask(number), now=number * 20.0 + 0.05)
    event = Event(Trouble(4, "pause", "worker-0", 2), 4.0, 6.0, "done")
    series = {"master/1": grows(60, 0.0), "worker-0/2": grows(60, 0.1)}
    _, levels = verdict.memory(series, 60)
    soaked = Soaked(
        Settings(60, 0), book, [event], series, levels, [Violation("lost", "request 1")]
    )
    found = report.record(soaked)
    assert found["happened"] == {"pause": 1}
    assert found["systems"]["exact"]["direct_rows"] == 9
    assert len(found["memory"]["master/1"]) == report.POINTS
    assert sum(count for *_, count in found["latency"]) == 3
    assert len(report.cells(found)[0]) == len(report.TITLES)
    assert any("1 lost, 0 duplicated, 0 wrong" in line for line in report.words(found))
    report.draw(found, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 10_000
