"""Traces of real processes, as a collector receives them over gRPC."""

from pathlib import Path
from typing import Any

import pytest

import kofn
from kofn.launch import Cluster, LocalWorkers
from models import data
from support.collector import collector

PATIENCE_S = 60.0

pytestmark = pytest.mark.timeout(120)


async def test_master_and_workers_send_one_trace(
    digits_store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Turned on by the standard variable alone; nothing is left behind at the end."""
    deployment = {
        "name": "digits",
        "program": "digits-mlp",
        "code": {"name": "parity", "k": 2, "n": 3},
        "policy": {"wait": "all"},
    }
    with collector() as heard:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", heard.endpoint)
        async with (
            Cluster(
                LocalWorkers(3), [deployment], store=digits_store.root, folder=tmp_path
            ) as cluster,
            kofn.AsyncClient(cluster.address) as client,
        ):
            await cluster.all_up(PATIENCE_S)
            await client.infer("digits", data.load("digits", "test").images.numpy()[:2])
        # What a process had not sent yet it has sent by its end.
        spans = {(service, span.name): span for service, span in heard.spans}
        assert {service for service, _ in heard.spans} == {"kofn-master", "kofn-worker"}
        assert len({span.trace_id for span in spans.values()}) == 1
        shards = {span.span_id for _, span in heard.spans if span.name == "shard"}
        tasks = [span for _, span in heard.spans if span.name == "task"]
        assert len(tasks) == 3
        assert {task.parent_span_id for task in tasks} == shards
