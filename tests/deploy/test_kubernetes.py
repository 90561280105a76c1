"""The Kubernetes manifests, rendered by kubectl and checked without a cluster."""

import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.manifest_checks import problems
from support.manifests import ROOT, VERSIONS, Object, render, schema_problems, unlisted

KUBERNETES = ROOT / "deploy" / "kubernetes"
LAYERS = ("base", "overlays/gpu", "overlays/tls")

if shutil.which("kubectl") is None and not os.environ.get("CI"):
    pytest.skip("needs kubectl, which renders kustomizations", allow_module_level=True)


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Object]]:
    """What each layer renders to."""
    return {layer: render(KUBERNETES / layer) for layer in LAYERS}


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_is_wrong(rendered: dict[str, list[Object]], layer: str, tmp_path: Path) -> None:
    """By the strict schemas of two versions, and beside the code."""
    kinds = sorted(item["kind"] for item in rendered[layer])
    budgets = ["PodDisruptionBudget"] * 2
    assert kinds == ["ConfigMap", "Deployment", *budgets, *["Service"] * 2, "StatefulSet"]
    assert schema_problems(rendered[layer]) == []
    assert problems(rendered[layer], tmp_path) == []


def test_every_file_is_in_its_kustomization() -> None:
    """No manifest lies there unused, and every layer is tested."""
    found = {path.parent for path in KUBERNETES.rglob("kustomization.yaml")}
    assert found == {KUBERNETES / layer for layer in LAYERS}
    for folder in found:
        assert unlisted(folder) == set()


def test_the_images_are_those_that_are_built(rendered: dict[str, list[Object]]) -> None:
    """By the names that the compose file gives them."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    built = {role: compose[role]["image"].split(":-")[1].rstrip("}") for role in compose}
    for role, item in (("worker", "StatefulSet"), ("master", "Deployment")):
        assert container(of(rendered["base"], item))["image"] == built[role]


def test_gpu_workers_have_a_gpu_and_masters_none(rendered: dict[str, list[Object]]) -> None:
    """One each, with the image that is built for it, and on the nodes that have it."""
    worker = of(rendered["overlays/gpu"], "StatefulSet")["spec"]["template"]["spec"]
    assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker["containers"][0]["image"] == "kofn-worker:cuda"
    assert {"name": "KOFN_WORKER_DEVICE", "value": "cuda"} in worker["containers"][0]["env"]
    assert worker["tolerations"][0]["key"] == "nvidia.com/gpu"
    master = of(rendered["overlays/gpu"], "Deployment")
    assert "nvidia.com/gpu" not in str(master)


def of(objects: list[Object], kind: str, name: str = "") -> Object:
    """The first of that kind whose name ends so."""
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(name))


def container(workload: Object) -> Object:
    """A workload's one container."""
    return workload["spec"]["template"]["spec"]["containers"][0]


def put(kind: str, path: str, value: Any, name: str = "") -> Callable[[list[Object]], None]:
    """A fault: something else at a path in an object; None takes away what is there."""

    def plant(objects: list[Object]) -> None:
        where: Any = of(objects, kind, name)
        steps = [step.replace("~", "/") for step in path.split("/")]
        *steps, last = [int(step) if step.isdecimal() else step for step in steps]
        for step in steps:
            where = where[step]
        if value is None:
            del where[last]
        else:
            where[last] = value

    return plant


POD = "spec/template/spec"
ONE = f"{POD}/containers/0"
ROLE = "app.kubernetes.io~component"  # ~ stands for a slash within a step


def config(old: str, new: str) -> Callable[[list[Object]], None]:
    """A fault in the deployment file."""

    def plant(objects: list[Object]) -> None:
        data = of(objects, "ConfigMap")["data"]
        assert old in data["deployment.yaml"]
        data["deployment.yaml"] = data["deployment.yaml"].replace(old, new)

    return plant


