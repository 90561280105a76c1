"""Which way of simulating fits a setting, and why another does not.

"independent": no task waits for another, so that groups are drawn by the hundred thousand at once.
"recursion": each worker serves in order of arrival and nothing is sent later than at once, so that
when it is free again follows from the group before; many runs go side by side in one array.
"events": everything else, one event after the other.
"""

from math import inf

from master.gains import Gains, mask
from master.policy import NEVER, Delay
from simulator.setting import Poisson, Setting
from worker.laws import Bursts

MOST_SLOTS = 62  # sets of slots are bit masks in 64-bit integers


def why_not_independent(setting: Setting) -> str:
    """The reason; empty where it fits."""
    if setting.worker_count is not None:
        return "a counted number of workers has queues"
    policy = setting.policy
    is_hedged = policy.hedge not in (None, NEVER)
    if is_hedged and (policy.wait == "soft" or policy.gain_limit < inf):
        return "whom a hedge asks depends on more than who has replied"
    if is_hedged and not _is_fixed(policy.hedge):
        return "the hedge follows measured latencies"
    if is_hedged and policy.max_sends > 2:
        return "a slot may be hedged more than once"
    return _why_no_arrays(setting)


def why_not_recursion(setting: Setting) -> str:
    """The reason; empty where it fits."""
    workers, count = setting.workers[0], setting.worker_count
    if len(setting.workers) > 1 or count is None:
        return "it is for a number of equal workers"
    if setting.contention is not None:
        return "contention moves from worker to worker"
    if workers.faults.failure is not None or workers.mttf_s < inf:
        return "workers fail"
    if setting.policy.hedge not in (None, NEVER):
        return "hedges overtake what came before"
    if workers.max_rows >= 2 * max(1, setting.rows // setting.code.q):
        return "tasks share passes"
    if is_central(setting):
        if setting.limits.queue_rows < 2 * setting.requests * setting.rows:
            return "the queue may be full"
        return _why_no_arrays(setting)
    if setting.sent > count:
        return "there are fewer workers than slots"
    code = setting.code
    are_alike = setting.sent == count and (code.k == 1 or code.n == code.k)
    are_alike &= len(set(setting.factors)) == 1
    if setting.spread == "least loaded" and not are_alike:
        return "who gets which slot depends on what each worker has in hand"
    return _why_no_arrays(setting)


def is_central(setting: Setting) -> bool:
    """Whether requests of one task each wait together for the next worker that is free."""
    return setting.code.n == 1 and setting.max_in_flight == setting.worker_count


def _why_no_arrays(setting: Setting) -> str:
    code, policy, limits = setting.code, setting.policy, setting.limits
    if setting.stem:
        return "batches wait for each other at the master's stem"
    if policy.wait == "adaptive":
        return "what is sent depends on what was learned"
    if not isinstance(setting.arrivals, Poisson) and setting.worker_count is not None:
        return "arrivals are recorded"
    if any(isinstance(_law(kind.faults.delay), Bursts) for kind in setting.workers):
        return "bursts have a memory"
    if setting.max_in_flight is not None and not is_central(setting):
        return "batches may wait for those in flight"
    full = code.q * limits.max_groups
    if setting.rows % code.q or setting.rows > full:
        return "a request is not one batch of whole groups"
    if limits.max_delay_s and setting.rows < full:
        return "requests wait for each other in the batcher"
    if not _is_fixed(policy.soft_deadline) and (
        policy.wait == "soft" or (policy.wait == "first" and policy.gain_limit < inf)
    ):
        return "the soft deadline follows measured latencies"
    gains = Gains(code)
    everything = mask(range(code.k))
    if code.spares or gains.first(everything) != mask(range(code.n)):
        return "some slots are sent later"
    if gains.own_only not in (0, everything):
        return "some answers can be decoded and some cannot"
    if code.n > MOST_SLOTS and not gains.own_only:
        return f"the code has more than {MOST_SLOTS} slots"
    return ""


def _is_fixed(delay: Delay | None) -> bool:
    return delay is None or delay.quantile is None


def _law(delay: object) -> object:
    return getattr(delay, "law", None)
