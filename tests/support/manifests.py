"""Kubernetes manifests as they are rendered, and what of our services they run.

What may be wrong with them is asked in `support.manifest_checks`.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import kubernetes_validate
import typer
import yaml

from kofn.settings import read_yaml
from master.__main__ import main as master_command
from master.config import MasterConfig
from worker.command import serve as worker_command
from worker.config import WorkerConfig

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("1.30", "1.37")  # the oldest whose preStop can sleep, and the newest known
RENDER_S = 30.0
WORKLOADS = {"worker": "StatefulSet", "master": "Deployment"}
PROBE_TLS = "KOFN_TLS"  # of a probe in the container, not of the service
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
            if name == PROBE_TLS:
                continue
            if name not in variables:
                raise typer.BadParameter(f"no such variable: {name}")
            arguments += [variables[name], value]
        return command.make_context(self.role, arguments).params

    @property
    def listens(self) -> dict[str, int]:
        """The ports that the service listens on, by the names that the manifests give them."""
        if self.role == "worker":
            return {"grpc": first_of(self.options["port"], WorkerConfig().port)}
        defaults = MasterConfig().server
        return {
            "grpc": first_of(self.options["port"], defaults.port),
            "metrics": first_of(self.options["metrics_port"], defaults.metrics_port),
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


def first_of(given: Any, default: Any) -> Any:
    """What was given, else the default."""
    return default if given is None else given
