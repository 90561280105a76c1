"""The pods of the Kubernetes manifests, run by a plain container engine as they are written.

There is no kubelet here: the test starts containers with the pods' image, command, variables, user,
rights and volumes, asks what the probes ask, and ends them within the grace period.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import kofn
from kofn.launch.engine import connect
from models import data
from support.manifests import ROOT, Manifests, Service, render

WORKERS = 4  # R of the deployment in the manifests; fewer than they start, to be thrifty here
PATIENCE_S = 180.0
SERVING = health_pb2.HealthCheckResponse.SERVING

pytestmark = pytest.mark.timeout(600)


class Pods:
    """Containers on a network of their own, made from the manifests.

    Args:
        engine: of the Docker SDK.
        folder: for the files of the ConfigMap.
        images: by role, in place of those that the manifests name.
    """

    def __init__(self, engine: Any, folder: Path, images: Mapping[str, str]) -> None:
        self.manifests = Manifests(render(ROOT / "deploy" / "kubernetes" / "base"), folder)
        self.worker, self.master = self.manifests.services
        self._engine = engine
        self._folder = folder
        self._images = images
        self._network = engine.networks.create(f"kofn-pods-{uuid4().hex[:8]}")
        self._containers: list[Any] = []

    def start(self, service: Service) -> Any:
        """One pod of that service."""
        pod, container = service.pod, service.container
        rights = pod["securityContext"] | container["securityContext"]
        # The headless Service is a name for all its pods: here an alias that they share.
        alias = self.manifests.of("StatefulSet", "kofn-worker")["spec"]["serviceName"]
        networking = self._engine.api.create_endpoint_config(
            aliases=[alias] if service is self.worker else []
        )
        started = self._engine.containers.create(
            self._images[service.role],
            entrypoint=container["command"],
            command=container.get("args", []),
            environment=service.environment,
            user=f"{rights['runAsUser']}:{rights['runAsGroup']}",
            read_only=rights["readOnlyRootFilesystem"],
            cap_drop=rights["capabilities"]["drop"],
            security_opt=["no-new-privileges:true"],
            init=pod["shareProcessNamespace"],
            network=self._network.name,
            networking_config={self._network.name: networking},
            tmpfs=self._empty_dirs(service),
            volumes=self._config_maps(service),
        )
        self._containers.append(started)
        started.start()
        return started

    def address(self, container: Any, service: Service) -> str:
        """Where the container's gRPC port is, from this machine."""
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
        return f"{networks[self._network.name]['IPAddress']}:{service.listens['grpc']}"

    def wait_until(self, container: Any, service: Service, probe: str) -> None:
        """Return once that probe would be told that it serves."""
        with grpc.insecure_channel(self.address(container, service)) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch
            told = watch(asked(service, probe), timeout=PATIENCE_S, wait_for_ready=True)
            try:
                while next(told).status != SERVING:
                    pass
            except grpc.RpcError as error:
                pytest.fail(f"{error}\n{container.logs().decode()}")

    def is_serving(self, container: Any, service: Service, probe: str) -> bool:
        """What a probe of the manifest is told now."""
        with grpc.insecure_channel(self.address(container, service)) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            return bool(check(asked(service, probe), timeout=PATIENCE_S).status == SERVING)

    def end(self, container: Any, service: Service) -> int:
        """SIGTERM, and SIGKILL after the grace period, as a kubelet does; the exit status."""
        container.stop(timeout=service.pod["terminationGracePeriodSeconds"])
        return int(container.wait()["StatusCode"])

    def remove(self) -> None:
        """Nothing of it stays."""
        for container in self._containers:
            container.remove(force=True, v=True)
        self._network.remove()

    def _empty_dirs(self, service: Service) -> dict[str, str]:
        volumes = {v["name"] for v in service.pod["volumes"] if "emptyDir" in v}
        mounts = service.container["volumeMounts"]
        return {mount["mountPath"]: "mode=1777" for mount in mounts if mount["name"] in volumes}

    def _config_maps(self, service: Service) -> dict[str, dict[str, str]]:
        bound = {}
        for volume in service.pod["volumes"]:
            if "configMap" not in volume:
                continue
            folder = self._folder / volume["name"]
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)  # the container's user is another
            name = volume["configMap"]["name"]
            for file, text in self.manifests.of("ConfigMap", name)["data"].items():
                (folder / file).write_text(text)
            mounts = service.container["volumeMounts"]
            path = next(m["mountPath"] for m in mounts if m["name"] == volume["name"])
            bound[str(folder)] = {"bind": path, "mode": "ro"}
        return bound


def asked(service: Service, probe: str) -> health_pb2.HealthCheckRequest:
    """What a kubelet would send for that probe."""
    named = service.container[f"{probe}Probe"]["grpc"].get("service", "")
    return health_pb2.HealthCheckRequest(service=named)


@pytest.fixture
def pods(images: Mapping[str, str], tmp_path: Path) -> Iterator[Pods]:
    """None yet, on the engine of this machine, of the images that this checkout gives."""
    built = {"master": images["KOFN_IMAGE"], "worker": images["KOFN_WORKER_IMAGE"]}
    with contextlib.closing(connect()) as engine:
        made = Pods(engine, tmp_path, built)
        try:
            yield made
        finally:
            made.remove()


def test_pods_serve_and_end_as_the_manifests_say(pods: Pods) -> None:
    """A master alive before it is ready; workers found by name; answers; ends within the grace."""
    master = pods.start(pods.master)
    pods.wait_until(master, pods.master, "startup")
    assert pods.is_serving(master, pods.master, "liveness")
    assert not pods.is_serving(master, pods.master, "readiness")

    workers = [pods.start(pods.worker) for _ in range(WORKERS)]
    for worker in workers:
        pods.wait_until(worker, pods.worker, "readiness")
    pods.wait_until(master, pods.master, "readiness")

    test = data.load("digits", "test")
    with kofn.Client(pods.address(master, pods.master)) as client:
        answers = client.infer("digits", test.images[:64].numpy(), timeout_s=30, wait="all")
    right = answers.outputs.argmax(1) == test.labels[:64].numpy()
    assert right.mean() > 0.9

    ends: list[tuple[Any, Service]] = [(workers[0], pods.worker), (master, pods.master)]
    for container, service in ends:
        assert pods.end(container, service) == 0
        assert b"Read-only file system" not in container.logs()
