"""Prometheus metrics over HTTP, read from the live counters when somebody scrapes.

Nothing is counted here: serving pays for its own statistics only, and a scrape reads them.
Names are conventional: base units, `_total` for counters, few labels and never a query's id.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from math import nan

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from master.describe import SERVER_VERSION
from master.state import State

STAGES = ("queue", "encode", "wait", "decode")
FAULTS = ("delay", "corruption", "exit", "hang", "refuse", "drop", "disconnect")  # worker.proto


class MasterCollector(Collector):
    """Turns the state of a master into metric families; make it on the master's event loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterator[Metric]:
        """All families, as they are now; called from the HTTP server's thread."""
        build = GaugeMetricFamily("kofn_build_info", "Always 1.", labels=["version"])
        build.add_metric([SERVER_VERSION], 1)
        yield build
        yield GaugeMetricFamily(
            "kofn_asyncio_tasks", "Running tasks.", len(asyncio.all_tasks(self._loop))
        )
        yield from self._of_deployments()
        yield from self._of_workers()

    def _of_deployments(self) -> Iterable[Metric]:
        label = ["deployment"]
        rows = CounterMetricFamily(
            "kofn_rows", "Rows by where their answer came from.", labels=[*label, "source"]
        )
        batches = CounterMetricFamily("kofn_batches", "Coded batches that landed.", labels=label)
        tasks = CounterMetricFamily("kofn_tasks", "Tasks sent to workers.", labels=label)
        resent = CounterMetricFamily(
            "kofn_tasks_resent", "Hedges and second tries among the tasks.", labels=label
        )
        ready = GaugeMetricFamily(
            "kofn_deployment_ready", "1 when enough workers are up to answer.", labels=label
        )
        queued = GaugeMetricFamily("kofn_queued_rows", "Rows waiting for a batch.", labels=label)
        limit = GaugeMetricFamily("kofn_queue_limit_rows", "Rows that may wait.", labels=label)
        flying = GaugeMetricFamily("kofn_batches_in_flight", "Batches at workers.", labels=label)
        seconds = HistogramMetricFamily(
            "kofn_request_duration_seconds", "Arrival to reply.", labels=[*label, "outcome"]
        )
        stages = HistogramMetricFamily(
            "kofn_stage_duration_seconds", "Stages of a request.", labels=[*label, "stage"]
        )
        batch_rows = HistogramMetricFamily(
            "kofn_batch_rows", "Rows of clients in a coded batch.", labels=label
        )
        groups = HistogramMetricFamily(
            "kofn_batch_groups", "Coding groups in a coded batch.", labels=label
        )
        residual = GaugeMetricFamily(
            "kofn_coding_residual",
            "How badly results fit together lately, as a share of their size.",
            labels=label,
        )
        checked = CounterMetricFamily(
            "kofn_checked_batches", "Batches whose results were compared.", labels=label
        )
        suspicious = CounterMetricFamily(
            "kofn_suspicious_batches", "Of these: did not fit together.", labels=label
        )
        for name, deployment in list(self._state.deployments.items()):
            seen = deployment.statistics
            for source, count in list(seen.rows.items()):
                rows.add_metric([name, source.name.lower()], count)
            batches.add_metric([name], seen.batches)
            tasks.add_metric([name], seen.tasks_sent)
            resent.add_metric([name], seen.tasks_resent)
            ready.add_metric([name], deployment.is_ready)
            queued.add_metric([name], deployment.queued_rows)
            limit.add_metric([name], deployment.config.batching.queue_rows)
            flying.add_metric([name], deployment.batches_in_flight)
            for outcome, took in seen.requests.items():
                seconds.add_metric([name, outcome], took.cumulative(), took.total)
            for stage in STAGES:
                took = getattr(seen, stage)
                stages.add_metric([name, stage], took.cumulative(), took.total)
            batch_rows.add_metric([name], seen.batch_rows.cumulative(), seen.batch_rows.total)
            groups.add_metric([name], seen.batch_groups.cumulative(), seen.batch_groups.total)
            residual.add_metric(
                [name], seen.consistency.residual if seen.consistency.checked else nan
            )
            checked.add_metric([name], seen.consistency.checked)
            suspicious.add_metric([name], seen.consistency.suspicious)
        sizes = (batch_rows, groups)
        counts = (rows, batches, tasks, resent, checked, suspicious)
        return ready, queued, limit, flying, residual, *counts, seconds, stages, *sizes

    def _of_workers(self) -> Iterable[Metric]:
        label = ["worker"]
        up = GaugeMetricFamily("kofn_worker_up", "1 when it may be sent work.", labels=label)
        connections = CounterMetricFamily(
            "kofn_worker_connections", "How often it was connected.", labels=label
        )
        flying = GaugeMetricFamily("kofn_worker_tasks_in_flight", "Sent, open.", labels=label)
        waiting = GaugeMetricFamily(
            "kofn_worker_queue_depth", "Tasks that wait there, as last reported.", labels=label
        )
        ended = CounterMetricFamily(
            "kofn_worker_tasks", "Tasks by how they ended.", labels=[*label, "outcome"]
        )
        busy = CounterMetricFamily(
            "kofn_worker_busy_seconds", "Service time that the worker reported.", labels=label
        )
        sent = CounterMetricFamily(
            "kofn_worker_sent_bytes", "Payload of the tasks that it was sent.", labels=label
        )
        trips = HistogramMetricFamily(
            "kofn_worker_task_duration_seconds", "Round trip of answered tasks.", labels=label
        )
        queue = HistogramMetricFamily(
            "kofn_worker_queue_duration_seconds", "Answered tasks' wait there.", labels=label
        )
        service = HistogramMetricFamily(
            "kofn_worker_service_duration_seconds",
            "Answered tasks' time on the device, injected delay included.",
            labels=label,
        )
        faults = GaugeMetricFamily(
            "kofn_worker_faults", "1 while it injects such a fault.", labels=[*label, "fault"]
        )
        quarantined = GaugeMetricFamily(
            "kofn_worker_quarantined", "1 while it is kept out for its lies.", labels=label
        )
        trusted = GaugeMetricFamily(
            "kofn_worker_trust", "Share of its judged results that were right, lately.",
            labels=label,
        )  # fmt: skip
        lies = CounterMetricFamily("kofn_worker_lies", "Results found to be wrong.", labels=label)
        trust = self._state.pool.trust
        links = list(self._state.pool.links.values())
        names = Counter(link.name for link in links)
        for link in links:
            # A worker that moved leaves its old address behind for a while, under the same name.
            is_alone = names[link.name] == 1
            name = [link.name if is_alone else f"{link.name}@{link.address}"]
            is_out = trust.standing(link.address) == "quarantined"
            up.add_metric(name, link.state == "up" and not is_out)
            quarantined.add_metric(name, is_out)
            trusted.add_metric(name, trust.score(link.address))
            lies.add_metric(name, trust.lies(link.address))
            connections.add_metric(name, link.connections)
            flying.add_metric(name, link.in_flight)
            waiting.add_metric(name, link.queue_depth)
            ended.add_metric([*name, "answered"], link.results)
            ended.add_metric([*name, "failed"], link.failures)
            ended.add_metric([*name, "lost"], link.losses)
            ended.add_metric([*name, "cancelled"], link.cancellations)
            busy.add_metric(name, link.busy_s)
            sent.add_metric(name, link.sent_bytes)
            trips.add_metric(name, link.round_trips.cumulative(), link.round_trips.total)
            queue.add_metric(name, link.queue_times.cumulative(), link.queue_times.total)
            service.add_metric(name, link.service_times.cumulative(), link.service_times.total)
            for kind in FAULTS:
                faults.add_metric([*name, kind], kind in link.faults)
        tasks = (flying, waiting, ended, busy, sent, trips, queue, service)
        return up, connections, *tasks, faults, quarantined, trusted, lies
