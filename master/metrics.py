"""Prometheus metrics over HTTP, read from the live counters when somebody scrapes.

Nothing is counted here: serving pays for its own statistics only, and a scrape reads them.
Names are conventional: base units, `_total` for counters, few labels and never a query's id.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
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


class MasterCollector(Collector):
    """Turns the state of a master into metric families."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """All families, as they are now; called from the HTTP server's thread."""
        build = GaugeMetricFamily("kofn_build_info", "Always 1.", labels=["version"])
        build.add_metric([SERVER_VERSION], 1)
        yield build
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
        queued = GaugeMetricFamily("kofn_queued_rows", "Rows waiting for a batch.", labels=label)
        flying = GaugeMetricFamily("kofn_batches_in_flight", "Batches at workers.", labels=label)
        seconds = HistogramMetricFamily(
            "kofn_request_duration_seconds", "Arrival to reply.", labels=[*label, "outcome"]
        )
        stages = HistogramMetricFamily(
            "kofn_stage_duration_seconds", "Stages of a request.", labels=[*label, "stage"]
        )
        for name, deployment in list(self._state.deployments.items()):
            seen = deployment.statistics
            for source, count in list(seen.rows.items()):
                rows.add_metric([name, source.name.lower()], count)
            batches.add_metric([name], seen.batches)
            tasks.add_metric([name], seen.tasks_sent)
            resent.add_metric([name], seen.tasks_resent)
            queued.add_metric([name], deployment.queued_rows)
            flying.add_metric([name], deployment.batches_in_flight)
            for outcome, duration in (("ok", seen.replies), ("error", seen.failures)):
                seconds.add_metric([name, outcome], duration.cumulative(), duration.total_s)
            for stage in STAGES:
                duration = getattr(seen, stage)
                stages.add_metric([name, stage], duration.cumulative(), duration.total_s)
        return rows, batches, tasks, resent, queued, flying, seconds, stages

    def _of_workers(self) -> Iterable[Metric]:
        label = ["worker"]
        up = GaugeMetricFamily("kofn_worker_up", "1 when it may be sent work.", labels=label)
        flying = GaugeMetricFamily("kofn_worker_tasks_in_flight", "Sent, open.", labels=label)
        ended = CounterMetricFamily(
            "kofn_worker_tasks", "Tasks by how they ended.", labels=[*label, "outcome"]
        )
        busy = CounterMetricFamily(
            "kofn_worker_busy_seconds", "Service time that the worker reported.", labels=label
        )
        trips = HistogramMetricFamily(
            "kofn_worker_task_duration_seconds", "Round trip of answered tasks.", labels=label
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
        for link in list(self._state.pool.links.values()):
            name = [link.name]
            is_out = trust.standing(link.address) == "quarantined"
            up.add_metric(name, link.state == "up" and not is_out)
            quarantined.add_metric(name, is_out)
            trusted.add_metric(name, trust.score(link.address))
            lies.add_metric(name, trust.lies(link.address))
            flying.add_metric(name, link.in_flight)
            ended.add_metric([*name, "answered"], link.results)
            ended.add_metric([*name, "lost"], link.losses)
            ended.add_metric([*name, "cancelled"], link.cancellations)
            busy.add_metric(name, link.busy_s)
            trips.add_metric(name, link.round_trips.cumulative(), link.round_trips.total_s)
        return up, flying, ended, busy, trips, quarantined, trusted, lies


def serve_metrics(state: State, host: str, port: int) -> "MetricsServer":
    """Start the HTTP server; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(MasterCollector(state))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port} for metrics: {error.strerror}") from error
    return MetricsServer(server, thread)


class MetricsServer:
    """The running HTTP server."""

    def __init__(self, server, thread) -> None:  # type: ignore[no-untyped-def] # library types
        self._server, self._thread = server, thread

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening; returns when its thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
