"""What is wrong with Kubernetes manifests, in lines of text: by schema, and by what none knows.

A schema cannot tell that a selector matches no pod, that a probe asks a port nobody listens on or
that the budget lets more workers go than the code can lose. Here the manifests are compared with
each other, with the services' own command lines and settings, and with the Dockerfile.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import kubernetes_validate
import typer
import yaml

from kofn.settings import SettingsError, read_yaml
from master.__main__ import main as master_command
from master.config import MasterConfig
from master.discovery import split_target
from worker.command import serve as worker_command
from worker.config import WorkerConfig

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("1.30", "1.37")  # the oldest whose preStop can sleep, and the newest known
SPARE_S = 5.0  # of the grace period, for what comes before and after the drain
RENDER_S = 30.0
WORKLOADS = {"worker": "StatefulSet", "master": "Deployment"}
Object = dict[str, Any]


def render(folder: Path) -> list[Object]:
    """What `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, timeout=RENDER_S).stdout
    return list(yaml.safe_load_all(text))


def unlisted(folder: Path) -> set[str]:
    """Files beside a kustomization that it does not name, and names without a file."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    named = {item for item in kustomization["resources"] if not item.startswith("..")}
    named |= {item["path"] for item in kustomization.get("patches", ())}
    for generator in kustomization.get("configMapGenerator", ()):
        named |= set(generator["files"])
    return named ^ {path.name for path in folder.iterdir()} - {"kustomization.yaml"}


def schema_problems(objects: Sequence[Object]) -> list[str]:
    """What the published schemas of these versions refuse; unknown fields too."""
    found = []
    for item in objects:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                name = item["metadata"]["name"]
                found.append(f"{item['kind']} {name}, {version}: {error.message}")
    return found


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


@dataclass(frozen=True)
class Service:
    """A pod template and the service of ours that its one container runs."""

    role: str
    workload: Object

    @property
    def pod(self) -> Object:
        """Its pods' spec."""
        return self.workload["spec"]["template"]["spec"]

    @property
    def labels(self) -> dict[str, str]:
        """Of its pods."""
        return self.workload["spec"]["template"]["metadata"]["labels"]

    @property
    def container(self) -> Object:
        """Its one container."""
        return self.pod["containers"][0]

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the container."""
        return {item["name"]: item["value"] for item in self.container.get("env", ())}

    @cached_property
    def options(self) -> dict[str, Any]:
        """Flags and variables as the service itself parses them; raises typer.BadParameter."""
        app = typer.Typer()
        app.command()({"worker": worker_command, "master": master_command}[self.role])
        command = typer.main.get_command(app)
        flags = {flag for option in command.params for flag in option.opts}
        variables = {option.envvar: option.opts[0] for option in command.params if option.envvar}
        arguments = list(self.container.get("args", ()))
        for flag in arguments:
            if flag.startswith("--") and flag not in flags:
                raise typer.BadParameter(f"no such flag: {flag}")
        for name, value in self.environment.items():
            if name not in variables:
                raise typer.BadParameter(f"no such variable: {name}")
            arguments += [variables[name], value]
        return command.make_context(self.role, arguments).params

    @property
    def listens(self) -> dict[str, int]:
        """The ports that the service listens on, by the names that the manifests give them."""
        if self.role == "worker":
            return {"grpc": _first(self.options["port"], WorkerConfig().port)}
        defaults = MasterConfig().server
        return {
            "grpc": _first(self.options["port"], defaults.port),
            "metrics": _first(self.options["metrics_port"], defaults.metrics_port),
        }


class Manifests:
    """Rendered manifests, by kind and role."""

    def __init__(self, objects: Sequence[Object], folder: Path) -> None:
        self.objects = objects
        self.folder = folder
        self.services = [
            Service(role, self.of(kind, f"kofn-{role}")) for role, kind in WORKLOADS.items()
        ]

    def of(self, kind: str, name: str) -> Object:
        """The one object of that kind whose name begins so."""
        return next(o for o in self.each(kind) if o["metadata"]["name"].startswith(name))

    def each(self, kind: str) -> list[Object]:
        """All of that kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def selected(self, selector: dict[str, str]) -> list[Service]:
        """Whose pods a selector finds; an empty one finds none that was meant."""
        return [s for s in self.services if selector and selector.items() <= s.labels.items()]

    @cached_property
    def config(self) -> MasterConfig:
        """The deployment file as the master reads it; raises SettingsError."""
        master = self.services[1]
        path = Path(master.options["config"])
        mount = next(
            m for m in master.container["volumeMounts"] if Path(m["mountPath"]) == path.parent
        )
        volume = next(v for v in master.pod["volumes"] if v["name"] == mount["name"])
        text = self.of("ConfigMap", volume["configMap"]["name"])["data"][path.name]
        (self.folder / path.name).write_text(text)
        return read_yaml(self.folder / path.name, MasterConfig)


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
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = service.container[probe]["grpc"]["port"]
            if port != service.listens["grpc"]:
                yield f"{service.role}: {probe} asks port {port}"
    for item in manifests.each("Service"):
        for service in manifests.selected(item["spec"]["selector"]):
            for port in item["spec"]["ports"]:
                if service.listens.get(port["targetPort"]) != port["port"]:
                    yield f"Service {item['metadata']['name']}: {port} leads nowhere"
    annotations = manifests.services[1].workload["spec"]["template"]["metadata"]["annotations"]
    if annotations["prometheus.io/port"] != str(manifests.services[1].listens["metrics"]):
        yield "master: Prometheus is sent to another port than that of the metrics"


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
        drain_s = _first(service.options.get("drain_s"), WorkerConfig().drain_s)
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
    """What a service writes lies on a volume, and each mounted volume is there."""
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


def _first(given: Any, default: Any) -> Any:
    return default if given is None else given
