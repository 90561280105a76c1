"""Deployment files: what is accepted, and that an error names line, field and what would do."""

import pytest

from kofn.settings import SettingsError, parse_yaml
from master.config import Calibration, DeploymentConfig, MasterConfig

GOOD = """\
server: {port: 0, metrics_port: null}
workers: ["127.0.0.1:9001", "worker:9000"]
deployments:
  - name: digits
    program: digits-mlp
    code: {name: parity, k: 4, n: 6, calibrated: true}
    policy:
      wait: soft
      soft_deadline: 3*p50
      hedge: 20ms
    batching: {max_groups: 8}
"""


def test_a_good_file_is_taken_whole() -> None:
    """Values arrive where they belong, the rest are defaults."""
    config = parse_yaml(GOOD, MasterConfig, source="kofn.yaml")
    (deployment,) = config.deployments
    assert config.server.metrics_port is None
    code = deployment.code.make()
    assert (code.k, code.n, deployment.code.calibrated) == (4, 6, True)
    assert deployment.policy.make().hedge is not None
    assert deployment.timeout_ms == 1000


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: digits", "name: di gits", 4, ["name", "pattern"]),
        ("wait: soft", "wait: sooft", 8, ["wait", "soft"]),
        ("hedge: 20ms", "hedge: 20", 10, ["hedge"]),
        ("hedge: 20ms", "hedge: soon", 10, ["hedge", "p95"]),
        ("hedge: 20ms", "hegde: 20ms", 10, ["hegde", "hedge"]),
        ("max_groups: 8", "max_groups: 0", 11, ["max_groups", "1"]),
        ("max_groups: 8", "max_groups: 2000", 4, ["queue_rows"]),
        ("worker:9000", "worker", 2, ["workers", "HOST:PORT"]),
        ("port: 0", "port: 70000", 1, ["port", "65535"]),
        ("k: 4, n: 6", "k: 4, n: 3", 6, ["code", "n", "3"]),
        ("name: parity", "name: pairity", 6, ["pairity", "parity"]),
    ],
)
def test_an_error_names_line_field_and_what_is_accepted(
    old: str, new: str, line: int, words: list[str]
) -> None:
    """One mistake a file."""
    assert old in GOOD
    with pytest.raises(SettingsError) as caught:
        parse_yaml(GOOD.replace(old, new), MasterConfig, source="kofn.yaml")
    message = str(caught.value)
    assert f"kofn.yaml:{line}:" in message
    for word in words:
        assert word in message


def test_names_must_differ() -> None:
    """Two deployments of one name are refused."""
    one = "{name: a, program: p, code: {name: uncoded, k: 1}}"
    with pytest.raises(SettingsError, match="must not share a name: a"):
        parse_yaml(f"deployments: [{one}, {one}]", MasterConfig)


def test_a_deployment_needs_no_more_than_name_and_program() -> None:
    """Uncoded by default."""
    config = parse_yaml("{name: a, program: p}", DeploymentConfig)
    assert config.code.make().n == 1


@pytest.mark.parametrize(
    ("code", "liars", "words"),
    [
        ({"name": "parity", "k": 4, "n": 6}, 1, "cannot tell who lies.*calibrated.*lagrange"),
        ({"name": "lagrange", "k": 3, "n": 7, "degree": 2}, 2, "at most 1, not 2.*max.* = 5"),
        ({"name": "lagrange", "k": 3, "n": 6, "degree": 2}, 1, "at most 0, not 1"),
        ({"name": "berrut", "k": 4, "n": 5, "calibrated": True}, 1, "at most 0, not 1.* = 4"),
        ({"name": "parity", "k": 4, "n": 6, "calibrated": True}, -1, "greater than or equal to 0"),
    ],
)
def test_liars_that_cannot_be_found_are_refused(
    code: dict[str, object], liars: int, words: str
) -> None:
    """Naming the field, and how many would do."""
    config = {"name": "x", "program": "x", "code": code, "policy": {"liars": liars}}
    with pytest.raises(ValueError, match=rf"(?s)liars.*{words}"):
        DeploymentConfig.model_validate(config)


def test_liars_that_can_be_found_are_accepted() -> None:
    """By an exact code that locates, and by any that is calibrated."""
    for code in (
        {"name": "lagrange", "k": 3, "n": 7, "degree": 2},
        {"name": "berrut", "k": 4, "n": 6, "calibrated": True},
    ):
        given = {"liars": 1, "recheck": 0.2}
        config = {"name": "x", "program": "x", "code": code, "policy": given}
        policy = DeploymentConfig.model_validate(config).policy.make()
        assert (policy.liars, policy.recheck) == (1, 0.2)
        assert "1 liar" in str(policy)


def test_liars_take_a_larger_sample_of_honest_queries() -> None:
    """Unless it is said how many."""
    assert Calibration().count(liars=0) == 1000
    assert Calibration().count(liars=1) == 8000
    assert Calibration(queries=20).count(liars=1) == 20
