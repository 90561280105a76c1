"""A plan as a deployment file, which says at its head what it is for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from master.config import MasterConfig
from planner.search import Plan, Wish


def deployment_file(plan: Plan, wish: Wish, command: str, workers: int) -> str:
    """YAML that `kofn up --config` and `python -m master --config` take.

    Args:
        plan: what it deploys.
        wish: what it was chosen for.
        command: that it came from.
        workers: how many it was simulated with.
    """
    deployment = plan.candidate.deployment
    told = _plain(deployment.model_dump(mode="json", exclude_defaults=True))
    code = _plain(deployment.code.model_dump(mode="json", exclude_defaults=True))
    content = {"deployments": [{**told, "code": code}]}  # also where it is the default
    MasterConfig.model_validate(content)  # what is written can be read
    head = (
        f"{command}",
        f"Simulated over {plan.requests:,} requests: p{100 * wish.quantile:g} "
        f"{1e3 * plan.tail_s:.1f} ms, accuracy {plan.accuracy:.4f},",
        f"{1e3 * plan.cost_s:.2f} ms of work a query. Accuracy from: "
        f"{plan.candidate.worth.source}.",
        f"kofn up --config THIS --workers {workers}",
    )
    said = "\n".join(head).splitlines()  # a flag may hold more than one line
    return "".join(f"# {line}\n" for line in said) + yaml.safe_dump(content, sort_keys=False)


def write(path: Path, text: str) -> None:
    """Put it there; what was there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def sources(plans: Sequence[Plan]) -> dict[str, int]:
    """Where accuracies are from, numbered in the order of plans."""
    texts = dict.fromkeys(plan.candidate.worth.source for plan in plans)
    return {text: number for number, text in enumerate(texts, 1)}


def _plain(value: Any) -> Any:
    """Without the defaults that a reader need not see."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if part is not None and part != {}}
    return value
