"""What does not fit together in Kubernetes manifests, in lines of text.

A schema cannot tell that a selector matches no pod, that a probe asks a port nobody listens on or
that the budget lets more workers go than the code can lose. Here the manifests are compared with
each other, with the services' own command lines and settings, and with the Dockerfile.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from kofn.settings import SettingsError
from master.discovery import is_loopback, split_target
from master.server import CONTROL
from support.manifests import PROBE_TLS, ROOT, WORKLOADS, Manifests, Object, first_of
from worker.config import WorkerConfig

SPARE_S = 5.0  # of the grace period, for what comes before and after the drain


def problems(objects: Sequence[Object], folder: Path) -> list[str]:
    """What does not fit together in rendered manifests; `folder` takes files that are parsed."""
    manifests = Manifests(objects, folder)
    found: list[str] = []
    for check in (_commands, _deployment):
        found += check(manifests)
    if found:  # the others ask what the command lines and the deployment file say
        return found
    for check in (_selectors, _ports, _budgets, _ends, _rights, _files):
        found += check(manifests)
    return found


def _selectors(manifests: Manifests) -> Iterator[str]:
    """Every selector finds the pods of one service, and its own where it is a workload's."""
    for item in manifests.objects:
        selector = item.get("spec", {}).get("selector")
        if selector is None:
            continue
        found = manifests.selected(selector.get("matchLabels", selector))
        where = f"{item['kind']} {item['metadata']['name']}"
        if len(found) != 1:
            yield f"{where}: the selector finds {len(found)} kinds of pods"
        elif item["kind"] in WORKLOADS.values() and found[0].workload is not item:
            yield f"{where}: the selector finds another's pods"
    for service in manifests.services:
        for spread in service.pod["topologySpreadConstraints"]:
            if manifests.selected(spread["labelSelector"]["matchLabels"]) != [service]:
                yield f"{service.role}: it is not spread by its own labels"


def _ports(manifests: Manifests) -> Iterator[str]:
    """Containers name the ports they listen on; services and probes lead to them."""
    for service in manifests.services:
        named = {item["name"]: item["containerPort"] for item in service.container["ports"]}
        if named != service.listens:
            yield f"{service.role}: it listens on {service.listens}, the container says {named}"
        # A master without workers is alive, and not ready.
        alive = CONTROL if service.role == "master" else ""
        for probe, asked in (("startup", alive), ("readiness", ""), ("liveness", alive)):
            given = service.container[f"{probe}Probe"]
            told, wanted = _asked(given), (service.listens["grpc"], asked)
            if told != wanted:
                yield f"{service.role}: the {probe} probe asks {told}, not {wanted}"
            if service.options["tls"] and "grpc" in given:
                yield f"{service.role}: the {probe} probe speaks no TLS"
    for item in manifests.each("Service"):
        for service in manifests.selected(item["spec"]["selector"]):
            for port in item["spec"]["ports"]:
                if service.listens.get(port["targetPort"]) != port["port"]:
                    yield f"Service {item['metadata']['name']}: {port} leads nowhere"
    annotations = manifests.services[1].workload["spec"]["template"]["metadata"]["annotations"]
    if annotations["prometheus.io/port"] != str(manifests.services[1].listens["metrics"]):
        yield "master: Prometheus is sent to another port than that of the metrics"


def _asked(probe: Object) -> tuple[int, str]:
    """Port and health service that a probe asks: the kubelet's own, or ours in the container."""
    if "grpc" in probe:
        return probe["grpc"]["port"], probe["grpc"].get("service", "")
    *program, target, service = [*probe["exec"]["command"], ""][:5]
    host, _, port = target.rpartition(":")
    is_ours = program == ["python", "-m", "kofn.probe"] and host == "127.0.0.1"
    return (int(port), service) if is_ours else (0, "")


def _commands(manifests: Manifests) -> Iterator[str]:
    """The commands exist, and take these flags and variables."""
    for service in manifests.services:
        if service.container["command"] != ["python", "-m", service.role]:
            yield f"{service.role}: it runs {service.container['command']}"
        try:
            service.options  # noqa: B018 - parsed for its errors
        except typer.BadParameter as error:
            yield f"{service.role}: {error.format_message()}"


