"""The master's metrics: read by Prometheus' own parser, moved by what happens, all documented."""

import json
from pathlib import Path

import pytest

import kofn
from kofn.metrics import Histogram, together
from models.store import Store
from support.cluster import cluster
from support.live import deployment, live
from support.metrics import documented, scrape
from support.serving import queries
from support.until import until


async def test_every_metric_is_documented_and_every_documented_one_served(archive: Path) -> None:
    """Names, types and labels; no sample twice, though two workers share a name."""
    async with live(archive) as now:
        await now.client.infer("doubled", queries(6), wait="all")
        first, second, _ = now.master.state.pool.links.values()
        second.greeting.worker = first.greeting.worker
        seen = await scrape(now.master.metrics_address)
    assert seen.shapes() == documented(table=0)
    samples = seen.labelled()
    assert len(samples) == len(set(samples))
    assert seen.value("process_resident_memory_bytes") > 1e6


async def test_an_answered_request_is_seen_in_every_stage(archive: Path) -> None:
    """Rows by source, the request, its stages, its batch, each worker's share."""
    async with live(archive) as now:
        await now.client.infer("doubled", queries(6), wait="all")
        seen = await scrape(now.master.metrics_address)
    of = {"deployment": "doubled"}
    assert seen.value("kofn_deployment_ready", **of) == 1
    assert seen.value("kofn_rows_total", source="direct", **of) == 6
    assert seen.value("kofn_request_duration_seconds_count", outcome="ok", **of) == 1
    for stage in ("queue", "encode", "wait", "decode"):
        assert seen.value("kofn_stage_duration_seconds_count", stage=stage, **of) == 1
    waited = seen.value("kofn_stage_duration_seconds_sum", stage="wait", **of)
    assert 0 < waited <= seen.value("kofn_request_duration_seconds_sum", outcome="ok", **of)
    assert seen.value("kofn_batches_total", **of) == 1
    assert seen.value("kofn_batch_rows_sum", **of) == 6
    assert seen.value("kofn_batch_groups_bucket", le="2.0", **of) == 0
    assert seen.value("kofn_batch_groups_bucket", le="4.0", **of) == 1
    assert seen.value("kofn_queued_rows", **of) == 0
    assert seen.value("kofn_queue_limit_rows", **of) == 4096
    assert seen.value("kofn_tasks_total", **of) == 3
    for worker in ("w0", "w1", "w2"):
        assert seen.value("kofn_worker_up", worker=worker) == 1
        assert seen.value("kofn_worker_connections_total", worker=worker) == 1
        assert seen.value("kofn_worker_trust", worker=worker) == 1
        assert seen.value("kofn_worker_tasks_total", worker=worker, outcome="answered") == 1
        assert seen.value("kofn_worker_tasks_in_flight", worker=worker) == 0
        assert seen.value("kofn_worker_task_duration_seconds_count", worker=worker) == 1
        served = seen.value("kofn_worker_service_duration_seconds_sum", worker=worker)
        assert served == pytest.approx(7e-6)  # as the script says


async def test_how_requests_and_tasks_end_is_told_apart(archive: Path) -> None:
    """Late, unanswerable; a worker's error, a broken stream, work not needed any more."""
    many = deployment(
        archive, batching={"max_delay_ms": 0, "max_request_rows": 2, "queue_rows": 32}
    )
    async with live(archive, many) as now:
        for worker in now.workers:
            worker.script = lambda number: "hold"
        with pytest.raises(kofn.DeadlineExceeded):
            await now.client.infer("doubled", queries(2), timeout_s=0.2)
        for worker in now.workers:
            worker.script = lambda number: "fail"
        with pytest.raises(kofn.Unavailable):
            await now.client.infer("doubled", queries(2))
        now.workers[0].script = lambda number: "break"
        now.workers[1].script = now.workers[2].script = lambda number: "ignore"
        with pytest.raises(kofn.DeadlineExceeded):
            await now.client.infer("doubled", queries(2), timeout_s=0.2, allow_partial=True)
        seen = await scrape(now.master.metrics_address)
    counts = {
        outcome: seen.value(
            "kofn_request_duration_seconds_count", deployment="doubled", outcome=outcome
        )
        for outcome in ("ok", "partial", "deadline_exceeded", "unavailable")
    }
    assert counts == {"ok": 0, "partial": 0, "deadline_exceeded": 2, "unavailable": 1}
    ended = {
        outcome: sum(
            seen.value("kofn_worker_tasks_total", worker=f"w{i}", outcome=outcome) for i in range(3)
        )
        for outcome in ("answered", "failed", "lost", "cancelled")
    }
    assert ended["answered"] == 0, ended
    assert min(ended["failed"], ended["lost"], ended["cancelled"]) >= 1, ended


async def test_faults_in_force_are_seen_by_whoever_set_them(
    digits_store: Store, tmp_path: Path
) -> None:
    """Set by this master, set at the worker itself, cleared; and those of a worker that comes."""
    async with (
        cluster(tmp_path, digits_store, [], workers=2) as running,
        kofn.AsyncClient(running.master.address) as client,
    ):
        assert await running.master.pool.wait_for_workers(2, 20)
        links = {link.name: link for link in running.master.state.pool.links.values()}
        laws = {
            "delay": {"law": "constant", "value_ms": 1},
            "failure": {"kind": "drop", "probability": 0.5},
        }
        await client.set_faults(json.dumps(laws), workers=["worker-1"])
        await until(lambda: bool(links["worker-1"].faults))
        seen = await scrape(running.master.metrics_address)
        in_force = {
            (worker, fault): seen.value("kofn_worker_faults", worker=worker, fault=fault)
            for worker in ("worker-0", "worker-1")
            for fault in ("delay", "drop", "hang")
        }
        assert {key for key, value in in_force.items() if value} == {
            ("worker-1", "delay"), ("worker-1", "drop"),
        }  # fmt: skip
        await client.set_faults("")
        await until(lambda: not links["worker-1"].faults)


def test_a_histogram_counts_at_and_below_its_bounds() -> None:
    """A value on a bound belongs to it; the last bucket has all."""
    sizes = Histogram((1, 2, 4))
    for value in (1, 2, 3, 9):
        sizes.add(value)
    assert sizes.cumulative() == [("1.0", 1.0), ("2.0", 2.0), ("4.0", 3.0), ("+Inf", 4.0)]
    assert (sizes.count, sizes.total) == (4, 15)
    fast, slow = Histogram(), Histogram()
    fast.add(0.001)
    slow.add(2.0)
    both = together([fast, slow])
    assert (both.count, both.total, sum(both.buckets)) == (2, 2.001, 2)