FIELDS = {
    "unknown": (put("StatefulSet", f"{POD}/restart", "x"), "'restart' was unexpected"),
    "wrong type": (put("StatefulSet", "spec/replicas", "six"), "'six' is not of type 'integer'"),
    "missing": (put("Service", "spec/ports/0/port", None, "kofn"), "'port' is a required"),
    "probe by name": (put("Deployment", f"{ONE}/startupProbe/grpc/port", "grpc"), "'grpc' is not"),
}
FAULTS = {
    "selector": (put("Service", f"spec/selector/{ROLE}", "work", "workers"), "finds 0 kinds"),
    "wide selector": (put("Service", f"spec/selector/{ROLE}", None, "kofn"), "finds 2 kinds"),
    "budget's selector": (
        put("PodDisruptionBudget", f"spec/selector/matchLabels/{ROLE}", "x"), "finds 0 kinds"),
    "swapped selector": (
        put("Deployment", f"spec/selector/matchLabels/{ROLE}", "worker"), "another's pods"),
    "spread": (
        put("Deployment", f"{POD}/topologySpreadConstraints/0/labelSelector/matchLabels/{ROLE}",
            "worker"), "spread by its own labels"),
    "service port": (put("Service", "spec/ports/0/port", 9001, "workers"), "the workers are at"),
    "target port": (put("Service", "spec/ports/1/targetPort", "http", "kofn"), "leads nowhere"),
    "container port": (put("StatefulSet", f"{ONE}/ports/0/containerPort", 9001), "listens on"),
    "flag's port": (put("StatefulSet", f"{ONE}/args", ["--port", "9001"]), "listens on"),
    "no port": (put("StatefulSet", f"{ONE}/args", ["--port", "many"]), "valid integer"),
    "probe's port": (
        put("Deployment", f"{ONE}/livenessProbe/grpc/port", 8002), "liveness probe asks"),
    "probe's service": (
        put("Deployment", f"{ONE}/startupProbe/grpc/service", None), "startup probe asks"),
    "metrics": (
        put("Deployment", "spec/template/metadata/annotations/prometheus.io~port", "80"),
        "another port than that"),
    "flag": (put("StatefulSet", f"{ONE}/args", ["--prot", "9000"]), "no such flag: --prot"),
    "variable": (
        put("StatefulSet", f"{ONE}/env/0/name", "KOFN_DRAIN_S"), "no such variable: KOFN_DRAIN_S"),
    "command": (put("StatefulSet", f"{ONE}/command", ["kofn-worker"]), "it runs"),
    "deployment file": (config("name: backup", "name: bakcup"), "bakcup"),
    "its field": (config("timeout_ms", "timeout"), "timeout"),
    "its workers": (config("kofn-workers:", "kofn-worker:"), "the workers are at"),
    "its workers' port": (config(":9000", ":9001"), "the workers are at"),
    "open control": (config("{port: 8003, host: 127.0.0.1}", "{}"), "can inject faults"),
    "control for all": (config("127.0.0.1", "0.0.0.0"), "can inject faults"),
    "service name": (put("StatefulSet", "spec/serviceName", "kofn"), "no headless Service"),
    "not headless": (put("Service", "spec/clusterIP", None, "workers"), "no headless Service"),
    "budget": (put("PodDisruptionBudget", "spec/minAvailable", 4, "worker"), "not in 5..5"),
    "code": (config("n: 5", "n: 7"), "6 replicas for n = 7"),
    "threshold": (config("max_sends: 3", "max_sends: 3, recovery_threshold: 5"), "not in 6..5"),
    "no spare master": (put("Deployment", "spec/replicas", 1), "not in 1..0"),
    "grace": (put("StatefulSet", f"{POD}/terminationGracePeriodSeconds", 10), "shorter than 15 s"),
    "drain": (put("StatefulSet", f"{ONE}/env/0/value", "60"), "shorter than 65 s"),
    "master's drain": (config("server: {", "server: {drain_s: 25, "), "than 35 s"),
    "liveness": (put("StatefulSet", f"{ONE}/livenessProbe/periodSeconds", 2), "ends a drain"),
    "no preStop": (put("Deployment", f"{ONE}/lifecycle", None), "after SIGTERM"),
    "root": (put("StatefulSet", f"{POD}/securityContext/runAsNonRoot", False), "runAsNonRoot"),
    "user": (put("Deployment", f"{POD}/securityContext/runAsUser", 1000), "runAsUser is 1000"),
    "writable": (
        put("Deployment", f"{ONE}/securityContext/readOnlyRootFilesystem", False), "readOnly"),
    "volume": (put("StatefulSet", f"{POD}/volumes/0/name", "program"), "not both"),
    "mount": (put("StatefulSet", f"{ONE}/volumeMounts/0/mountPath", "/x"), "nothing to write on"),
    "token": (put("Deployment", f"{POD}/automountServiceAccountToken", None), "a token"),
}  # fmt: skip
PROBE = f"{ONE}/livenessProbe"
TLS_FAULTS = {  # of the overlay for TLS
    "a kubelet's probe": (put("StatefulSet", f"{PROBE}/grpc", {"port": 9000}), "speaks no TLS"),
    "another probe": (put("StatefulSet", f"{PROBE}/exec/command/2", "kofn"), "liveness probe asks"),
    "its port": (
        put("Deployment", f"{PROBE}/exec/command/3", "127.0.0.1:8002"), "liveness probe asks"),
    "its service": (put("Deployment", f"{PROBE}/exec/command/4", "x"), "liveness probe asks"),
    "no certificate": (
        put("Deployment", f"{ONE}/volumeMounts/0/mountPath", "/x"), "no secret at"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FIELDS)
def test_a_wrong_field_is_found(rendered: dict[str, list[Object]], fault: str) -> None:
    """By the schema of each version, and by none of the other objects."""
    plant, words = FIELDS[fault]
    broken = deepcopy(rendered["base"])
    plant(broken)
    changed = [item for item in broken if item not in rendered["base"]]
    told = schema_problems(changed)
    assert len(told) >= len(VERSIONS)
    assert any(words in line for line in told), told


@pytest.mark.parametrize("fault", FAULTS | TLS_FAULTS)
def test_a_fault_is_found(rendered: dict[str, list[Object]], fault: str, tmp_path: Path) -> None:
    """Each, planted in manifests that are right, is told by its own words."""
    plant, words = (FAULTS | TLS_FAULTS)[fault]
    broken = deepcopy(rendered["overlays/tls" if fault in TLS_FAULTS else "base"])
    plant(broken)
    told = problems(broken, tmp_path)
    assert any(words in line for line in told), told


def test_a_forgotten_file_is_found(tmp_path: Path) -> None:
    """One that no kustomization names, and a name without a file."""
    folder = shutil.copytree(KUBERNETES / "base", tmp_path / "base")
    (folder / "extra.yaml").write_text("kind: Service\n")
    assert unlisted(folder) == {"extra.yaml"}
    (folder / "masters.yaml").unlink()
    assert unlisted(folder) == {"extra.yaml", "masters.yaml"}
