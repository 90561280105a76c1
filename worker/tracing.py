"""The worker's spans: one for each task that its master traces, with its wait and its service.

Made when a task has ended, from the times that were measured anyway; sampling is the master's.
"""

from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context

from kofn.tracing import context_of, epoch_ns
from worker.runner import Job, Outcome

USUAL = ("answered", "cancelled")


class TaskSpans:
    """Makes the spans of one worker's tasks."""

    def __init__(self, tracer: Tracer, worker: str) -> None:
        self._tracer = tracer
        self._worker = worker

    def ended(self, job: Job, how: str, outcome: Outcome | None) -> None:
        """A task has ended: answered, cancelled, or by an error's reason.

        Args:
            outcome: has its times; None where it never left the device.
        """
        arrived_ns = epoch_ns(job.arrived_s)
        task = self._tracer.start_span(
            "task",
            context_of(job.traceparent),
            SpanKind.SERVER,
            {
                "kofn.worker": self._worker,
                "kofn.batch": job.batch,
                "kofn.program": job.program.hash[:12],
                "kofn.rows": job.rows,
                "kofn.outcome": how,
            },
            start_time=arrived_ns,
        )
        if how not in USUAL:
            task.set_status(Status(StatusCode.ERROR, how))
        if outcome is not None and outcome.service_s:
            inside = set_span_in_context(task)
            taken_ns = arrived_ns + int(1e9 * outcome.queue_s)
            done_ns = taken_ns + int(1e9 * outcome.service_s)
            for name, start, end in (
                ("queue", arrived_ns, taken_ns),
                ("compute", taken_ns, done_ns),
            ):
                self._tracer.start_span(name, inside, start_time=start).end(end)
        task.end()
