"""What a simulation is told: the code, the policy, the workers with their laws, and the load."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Literal, Protocol, get_args

from codes.stages import STEM
from master.batcher import Limits
from master.gains import Decodable
from master.policy import Policy
from worker.faults import Delay, Faults
from worker.laws import Constant, Law

Spread = Literal["least loaded", "random"]

AT_ONCE = Constant(0.0)
MAX_ROWS = 256  # as a worker's max_batch_rows
RESTART_S = 1.0  # a worker process of `kofn up` is back after about so long


class GroupCode(Decodable, Protocol):
    """What the simulator reads of a code; `codes.base.Code` has it."""

    @property
    def q(self) -> int: ...
    @property
    def usual_responders(self) -> int: ...
    @property
    def roles(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Poisson:
    """Requests at random, whatever became of those before.

    Args:
        rate: requests a second.
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < inf:
            raise ValueError(f"Argument 'rate' must be above 0 and finite, not {self.rate}.")


@dataclass(frozen=True)
class Times:
    """Requests at recorded times.

    Args:
        at_s: seconds, ascending; at least one. A run of more requests repeats them.
    """

    at_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.at_s:
            raise ValueError("Argument 'at_s' must have at least one time.")
        if any(later < earlier for earlier, later in zip(self.at_s, self.at_s[1:], strict=False)):
            raise ValueError("Argument 'at_s' must be ascending.")
        if not 0.0 <= self.at_s[0] <= self.at_s[-1] < inf:
            raise ValueError("Argument 'at_s' must be at least 0 and finite.")

    @property
    def span_s(self) -> float:
        """After which they are repeated: the last one and a mean gap."""
        return self.at_s[-1] * (1 + 1 / len(self.at_s)) or 1.0

    @property
    def rate(self) -> float:
        """Requests a second, on average."""
        return len(self.at_s) / self.span_s


@dataclass(frozen=True)
class Workers:
    """Workers that are alike.

    Args:
        count: how many; None: as many as there is work, so that nothing ever queues.
        service: of one task of the model itself, however many coding groups are in it; a pass of
            several tasks takes as long as its slowest. A cancellation never ends it.
        faults: as a worker injects them; delays come before the service. Corruption is refused:
            there are no results here.
        max_rows: most coding groups of one pass; 1 serves task by task.
        mttf_s: mean time to a crash, exponential; infinity is never.
        restart_s: from a crash, an exit or a hang until it is back; infinity is never.

    Raises:
        ValueError: a value out of range.
    """

    count: int | None
    service: Law = AT_ONCE
    faults: Faults = field(default_factory=Faults)
    max_rows: int = MAX_ROWS
    mttf_s: float = inf
    restart_s: float = RESTART_S

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"Argument 'count' must be at least 1 or None, not {self.count}.")
        if self.max_rows < 1:
            raise ValueError(f"Argument 'max_rows' must be at least 1, not {self.max_rows}.")
        for name in ("mttf_s", "restart_s"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"Argument {name!r} must be above 0, not {getattr(self, name)}.")
        if self.faults.corruption is not None:
            raise ValueError("Argument 'faults' must have no corruption: there are no results.")
        if self.count is None and (self.faults.failure is not None or self.mttf_s < inf):
            raise ValueError("Workers without a count cannot fail: give a count.")


@dataclass(frozen=True)
class Contention:
    """Trouble that moves from worker to worker, as background traffic between machines does.

    Args:
        workers: in trouble at a time, chosen at random from all.
        every_s: seconds after which others are chosen.
        delay: of their tasks from the next pass on, in place of what their kind has.

    Raises:
        ValueError: no workers, or no time.
    """

    workers: int
    every_s: float
    delay: Delay

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"Argument 'workers' must be at least 1, not {self.workers}.")
        if not 0.0 < self.every_s < inf:
            raise ValueError(f"Argument 'every_s' must be above 0 and finite, not {self.every_s}.")


