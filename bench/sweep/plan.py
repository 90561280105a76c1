"""A sweep's plan: a YAML file of what is to be measured, checked whole before anything starts.

    name: two-codes
    dataset: digits
    model: "{dataset}-lenet"
    workers: [6, 8]
    loads: [60, 120]                        # queries a second, Poisson
    stragglers:
      exponential: {delay: {law: expon, shift_ms: 10, scale_ms: 10}}
    systems:
      uncoded: {baseline: true, code: {name: uncoded, k: 4}, policy: {max_sends: 1}}
      parity: {code: {name: parity, k: 4, n: workers, calibrated: true}}

Every number of workers, with every straggler law, every load and every number of dead workers is a
point; every system is measured at each. `n: workers` is as many slots as there are workers;
`{dataset}` in a name stands for the data set, which the command may replace. Pure, but for reading
files and looking into a store.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.described import digest
from bench.sweep.text import ContentionText, PlanText, SystemText
from kofn.settings import Problem, SettingsError, located, parse_yaml, problems
from kofn.wire.errors import KofnError
from master.config import DeploymentConfig
from master.trained import trained_code
from models import data
from models.store import Store, UnknownModel

PLANS = Path(__file__).resolve().parents[1] / "plans"
WORKERS = "workers"  # as a code's n: as many slots as there are workers
MOST_POINTS = 1000


@dataclass(frozen=True)
class System:
    """One system of a plan, for one number of workers.

    Attributes:
        name: unique, such as "split-lagrange R=5".
        family: the name without threshold.
        text: as the plan has it.
        deployment: an item of a deployment file; None for Ray Serve.
        where: in the plan's file.
    """

    name: str
    family: str
    text: SystemText
    deployment: DeploymentConfig | None
    where: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """Where systems are measured: so many workers, of them dead, a law and a load."""

    workers: int
    lost: int
    straggler: str
    load: float

    @property
    def name(self) -> str:
        """Unique in the plan."""
        return (
            f"workers={self.workers} lost={self.lost} straggler={self.straggler} load={self.load:g}"
        )


@dataclass(frozen=True)
class Plan:
    """A plan that has been checked.

    Attributes:
        text: its content.
        source: its file, for errors.
        yaml: as it was read.
    """

    text: PlanText
    source: str
    yaml: str

    @property
    def hash(self) -> str:
        """Eight digits; another content, another hash."""
        return digest(self.text.model_dump(mode="json"))

    @property
    def points(self) -> list[Point]:
        """In the order in which they are measured: one cluster serves a number of workers."""
        text = self.text
        return [
            Point(*axes) for axes in product(text.workers, text.lost, text.stragglers, text.loads)
        ]

    def systems(self, workers: int) -> list[System]:
        """With so many workers, in order.

        Raises:
            SettingsError: a deployment is refused; by its line.
        """
        found, refused = list[System](), list[Problem]()
        for name, text in self.text.systems.items():
            if text.only and self.text.dataset not in text.only:
                continue
            where = ("systems", name)
            for label, wanted in self._variants(name, text):
                if text.ray:
                    found.append(System(name, name, text, None, where))
                    continue
                try:
                    config = self._deployment(label, text, wanted, workers)
                except ValidationError as error:
                    told = problems(error, DeploymentConfig)
                    refused += [((*where, *place), what) for place, what in told]
                    continue
                sent = config.code.make().sent
                if sent > workers:
                    what = f"n = {sent} slots need as many workers, not {workers}."
                    refused.append(((*where, "code", "n"), what))
                family = label.partition(" R=")[0]
                found.append(System(label, family, text, config, where))
        if refused:
            raise located(self.yaml, self.source, refused)
        return found

    def _variants(self, name: str, text: SystemText) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Names and policies of a system: each of the plan's, with each of its thresholds."""
        policies = {"": text.policy} if text.policy is not None else self.text.policies
        for policy, wanted in policies.items():
            label = f"{name} {policy}" if len(policies) > 1 else name
            for threshold in text.thresholds or (None,):
                if threshold is None:
                    yield label, wanted or {}
                else:
                    yield f"{label} R={threshold}", {
                        **(wanted or {}), "recovery_threshold": threshold,
                    }  # fmt: skip

    def _deployment(
        self, label: str, text: SystemText, policy: Mapping[str, Any], workers: int
    ) -> DeploymentConfig:
        code = {key: workers if value == WORKERS else value for key, value in text.code.items()}
        return DeploymentConfig.model_validate(
            {
                "name": label.replace(" R=", ".R").replace(" ", "."),
                "program": self.text.model,
                "code": code,
                "policy": dict(policy),
                "batching": self.text.batching,
                "timeout_ms": self.text.deadline_ms,
            }
        )


