"""The Grafana dashboard: every metric and label that its panels ask for is served."""

import re
from pathlib import Path
from typing import Any

import yaml

from support.live import live
from support.metrics import Scrape, scrape
from support.prometheus import DEPLOY, board, panels, variables
from support.serving import queries

METRIC = re.compile(r"\b((?:kofn|process)_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance"}  # labels that the scrape adds


def unknown(expression: str, served: dict[str, set[str]]) -> set[str]:
    """Metrics and labels in an expression that nobody serves."""
    asked = METRIC.findall(expression)
    names = {name for name, _ in asked}
    labels = {label.split("=")[0].rstrip("~!").strip() for _, inner in asked
              for label in inner.split(",") if label}  # fmt: skip
    for group in GROUPING.findall(expression):
        labels |= {label.strip() for label in group.split(",")}
    has = set.union(OF_PROMETHEUS, *(served.get(name, set()) for name in names))
    return (names - served.keys()) | (labels - has)


def names_of(seen: Scrape) -> dict[str, set[str]]:
    """Labels by metric, as they are read."""
    served: dict[str, set[str]] = {}
    for name, labels in seen.labelled():
        served.setdefault(name, set()).update(label for label, _ in labels)
    return served


async def test_every_panel_asks_for_what_a_master_serves(archive: Path) -> None:
    """With answers given, so that every counter is there; a misspelt name would be found."""
    async with live(archive) as now:
        await now.client.infer("doubled", queries(6), wait="all")
        served = names_of(await scrape(now.master.metrics_address))
    asked = panels() + variables()
    assert len(asked) > 20
    assert {each: bad for each in asked if (bad := unknown(each, served))} == {}
    planted = 'sum by (colour) (rate(kofn_rowz_total{sauce="decoded"}[1m]))'
    assert unknown(planted, served) == {"kofn_rowz_total", "colour", "sauce"}


def test_prometheus_and_grafana_are_provisioned_with_each_other() -> None:
    """Grafana reads Prometheus by the name of its service, and Prometheus the master's port."""
    scraped = _yaml("prometheus.yaml")["scrape_configs"][0]["dns_sd_configs"][0]
    services = _yaml("compose.monitoring.yml")["services"]
    assert (scraped["names"], scraped["port"]) == (["master"], 8002)
    (source,) = _yaml("grafana/datasource.yaml")["datasources"]
    assert source["url"].split("/")[-1].split(":")[0] in services
    assert {panel["datasource"]["uid"] for panel in board()["panels"] if "datasource" in panel} == {
        source["uid"]
    }
    (provider,) = _yaml("grafana/dashboards.yaml")["providers"]
    mounted = [config["target"] for config in services["grafana"]["configs"]]
    assert f"{provider['options']['path']}/kofn.json" in mounted


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())