@dataclass(frozen=True)
class Setting:
    """Everything of a run; two runs of equal settings have equal outcomes.

    Args:
        code: k answers from any large enough set of n slots.
        workers: the fleet, by kind; a kind without a count stands alone.
        arrivals: when requests come.
        requests: how many are counted. A tenth as many come before them and are not.
        policy: when to decode, hedge and give up. Liars must be 0: there are no results to judge.
        rows: queries of a request.
        limits: of batches and of the queue before them.
        max_in_flight: coded batches at the workers at once; None: any number.
        timeout_s: a request ends then, with what is there.
        overhead: of a task, beside queue and service: the network, encoding and decoding.
        spread: who gets a batch's slots: "least loaded" is the master's own way.
        work: service of a role's tasks as a multiple of the workers' own, such as 0.25 of a
            student; of roles that are not in it 1. Injected delays are as long for all. Of "stem"
            it is what the master does for a batch before its slots leave, one batch after the
            other, as the first kind of workers would; nothing, where it is not there.
        contention: trouble that some of the workers have at a time; they are counted.
        seed: of all draws.

    Raises:
        ValueError: a value out of range, or parts that do not fit each other.
    """

    code: GroupCode
    workers: tuple[Workers, ...]
    arrivals: Poisson | Times
    requests: int
    policy: Policy = field(default_factory=Policy)
    rows: int = 1
    limits: Limits = field(default=Limits(max_groups=16, max_delay_s=0.002, queue_rows=4096))
    max_in_flight: int | None = 8
    timeout_s: float = 1.0
    overhead: Law = AT_ONCE
    spread: Spread = "least loaded"
    work: Mapping[str, float] = field(default_factory=dict, hash=False)
    contention: Contention | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("requests", "rows", "max_in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Argument {name!r} must be at least 1, not {value}.")
        if not 0.0 < self.timeout_s < inf:
            raise ValueError(f"Argument 'timeout_s' must be above 0, not {self.timeout_s}.")
        if self.spread not in get_args(Spread):
            accepted = " or ".join(f'"{name}"' for name in get_args(Spread))
            raise ValueError(f"Argument 'spread' must be {accepted}, not {self.spread!r}.")
        if self.policy.liars:
            raise ValueError("Argument 'policy' must have no liars: there are no results to judge.")
        if self.rows > self.limits.queue_rows:
            raise ValueError(
                f"Argument 'rows' must be at most queue_rows = {self.limits.queue_rows}, "
                f"not {self.rows}."
            )
        for role, factor in self.work.items():
            if role not in (known := dict.fromkeys((*self.code.roles, STEM))):
                raise ValueError(
                    f"Argument 'work' must be of the roles {', '.join(known)}, not {role!r}."
                )
            if not 0.0 < factor < inf:
                raise ValueError(
                    f"Argument 'work' must be above 0 and finite for {role!r}, not {factor}."
                )
        if not self.workers:
            raise ValueError("Argument 'workers' must have at least one kind.")
        if len(self.workers) > 1 and any(kind.count is None for kind in self.workers):
            raise ValueError("Workers without a count must be the only kind.")
        troubled, count = self.contention.workers if self.contention else 0, self.worker_count
        if troubled and (count is None or troubled > count):
            raise ValueError(
                f"Argument 'contention' must be of at most as many workers as there are, a number, "
                f"not of {troubled} of {'any' if count is None else count}."
            )

    @property
    def sent(self) -> int:
        """Slots of a group that are sent at once."""
        return self.code.n - self.code.spares

    @property
    def factors(self) -> tuple[float, ...]:
        """Of each slot's service."""
        return tuple(self.work.get(role, 1.0) for role in self.code.roles)

    @property
    def stem(self) -> float:
        """Of a batch's time at the master's stem; 0 without one."""
        return self.work.get(STEM, 0.0)

    @property
    def worker_count(self) -> int | None:
        """Of all kinds; None where there are as many as there is work."""
        counts = [kind.count for kind in self.workers]
        return None if None in counts else sum(count for count in counts if count is not None)
