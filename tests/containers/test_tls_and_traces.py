"""TLS on every hop of containers, and their spans, as clients and collectors outside see them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

import kofn as api
from support.certificates import Authority
from support.collector import Collector, collector, is_joined
from support.commands import kofn, start
from support.compose import Project, docker, project

FILES = ("docker-compose.yml", "deploy/compose.tls.yml")
WORKERS = 2
SPANS_S = 120.0  # a service sends them every five seconds, on a busy machine later

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def heard() -> Iterator[Collector]:
    """A collector that containers reach."""
    with collector(gateway()) as made:
        yield made


@dataclass(frozen=True)
class Secured:
    """A cluster by the compose file, and a client's files as a user copies them out of it."""

    cluster: Project
    folder: Path

    def flags(self, folder: Path | None = None) -> list[str]:
        """Of commands, with these files or the client's own."""
        return ["--master", self.cluster.address, "--tls", str(folder or self.folder)]


@pytest.fixture(scope="module")
def secured(
    checkout: Path,
    images: Mapping[str, str],
    heard: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Secured]:
    """TLS by its override, traces by OpenTelemetry's variable."""
    deployment = tmp_path_factory.mktemp("deployment") / "deployment.yaml"
    code = {"name": "replication", "k": 1, "n": WORKERS}
    served = {"name": "digits", "program": "digits-lenet", "code": code}
    deployment.write_text(json.dumps({"deployments": [served]}))
    variables = {
        "KOFN_WORKERS": str(WORKERS),
        "KOFN_DEPLOYMENT": str(deployment),
        "OTEL_EXPORTER_OTLP_ENDPOINT": heard.endpoint,
    }
    with project(checkout, {**images, **variables}, FILES) as made:
        made.compose("up", "--detach", "--wait", "--wait-timeout", "600")
        folder = tmp_path_factory.mktemp("client") / "tls"
        made.compose("cp", "certificates:/var/lib/kofn/tls/client", str(folder))
        yield Secured(made, folder)


def test_up_gives_containers_tls_and_traces(
    images: Mapping[str, str], digits_store: Any, tmp_path: Path
) -> None:
    """Files of their own, which they cannot change; spans go to the collector that is named."""
    log = tmp_path / "log"
    flags = ("--backend", "docker", "--image", images["KOFN_IMAGE"], "--workers", str(WORKERS))
    secured = ("--tls", "auto", "--trace", "--name", "digits", "--code", "replication", "--k", "1")
    with collector(gateway()) as heard:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": heard.endpoint}
        running = start(digits_store.root, log, *flags, *secured, environment=endpoint)
        try:
            client = log.read_text().partition("clients: --tls ")[2].split()[0]
            asked = kofn("infer", "digits", "--count", "16", *running.master, "--tls", client)
            assert "accuracy" in asked
            files = docker(
                "exec", f"{running.ready['cluster']}-worker-0",
                "find", "/run/kofn-tls", "-type", "f", "-readable", "-not", "-writable",
            )  # fmt: skip
            assert {Path(line).name for line in files.split()} == {"tls.crt", "tls.key", "ca.crt"}
            # A client's authority is another one than the workers': it cannot go around the master.
            worker = running.ready["workers"][0]["address"]
            tls = api.Tls.in_folder(Path(client), "localhost")
            with (
                api.Client(worker, tls=tls) as stranger,
                pytest.raises(api.Unavailable, match="not by the authority given here"),
            ):
                stranger.server_metadata()
            assert heard.wait_for(is_joined, SPANS_S), {who for who, _ in heard.spans}
        finally:
            assert running.end() == 0, log.read_text()


def test_commands_speak_tls_with_a_composed_cluster(secured: Secured) -> None:
    """Queries, status and faults, through the published port and with the client's certificate."""
    told = json.loads(kofn("status", "--json", *secured.flags()))
    assert [worker["state"] for worker in told["workers"]] == ["up"] * WORKERS
    assert "accuracy" in kofn("infer", "digits", "--count", "16", *secured.flags())
    fault = "{delay: {law: constant, value_ms: 1}}"
    assert "value_ms" in kofn("faults", "set", fault, *secured.flags())
    assert "value_ms" not in kofn("faults", "clear", *secured.flags())


def test_strangers_are_refused_and_told_why(secured: Secured, tmp_path: Path) -> None:
    """By one who trusts another authority, without a certificate, and in plaintext."""
    stranger = Authority(tmp_path / "strangers")
    trusting_others = stranger.certify("client", trusts=stranger)
    said = kofn("status", *secured.flags(trusting_others), status=1)
    assert "the other side's certificate is not by the authority given here" in said
    anonymous = tmp_path / "anonymous"
    anonymous.mkdir()
    (anonymous / "ca.crt").write_bytes((secured.folder / "ca.crt").read_bytes())
    plain = ["--master", secured.cluster.address]
    for flags in (secured.flags(anonymous), plain):
        said = kofn("infer", "digits", "--count", "1", *flags, status=1)
        assert "want a client certificate" in said


def test_spans_of_a_composed_cluster_arrive(secured: Secured, heard: Collector) -> None:
    """Of master and workers, as one trace."""
    kofn("infer", "digits", "--count", "16", *secured.flags())
    assert heard.wait_for(is_joined, SPANS_S), [(who, span.name) for who, span in heard.spans]


def gateway() -> str:
    """An address of this machine that containers reach, whatever network they are on."""
    told = docker("network", "inspect", "bridge", "--format", "{{json (index .IPAM.Config 0)}}")
    config = json.loads(told)
    if "Gateway" in config:  # not every engine tells it
        return str(config["Gateway"])
    return str(next(ip_network(config["Subnet"]).hosts()))