def read_plan(path: Path, *, dataset: str | None = None, seconds: float | None = None) -> Plan:
    """Read a plan and check it.

    Args:
        path: its file, or the name of one in bench/plans.
        dataset: in place of the plan's own.
        seconds: likewise.

    Raises:
        SettingsError: what is wrong, by file, line and field.
    """
    ready = PLANS / f"{path}.yaml"
    if not path.is_file() and ready.is_file():
        path = ready
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PLANS.glob("*.yaml")))
        raise SettingsError(f"{path}: there is no such plan; ready ones: {known}.")
    raw = path.read_text(encoding="utf-8")
    source = str(path)
    chosen = dataset or parse_yaml(raw, PlanText, source).dataset
    yaml = raw.replace("{dataset}", chosen)
    text = parse_yaml(yaml, PlanText, source)
    laws = {name: faults.inlined(path.parent) for name, faults in text.stragglers.items()}
    changes: dict[str, Any] = {"dataset": chosen, "stragglers": laws}
    if seconds is not None:
        changes["seconds"] = seconds
    plan = Plan(text.model_copy(update=changes), source, yaml)
    _check(plan)
    return plan


def check_stored(plan: Plan, store: Store) -> None:
    """Refuse a plan whose models or trained codes a store does not have, or not for each other.

    Raises:
        SettingsError: what is missing, by its line.
    """
    refused = list[Problem]()
    try:
        hashes = [store.card(plan.text.model).hash]
    except UnknownModel as error:
        raise located(plan.yaml, plan.source, [(("model",), str(error))]) from error
    for workers in plan.text.workers:
        for system in plan.systems(workers):
            if system.deployment is None:
                continue
            try:
                trained_code(system.deployment.code, hashes, store)
            except KofnError as error:
                refused.append(((*system.where, "code", "checkpoint"), str(error)))
    if refused:
        raise located(plan.yaml, plan.source, refused)


def _check(plan: Plan) -> None:
    text, refused = plan.text, list[Problem]()
    if text.dataset not in data.KNOWN and not Path(text.dataset).exists():
        what = f"must be one of {', '.join(data.KNOWN)} or a folder, not {text.dataset!r}."
        refused.append((("dataset",), what))
    for place, dead in enumerate(text.lost):
        if dead >= min(text.workers):
            what = f"must leave one of {min(text.workers)} workers alive, not be {dead}."
            refused.append((("lost", place), what))
    for name, straggler in text.stragglers.items():
        moving = straggler.workers if isinstance(straggler, ContentionText) else 0
        if moving > min(text.workers) - max(text.lost):
            what = f"must be at most the fewest living workers, not {moving}."
            refused.append((("stragglers", name, "workers"), what))
    for name, system in text.systems.items():
        if system.ray == bool(system.code):
            refused.append((("systems", name), "must have one of 'code' and 'ray: true'."))
        if system.ray and (system.policy or system.thresholds):
            refused.append((("systems", name), "'ray' has no policy and no thresholds."))
        if system.ray and any(text.lost):
            refused.append((("lost",), f"must be 0 for {name!r}: its replicas do not die here."))
        if system.ray:
            refused += [
                (("stragglers", law), f"must be a delay and nothing else for {name!r}.")
                for law, straggler in text.stragglers.items()
                if isinstance(straggler, ContentionText) or {*straggler.kinds} - {"delay"}
            ]
    if len(plan.points) > MOST_POINTS:
        what = f"there are {len(plan.points)} points, and at most {MOST_POINTS} are measured."
        refused.append((("workers",), what))
    if refused:
        raise located(plan.yaml, plan.source, refused)
    for workers in text.workers:
        plan.systems(workers)
