"""A scenario, carried out: its steps at their times, and everything undone at the end."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

import kofn
from kofn.cli.connection import At
from kofn.cli.output import words
from kofn.wire.errors import KofnError

if TYPE_CHECKING:
    from kofn.chaos import Chaos
    from worker.scenario import Action, Scenario, StepText


async def carry_out(
    scenario: "Scenario", at: At, *, keep: bool = False, cluster: str | None = None
) -> None:
    """Tell what is done as it is done; a worker that cannot be reached is told of, too.

    Args:
        scenario: its steps.
        at: whose workers.
        keep: leave in force what is so after the last step.
        cluster: of containers, where it is not to be found out from the master.
    """
    from kofn.chaos import find

    words.print(f"{scenario.name}: {scenario.description}")
    async with at.async_client() as client:
        # Found first: a scenario that cannot be carried out shall not begin.
        acts = any(step.action is not None for step in scenario.steps)
        chaos = await find(client, cluster) if acts else None
        try:
            await _run(scenario, client, chaos)
        finally:
            try:
                await _end(chaos, keep)
            finally:
                if not keep:
                    await client.set_faults(None)
                    words.print("cleared")


async def _end(chaos: "Chaos | None", keep: bool) -> None:
    """Before faults are cleared: a stopped worker takes none."""
    if chaos is None:
        return
    try:
        for worker, remedy in [] if keep else await chaos.undo():
            _tell(None, worker, remedy)
    finally:
        await chaos.close()


async def _run(scenario: "Scenario", client: kofn.AsyncClient, chaos: "Chaos | None") -> None:
    began = monotonic()
    for number, step in enumerate(scenario.steps):
        await asyncio.sleep(max(0.0, began + step.at_s - monotonic()))
        if step.action is not None and chaos is not None:
            chosen = scenario.due(number, await chaos.workers())
            await _act(chaos, step.at_s, chosen, step.action)
        else:
            names = [worker.name for worker in (await client.status()).workers]
            await _inject(client, step, scenario.due(number, names))


async def _act(chaos: "Chaos", at_s: float, chosen: Sequence[str], action: "Action") -> None:
    acting = (chaos.act(worker, action.kind, action.cpus) for worker in chosen)
    outcomes = await asyncio.gather(*acting, return_exceptions=True)
    told = action.kind if action.cpus is None else f"{action.kind} {action.cpus:g}"
    _tell(at_s, ", ".join(chosen), told)
    for worker, outcome in zip(chosen, outcomes, strict=True):
        if isinstance(outcome, KofnError):
            _tell_error(worker, str(outcome))
        elif isinstance(outcome, BaseException):
            raise outcome


async def _inject(client: kofn.AsyncClient, step: "StepText", chosen: Sequence[str]) -> None:
    reply = await client.set_faults(step.faults.json_text(), list(chosen))
    told = in_words(step.faults.model_dump(exclude_none=True, exclude_defaults=True))
    _tell(step.at_s, ", ".join(chosen), told)
    for worker in reply.workers:
        if worker.error:
            _tell_error(worker.worker, worker.error)


def in_words(faults: Mapping[str, object]) -> str:
    """Faults in one line."""
    injected = {name: law for name, law in faults.items() if name != "seed"}
    return json.dumps(injected) if injected else "none"


def _tell(at_s: float | None, who: str, what: str) -> None:
    when = "    end  " if at_s is None else f"{at_s:7.1f} s"
    words.print(f"{when}  {who}: {what}", markup=False)


def _tell_error(worker: str, error: str) -> None:
    words.print(f"           {worker}: {error}", style="red", markup=False)
