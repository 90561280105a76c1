"""A worker's own metrics: read by Prometheus' own parser, moved by its tasks, all documented."""

from typing import Any

from support.metrics import documented, scrape


async def test_what_a_worker_does_is_seen(start: Any, dial: Any) -> None:
    """Answered and failed tasks, its times, its programs, its faults."""
    worker = await start(metrics_port=0)
    master = await dial(worker)
    await master.set_faults('{"delay": {"law": "constant", "value_ms": 3}}')
    await master.send(master.task(1), master.task(2))
    await master.results(2)
    await master.set_faults('{"failure": {"kind": "refuse", "probability": 1.0}}')
    await master.send(master.task(3))
    await master.results(1)
    seen = await scrape(worker.metrics_address)
    assert seen.shapes() == documented(table=1)
    assert seen.value("kofn_device_tasks_total", outcome="answered") == 2
    assert seen.value("kofn_device_tasks_total", outcome="failed") == 1
    assert seen.value("kofn_device_service_duration_seconds_sum") >= 0.003
    assert seen.value("kofn_device_queue_depth") == 0
    assert seen.value("kofn_device_programs", where="memory") == 1
    assert seen.value("kofn_device_faults", fault="refuse") == 1
    assert seen.value("kofn_device_faults", fault="delay") == 0
    assert seen.value("process_resident_memory_bytes") > 1e6
