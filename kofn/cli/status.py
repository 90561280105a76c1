"""`kofn status`: what a running master says of its workers and deployments."""

import re
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from kofn.cli.connection import At, connecting
from kofn.cli.output import Json, paper, print_json, print_table
from kofn.wire import control_pb2


@connecting
def status(
    at: At,
    as_json: Json = False,
    timeout_s: Annotated[float, typer.Option(help="Most seconds to wait.")] = 5.0,
) -> None:
    """Show workers, health, deployed models, codes, queues and latencies."""
    with at.client(timeout_s=timeout_s) as client:
        told = client.status()
        is_ready = client.is_ready()
    if as_json:
        fields = MessageToDict(
            told, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        print_json({"ready": is_ready, **fields})
        return
    health = "ready" if is_ready else "not ready"
    paper.print(
        f"master {at.master}: {health}, up {told.uptime_s:.0f} s, process {told.process_id}\n"
    )
    print_table("Deployments", _DEPLOYMENT, map(_deployment_row, told.deployments))
    print_table("Workers", _WORKER, map(_worker_row, sorted(told.workers, key=lambda w: w.name)))


_DEPLOYMENT = (
    "model", "ready", "code", "k", "n", "R", "exact", "policy", "queue", "answered", "decoded",
    "failed", "p50 ms", "p99 ms", "residual",
)  # fmt: skip
_WORKER = (
    "worker", "state", "trust", "address", "device", "process", "in flight", "queue", "answered",
    "lost", "lies", "cancelled", "p50 ms", "p99 ms",
)  # fmt: skip

_KEYS = re.compile(r"\(.*\)")  # of a code's repr; --json has them


def _deployment_row(told: control_pb2.DeploymentStatus) -> tuple[object, ...]:
    return (
        told.name, "yes" if told.ready else "no", _KEYS.sub("", told.code), told.k, told.n,
        told.recovery_threshold, "yes" if told.exact else "no", told.policy,
        f"{told.queued_rows}/{told.queue_limit_rows}", told.answered_rows, told.decoded_rows,
        told.failed_rows, f"{told.p50_ms:.1f}", f"{told.p99_ms:.1f}",
        f"{told.residual:.3f}" if told.checked_batches else "",
    )  # fmt: skip


def _worker_row(told: control_pb2.WorkerStatus) -> tuple[object, ...]:
    return (
        told.name, told.state, f"{told.trust:.2f}", told.address, told.device, told.process_id,
        told.outstanding, told.queue_depth, told.results, told.lost, told.lies, told.cancelled,
        f"{told.p50_ms:.1f}", f"{told.p99_ms:.1f}",
    )  # fmt: skip
