"""A deployment in the protocol's own words: metadata, configuration, statistics, status.

Pure functions from live objects to messages; nothing is changed here.
"""

from importlib.metadata import version
from time import monotonic

from kofn.metrics import Histogram, together
from kofn.wire import control_pb2
from kofn.wire import inference_pb2 as pb
from kofn.wire.source import Source
from master.config import EXPECTED_ERROR, SOURCE
from master.deployment import Deployment
from master.link import Link
from master.state import State
from master.statistics import ANSWERED
from master.trust import Trust

VERSION = "1"  # the one version of each model that is served
PLATFORM = "pytorch_export"
SERVER_NAME = "kofn"
SERVER_VERSION = version("kofn")
EXTENSIONS = ("model_configuration", "statistics")


def server_metadata() -> pb.ServerMetadataResponse:
    """Name, version and the extensions of the protocol that are served."""
    return pb.ServerMetadataResponse(
        name=SERVER_NAME, version=SERVER_VERSION, extensions=EXTENSIONS
    )


def model_metadata(deployment: Deployment) -> pb.ModelMetadataResponse:
    """Inputs and outputs; -1 stands for any number of rows."""
    query, answer = deployment.binding.query, deployment.binding.answer
    # Of several models these have a column for each that is asked for.
    per_row = [-1, -1] if deployment.binding.models else [-1]
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=deployment.config.name,
        versions=[VERSION],
        platform=PLATFORM,
        inputs=[tensor(name=query.name, datatype=query.datatype, shape=[-1, *query.shape])],
        outputs=[
            *(
                tensor(name=name, datatype=answer.datatype, shape=[-1, *answer.shape])
                for name in deployment.outputs
            ),
            tensor(name=SOURCE, datatype="UINT8", shape=per_row),
            tensor(name=EXPECTED_ERROR, datatype="FP32", shape=per_row),
        ],
    )


def model_config(deployment: Deployment) -> pb.ModelConfigResponse:
    """Triton's configuration message, with the code among its parameters."""
    binding, batching = deployment.binding, deployment.config.batching
    code = binding.code
    coded = {
        "code": repr(code),
        "k": str(code.k),
        "n": str(code.n),
        "recovery_threshold": str(code.recovery_threshold),
        "exact": str(code.exact).lower(),
        "policy": str(deployment.policy),
        "program": deployment.program,
        "classes": ",".join(binding.classes),
        "models": ",".join(binding.models),
    }
    config = pb.ModelConfig(
        name=deployment.config.name,
        platform=PLATFORM,
        backend=SERVER_NAME,
        max_batch_size=batching.max_request_rows,
        input=[
            pb.ModelInput(
                name=binding.query.name,
                data_type=f"TYPE_{binding.query.datatype}",
                dims=binding.query.shape,
            )
        ],
        output=[
            pb.ModelOutput(
                name=name,
                data_type=f"TYPE_{binding.answer.datatype}",
                dims=binding.answer.shape,
            )
            for name in deployment.outputs
        ],
        dynamic_batching=pb.ModelDynamicBatching(
            preferred_batch_size=[batching.max_groups * code.q],
            max_queue_delay_microseconds=int(batching.max_delay_ms * 1e3),
        ),
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
        parameters={key: pb.ModelParameter(string_value=text) for key, text in coded.items()},
    )
    return pb.ModelConfigResponse(config=config)


def model_statistics(deployment: Deployment) -> pb.ModelStatistics:
    """Triton's counters: encode is compute_input, the wait for workers compute_infer."""
    seen = deployment.statistics
    stages = pb.InferStatistics(
        success=_duration(together(seen.requests[outcome] for outcome in ANSWERED)),
        fail=_duration(
            together(took for outcome, took in seen.requests.items() if outcome not in ANSWERED)
        ),
        queue=_duration(seen.queue),
        compute_input=_duration(seen.encode),
        compute_infer=_duration(seen.wait),
        compute_output=_duration(seen.decode),
    )
    return pb.ModelStatistics(
        name=deployment.config.name,
        version=VERSION,
        last_inference=seen.last_inference_ms,
        inference_count=seen.rows[Source.DIRECT] + seen.rows[Source.DECODED],
        execution_count=seen.batches,
        inference_stats=stages,
    )


def deployment_status(deployment: Deployment) -> control_pb2.DeploymentStatus:
    """What `kofn status` shows of a deployment."""
    code, seen = deployment.binding.code, deployment.statistics
    return control_pb2.DeploymentStatus(
        name=deployment.config.name,
        program=deployment.program,
        code=str(code),
        k=code.k,
        n=code.n,
        recovery_threshold=code.recovery_threshold,
        exact=code.exact,
        policy=str(deployment.policy),
        ready=deployment.is_ready,
        queued_rows=deployment.queued_rows,
        queue_limit_rows=deployment.config.batching.queue_rows,
        batches_in_flight=deployment.batches_in_flight,
        answered_rows=seen.rows[Source.DIRECT] + seen.rows[Source.DECODED],
        direct_rows=seen.rows[Source.DIRECT],
        decoded_rows=seen.rows[Source.DECODED],
        failed_rows=seen.rows[Source.MISSING],
        p50_ms=1e3 * (seen.reply_latency.quantile(0.5) or 0.0),
        p99_ms=1e3 * (seen.reply_latency.quantile(0.99) or 0.0),
        tasks_sent=seen.tasks_sent,
        tasks_hedged=seen.tasks_resent,
        models=deployment.binding.models,
        residual=seen.consistency.residual,
        checked_batches=seen.consistency.checked,
        suspicious_batches=seen.consistency.suspicious,
    )


def worker_status(link: Link, trust: Trust) -> control_pb2.WorkerStatus:
    """What `kofn status` shows of a worker."""
    standing = trust.standing(link.address)
    return control_pb2.WorkerStatus(
        name=link.name,
        address=link.address,
        state=link.state if link.state != "up" or standing == "trusted" else standing,
        device=link.greeting.device,
        process_id=link.greeting.process_id,
        outstanding=link.in_flight,
        queue_depth=link.queue_depth,
        results=link.results,
        lost=link.losses + link.failures,
        p50_ms=1e3 * (link.latency.quantile(0.5) or 0.0),
        p99_ms=1e3 * (link.latency.quantile(0.99) or 0.0),
        cancelled=link.cancellations,
        busy_s=link.busy_s,
        trust=trust.score(link.address),
        lies=trust.lies(link.address),
    )


def status(state: State) -> control_pb2.Status:
    """The whole master."""
    return control_pb2.Status(
        version=VERSION,
        process_id=state.process_id,
        uptime_s=monotonic() - state.started,
        workers=[worker_status(link, state.pool.trust) for link in state.pool.links.values()],
        deployments=[deployment_status(item) for item in state.deployments.values()],
    )


def _duration(seen: Histogram) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=seen.count, ns=int(1e9 * seen.total))
