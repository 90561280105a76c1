"""A worker's Prometheus metrics, read from live counters when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from worker.dispatch import ENDS, Dispatcher
from worker.faults import KINDS
from worker.programs import Programs

FAULTS = ("delay", "corruption", *KINDS)


class WorkerCollector(Collector):
    """Turns the state of a worker into metric families.

    The master tells of workers by `kofn_worker_...`; a worker tells of its device.
    """

    def __init__(self, dispatcher: Dispatcher, programs: Programs) -> None:
        self._dispatcher = dispatcher
        self._programs = programs

    def collect(self) -> Iterator[Metric]:
        """All families, as they are now; called from the HTTP server's thread."""
        seen = self._dispatcher
        yield GaugeMetricFamily("kofn_device_queue_depth", "Tasks that wait.", seen.depth)
        yield GaugeMetricFamily("kofn_device_tasks_in_hand", "Waiting or served.", seen.in_hand)
        yield GaugeMetricFamily("kofn_device_draining", "1 when it leaves.", seen.is_draining)
        yield CounterMetricFamily("kofn_device_busy_seconds", "Time in service.", seen.busy_s)
        ended = CounterMetricFamily("kofn_device_tasks", "Tasks by end.", labels=["outcome"])
        for how in ENDS:
            ended.add_metric([how], seen.ended[how])
        yield ended
        for name, text, took in (
            ("queue", "Answered tasks' wait.", seen.queue_times),
            ("service", "Answered tasks' time on the device.", seen.service_times),
        ):
            yield HistogramMetricFamily(
                f"kofn_device_{name}_duration_seconds", text, took.cumulative(), took.total
            )
        held = GaugeMetricFamily("kofn_device_programs", "Programs held.", labels=["where"])
        held.add_metric(["memory"], self._programs.count_loaded)
        held.add_metric(["anywhere"], len(self._programs.names))
        yield held
        faults = GaugeMetricFamily("kofn_device_faults", "1 while in force.", labels=["fault"])
        for kind in FAULTS:
            faults.add_metric([kind], kind in seen.faults.kinds)
        yield faults