def _deployment(manifests: Manifests) -> Iterator[str]:
    """The deployment file is one, and names the workers by their headless Service."""
    try:
        config = manifests.config
    except SettingsError as error:
        yield f"ConfigMap: {error}"
        return
    name = manifests.of("StatefulSet", "kofn-worker")["spec"]["serviceName"]
    headless = [s for s in manifests.each("Service") if s["metadata"]["name"] == name]
    if len(headless) != 1 or headless[0]["spec"].get("clusterIP") != "None":
        yield f"StatefulSet: {name!r} is no headless Service"
        return
    target = (name, headless[0]["spec"]["ports"][0]["port"])
    if [split_target(worker) for worker in config.workers] != [target]:
        yield f"ConfigMap: the workers are at {target}, not {config.workers}"
    control = config.server.control
    if control.port is None or not is_loopback(control.host or config.server.host):
        yield "ConfigMap: whoever reaches a master can inject faults; see server.control"


def _budgets(manifests: Manifests) -> Iterator[str]:
    """Disruptions leave one worker more than the answers need, and one master at least."""
    for service in manifests.services:
        budget = manifests.of("PodDisruptionBudget", f"kofn-{service.role}")
        least, replicas = budget["spec"]["minAvailable"], service.workload["spec"]["replicas"]
        wanted = 1
        if service.role == "worker":
            wanted = 1 + max(map(needed, manifests.config.deployments))
            most = max(item.code.make().n for item in manifests.config.deployments)
            if replicas < most:
                yield f"worker: {replicas} replicas for n = {most} slots"
        if not wanted <= least < replicas:
            yield f"{service.role}: minAvailable is {least}, not in {wanted}..{replicas - 1}"


def needed(deployment: Any) -> int:
    """How many results a deployment waits for before it answers without loss."""
    code, policy = deployment.code.make(), deployment.policy
    threshold = policy.recovery_threshold
    asked = threshold if isinstance(threshold, int) else 0
    return max(code.recovery_threshold, code.k, asked) + 2 * policy.liars


def _ends(manifests: Manifests) -> Iterator[str]:
    """The drain fits into the grace period, and no liveness probe cuts it short."""
    for service in manifests.services:
        drain_s = first_of(service.options.get("drain_s"), WorkerConfig().drain_s)
        if service.role == "master":
            drain_s = manifests.config.server.drain_s
        hook = service.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        wanted_s = hook.get("seconds", 0) + drain_s + SPARE_S
        if service.pod["terminationGracePeriodSeconds"] < wanted_s:
            yield f"{service.role}: the grace period is shorter than {wanted_s:g} s"
        probe = service.container["livenessProbe"]
        if probe["periodSeconds"] * probe["failureThreshold"] <= drain_s:
            yield f"{service.role}: the liveness probe ends a drain of {drain_s:g} s"
    if "preStop" not in manifests.services[1].container.get("lifecycle", {}):
        yield "master: new connections come after SIGTERM"


def _rights(manifests: Manifests) -> Iterator[str]:
    """No root, no rights, no writing but where a volume is; the user is the image's."""
    user = int(re.findall(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())[0])
    for service in manifests.services:
        given = service.pod["securityContext"] | service.container["securityContext"]
        wanted = {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for key, value in wanted.items():
            if given.get(key) != value:
                yield f"{service.role}: {key} is {given.get(key)!r}, not {value!r}"
        if service.pod.get("automountServiceAccountToken", True):
            yield f"{service.role}: it is given a token that it has no use for"


def _files(manifests: Manifests) -> Iterator[str]:
    """What a service writes lies on a volume, certificates are in secrets, and each mounted volume
    is there."""
    text = (ROOT / "Dockerfile").read_text()
    variable = {"worker": "KOFN_WORKER_CACHE", "master": "KOFN_STORE"}
    for service in manifests.services:
        mounts = {m["mountPath"]: m["name"] for m in service.container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in service.pod["volumes"]}
        for name in set(mounts.values()) ^ volumes.keys():
            yield f"{service.role}: {name!r} is not both a volume and mounted"
        folder = re.findall(rf"{variable[service.role]}=(\S+)", text)[0]
        for path in (folder, "/tmp"):
            if "emptyDir" not in volumes.get(mounts.get(path, ""), {}):
                yield f"{service.role}: nothing to write on at {path}"
        asked = [service.options[hop] for hop in ("tls", "workers_tls") if hop in service.options]
        for path in filter(None, [*asked, service.environment.get(PROBE_TLS)]):
            if "secret" not in volumes.get(mounts.get(str(path), ""), {}):
                yield f"{service.role}: no secret at {path}"
