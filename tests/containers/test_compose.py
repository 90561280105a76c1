"""`docker compose up`: a cluster that answers, grows, shrinks and heals while queries run."""

import asyncio
import urllib.request
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import kofn
from kofn.wire import inference_pb2, inference_pb2_grpc
from support.compose import Project, docker, inspected, process_of
from support.querying import REQUEST_S, ROWS, known, load, more, workers_up

WORKERS, MANY = 6, 16
KOFN_USER = 10001

pytestmark = pytest.mark.timeout(900)


async def test_any_open_inference_client_is_answered_on_the_published_port(
    cluster: Project, images_and_truth: tuple[np.ndarray, np.ndarray]
) -> None:
    """A plain gRPC channel and the published messages; health and metrics beside them."""
    images, truth = images_and_truth
    request = inference_pb2.ModelInferRequest(model_name="digits", id="from-outside")
    request.inputs.add(name="input", datatype="FP32", shape=[8, 1, 8, 8])
    request.raw_input_contents.append(images[:8].tobytes())
    request.parameters["wait"].string_param = "all"
    async with grpc.aio.insecure_channel(cluster.address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        reply = await stub.ModelInfer(request, timeout=REQUEST_S)
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "digits"):
            asked = health_pb2.HealthCheckRequest(service=service)
            assert (await health.Check(asked)).status == health_pb2.HealthCheckResponse.SERVING
    assert reply.id == "from-outside"
    (outputs,) = [
        np.frombuffer(raw, np.float32).reshape(8, 10)
        for output, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
        if output.name == "logits"
    ]
    np.testing.assert_allclose(outputs, truth[:8], rtol=1e-4, atol=1e-4)
    assert "kofn_worker_up{" in await asyncio.to_thread(_metrics, cluster)


def test_no_container_has_more_rights_than_it_needs(cluster: Project) -> None:
    """Another user than root in every process, and nothing of the image is its own."""
    for container in (*cluster.containers("worker"), *cluster.containers("master")):
        first = process_of(container)
        services = first.children(recursive=True)
        assert services
        for process in services:
            assert process.uids().real == KOFN_USER
        told = inspected(container)["HostConfig"]
        assert told["CapDrop"] == ["ALL"]
        assert not told["Privileged"]
        owned = docker(
            "exec", container, "find", "/app", "/opt/kofn", "-writable", "-not", "-type", "l"
        )
        assert owned == ""


async def test_faults_act_on_a_container_live(
    cluster: Project, images_and_truth: tuple[np.ndarray, np.ndarray]
) -> None:
    """A straggler in a container is overtaken by the code."""
    images, _ = images_and_truth
    async with kofn.AsyncClient(cluster.address) as client:
        late = min(worker.name for worker in (await client.status()).workers)
        fault = {"delay": {"law": "constant", "mean_ms": 600_000}}
        try:
            await client.set_faults(fault, [late])
            answers = await client.infer("digits", images[:ROWS], timeout_s=REQUEST_S)
        finally:
            await client.set_faults(None, [late])
    assert (answers.source != kofn.Source.MISSING).all()


async def test_workers_come_and_go_while_queries_run(
    cluster: Project, images_and_truth: tuple[np.ndarray, np.ndarray]
) -> None:
    """6, 16, 6: not one query is lost, and what came directly is what the model says."""
    images, truth = images_and_truth
    async with kofn.AsyncClient(cluster.address) as client:
        async with load(client, images, truth) as answered:
            await scale(cluster, MANY)
            await workers_up(client, MANY)
            await more(answered)
            used = [worker for worker in (await client.status()).workers if worker.results]
            assert len(used) > WORKERS, "the new ones do their share"
            await scale(cluster, WORKERS)
            await more(answered)
        await workers_up(client, WORKERS)
        await known(client, WORKERS)
        (told,) = (await client.status()).deployments
        assert told.failed_rows == 0


async def test_a_killed_container_is_missed_and_used_again(
    cluster: Project,
    images_and_truth: tuple[np.ndarray, np.ndarray],
    record_property: Callable[[str, object], None],
) -> None:
    """Killed under load without a loss; once it is started it serves again."""
    images, truth = images_and_truth
    victim = cluster.containers("worker")[0]
    async with kofn.AsyncClient(cluster.address) as client, load(client, images, truth):
        await asyncio.to_thread(docker, "kill", victim)
        await workers_up(client, WORKERS - 1)
        started_s = asyncio.get_running_loop().time()
        await asyncio.to_thread(docker, "start", victim)
        await workers_up(client, WORKERS)
        record_property("rejoin_s", asyncio.get_running_loop().time() - started_s)


async def test_a_worker_that_comes_back_elsewhere_is_found(cluster: Project) -> None:
    """A new container takes an old one's place, at an address that the master never saw."""
    async with kofn.AsyncClient(cluster.address) as client:
        await workers_up(client, WORKERS)
        seen = {worker.address for worker in (await client.status()).workers}
        victim = cluster.containers("worker")[-1]
        (network,) = inspected(victim)["NetworkSettings"]["Networks"]
        image = inspected(victim)["Config"]["Image"]
        await asyncio.to_thread(docker, "rm", "--force", victim)
        # Somebody else takes the address that is free now, and the next container another one.
        squatter = await asyncio.to_thread(
            docker, "run", "--detach", "--rm", "--network", network, image, "sleep", "600"
        )
        try:
            await asyncio.to_thread(cluster.compose, "up", "--detach", "--no-recreate")
            await workers_up(client, WORKERS)
            addresses = {w.address for w in (await client.status()).workers if w.state == "up"}
            assert addresses - seen
        finally:
            await asyncio.to_thread(docker, "rm", "--force", squatter.strip())


def test_a_stopped_worker_leaves_in_order(cluster: Project) -> None:
    """Process 1 hands SIGTERM on; the worker drains and ends with 0, long before it is killed."""
    stopped = cluster.containers("worker")[-1]
    docker("stop", "--time", "120", stopped)
    state = inspected(stopped)["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    assert '"draining"' in cluster.compose("logs", "--no-color", "worker").stdout
    docker("start", stopped)


async def scale(cluster: Project, workers: int) -> None:
    """As a user does."""
    flags = ("--detach", "--no-recreate", "--scale", f"worker={workers}")
    await asyncio.to_thread(cluster.compose, "up", *flags)


def _metrics(cluster: Project) -> str:
    with urllib.request.urlopen(f"http://{cluster.metrics_address}/metrics", timeout=30) as reply:
        return str(reply.read().decode())
