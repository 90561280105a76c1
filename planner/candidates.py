"""What a model could be served with: codes, sizes, numbers of answers and policies.

Everything here can be deployed as it stands: exact copies, the trained codes that the store has for
this very model, and the untrained ones that were measured on it. Codes that no accuracy was
measured of are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from codes import REGISTRY
from codes.base import BASE
from codes.stages import STEM
from master.config import DeploymentConfig
from master.gains import Gains
from models.cards import Card
from models.store import Store
from models.trained import CodeCard
from planner.worth import Worth, of_base, of_mixes, of_trained, of_untrained
from report.cells import Cell

UNCODED, REPLICATION, SPLIT = "uncoded", "replication", "split-lagrange"
COPIES = ((1, 2), (2, 4), (2, 3))  # k and n of replication
HEDGES = ("p95", "p99", "2*p50")
# Late slots are sent again, or others in their place, out of a budget. Not for copies, which are
# then the uncoded model; nor where all answers are decoded: the slots that are sent first are
# always the same, and what was measured is of all sets of so many.
ADAPTIVE = {"wait": "adaptive"}
LATE = 0.08  # of a budget that pays for all slots at once: what is left for late ones
PATIENCE = ("2*p50", "3*p50")  # for own answers, before lost ones are decoded
USUAL_DELAY_MS = 2.0  # of batching, where nothing else is said
FILLING = 1.2  # times the mean time in which a group's queries arrive
WAITING = 0.25  # most of the SLO that a query may wait for company


@dataclass(frozen=True)
class Candidate:
    """Something to serve with.

    Attributes:
        title: in a table, without the policy.
        kind: "uncoded", "copies" or "coded".
        deployment: as in a deployment file.
        worth: of its answers.
        work: by role, what a slot takes as a multiple of the model itself; by `simulator.Setting`.
    """

    title: str
    kind: str
    deployment: DeploymentConfig
    worth: Worth
    work: Mapping[str, float] = field(default_factory=dict)

    @property
    def policy(self) -> str:
        """In words."""
        policy, batching = self.deployment.policy.make(), self.deployment.batching
        if self.deployment.code.make().k == 1:
            return str(policy)
        return f"{policy}; company for {batching.max_delay_ms:g} ms"


def candidates(
    model: str, store: Store, workers: int, rate: float, slo_s: float, cells: Sequence[Cell]
) -> list[Candidate]:
    """All that so many workers can serve.

    Args:
        model: its name in the store.
        store: of the model and its trained codes.
        workers: at least so many slots has no code.
        rate: queries a second, for how long a group waits until it is full.
        slo_s: for how long it may.
        cells: accuracies from records.

    Raises:
        UnknownModel: the store has no such model.
        ValueError: its card has no accuracy.
    """
    card = store.card(model)
    plain = Candidate(UNCODED, UNCODED, _deployment(card, {"name": UNCODED, "k": 1}), of_base(card))
    found = [
        plain,
        *(_with(plain, {"hedge": hedge, "max_sends": 2}) for hedge in HEDGES),
        _with(plain, ADAPTIVE),
        *_copies(card, plain.worth, workers),
        *_trained(card, store, plain.worth, workers),
        *_splits(card, store, plain.worth, workers, cells),
        *_untrained(card, plain.worth, workers, cells),
    ]
    return [one for candidate in found for one in _with_company(candidate, rate, slo_s)]


def _copies(card: Card, worth: Worth, workers: int) -> Iterator[Candidate]:
    for k, n in COPIES:
        if n <= workers:
            deployment = _deployment(card, {"name": REPLICATION, "k": k, "n": n})
            yield Candidate(f"{REPLICATION}, k = {k}, n = {n}", "copies", deployment, worth)


def _trained(card: Card, store: Store, base: Worth, workers: int) -> Iterator[Candidate]:
    best: dict[tuple[object, ...], Candidate] = {}
    for trained in store.codes.trained_for(card.hash):
        k, n = trained.parameters.get("k"), trained.parameters.get("n")
        is_systematic = trained.code in REGISTRY and trained.code != SPLIT and not trained.parents
        if not is_systematic or not isinstance(n, int) or not isinstance(k, int) or n > workers:
            continue
        worth = of_trained(base, trained, n - k)
        if worth is None:
            continue
        code = {"name": trained.code, **trained.parameters, "checkpoint": trained.name}
        deployment = _deployment(card, code)
        # Codes of a size lose and cost the same, so that the most accurate of them stands for all;
        # but those of which one slot answers a whole group, as a student does: each for itself.
        is_alone = _answers_alone(Gains(deployment.code.make()))
        key = k, n, trained.code if is_alone else ""
        if key not in best or worth.decoded > best[key].worth.decoded:
            title = f"{trained.code}, k = {k}, n = {n}"
            best[key] = Candidate(title, "coded", deployment, worth, work_of(deployment, trained))
    for candidate in best.values():
        for patience in PATIENCE:
            yield _with(candidate, {"soft_deadline": patience})
        yield _with(candidate, {"wait": "first"})
        yield _with(candidate, ADAPTIVE)
        redundancy = Gains(candidate.deployment.code.make()).redundancy
        budget = round(redundancy + LATE, 3)
        yield _with(candidate, {**ADAPTIVE, "budget": budget, "soft_deadline": "p90"})


def _answers_alone(gains: Gains) -> bool:
    """Whether one of the extra slots gives every answer."""
    extra = range(gains.k, gains.n)
    return any(all(gains.has(j, 1 << slot) for j in range(gains.k)) for slot in extra)


def _splits(
    card: Card, store: Store, base: Worth, workers: int, cells: Sequence[Cell]
) -> Iterator[Candidate]:
    for trained in store.codes.trained_for(card.hash):
        if trained.code != SPLIT:
            continue
        k = int(trained.parameters["k"])
        for n in range(k + 1, workers + 1):
            for responders in range(k, n):
                worth = of_mixes(base, trained, n, responders, cells)
                if worth is not None:
                    yield _split(card, trained, k, n, responders, worth)


def _untrained(card: Card, base: Worth, workers: int, cells: Sequence[Cell]) -> Iterator[Candidate]:
    best: dict[tuple[int, int, int], Candidate] = {}
    for cell in cells:
        found = of_untrained(base, card, cell)
        if found is None or cell.k is None or cell.n is None or cell.waited is None:
            continue
        code, worth = found
        key = cell.k, cell.n, cell.waited
        if not cell.k <= cell.waited < cell.n <= workers:
            continue
        if key not in best or worth.decoded > best[key].worth.decoded:
            policy = {"wait": "first", "recovery_threshold": cell.waited}
            title = f"{cell.system}, k = {cell.k}, n = {cell.n}, R = {cell.waited}"
            best[key] = Candidate(title, "coded", _deployment(card, code, policy), worth)
    yield from best.values()


def _split(
    card: Card, trained: CodeCard, k: int, n: int, responders: int, worth: Worth
) -> Candidate:
    code = {"name": SPLIT, "k": k, "n": n, "checkpoint": trained.name}
    policy = {"wait": "first", "recovery_threshold": responders}
    deployment = _deployment(card, code, policy)
    title = f"{SPLIT}, k = {k}, n = {n}, R = {responders}"
    return Candidate(title, "coded", deployment, worth, work_of(deployment, trained))


def work_of(deployment: DeploymentConfig, trained: CodeCard) -> dict[str, float]:
    """Multiply-adds of each role over the model's, as far as the card tells: the dearest stands
    for all that are not the model itself."""
    roles = set(deployment.code.make().roles) - {BASE}
    found = dict.fromkeys(roles, trained.cost) | {STEM: trained.stem_cost}
    return {role: cost for role, cost in found.items() if cost}


def _deployment(
    card: Card, code: dict[str, Any], policy: dict[str, Any] | None = None
) -> DeploymentConfig:
    given = {"name": card.name, "program": card.name, "code": code, "policy": policy or {}}
    return DeploymentConfig.model_validate(given)


def _with(candidate: Candidate, policy: dict[str, Any]) -> Candidate:
    given = candidate.deployment.policy.model_dump() | policy
    return replace(candidate, deployment=_changed(candidate.deployment, {"policy": given}))


def _with_company(candidate: Candidate, rate: float, slo_s: float) -> Iterator[Candidate]:
    """Groups of several queries with the usual wait for company, and with one that fills them."""
    yield candidate
    k = candidate.deployment.code.make().q
    filled_ms = round(1e3 * FILLING * (k - 1) / rate, 1)
    if k > 1 and USUAL_DELAY_MS < filled_ms <= 1e3 * WAITING * slo_s:
        batching = {"max_delay_ms": filled_ms}
        yield replace(candidate, deployment=_changed(candidate.deployment, {"batching": batching}))


def _changed(deployment: DeploymentConfig, parts: dict[str, Any]) -> DeploymentConfig:
    """Checked as a whole again."""
    given = deployment.model_dump(exclude_unset=True) | parts
    return DeploymentConfig.model_validate(given)
