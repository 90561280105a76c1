"""What a trained code is worth on the live cluster, beside what is computed from two accuracies.

Papers give the accuracy of all queries as (1 - f) A_a + f A_d: f of them unavailable, A_a the
model's accuracy and A_d that of decoded answers, both measured apart from any cluster. Here the
workers straggle by chance, the cluster answers, and all of it is counted.

Codes decode as they are, not calibrated: what they cannot decode for want of a slot is waited for,
late as it is, where a calibrated decoder would estimate it from less than A_d is the accuracy of.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kofn
from bench.load.arrivals import poisson
from bench.load.driving import Server, drive
from bench.load.seen import Seen
from bench.outcomes import outcome
from kofn.launch import Cluster, LocalWorkers
from kofn.wire.source import Source
from master.binding import Binding, bind
from master.config import DeploymentConfig
from models import data
from models.cards import proportion
from models.data import DataSet
from models.programs import load_program
from models.store import Store
from training.measure import Worth, measure

UP_S = 60.0
DEADLINE_S = 5.0
# A straggler is late by so much: far beyond the soft deadline, so that its answer counts as lost.
LATE_MS, SOFT_MS = 400, 60
TITLES = (
    "trained code", "late tasks", "f_u", "queries", "missing", "A_a", "A_d live (95 %)",
    "A_d offline", "A_o live", "formula", "points apart",
)  # fmt: skip


def deployment(trained: str, store: Store) -> dict[str, Any]:
    """How a trained code is served here: its own answers are waited for a fixed time."""
    card = store.codes.card(trained)
    return {
        "name": trained.replace(".", "-"),
        "program": card.base,
        "code": {
            "name": card.code,
            "k": card.parameters["k"],
            "n": card.parameters["n"],
            "checkpoint": trained,
        },
        "policy": {"wait": "soft", "soft_deadline": f"{SOFT_MS}ms", "max_sends": 1},
        "timeout_ms": int(1e3 * DEADLINE_S),
    }


async def measure_all(
    trained: Sequence[str],
    shares: Sequence[float],
    *,
    rate: float,
    passes: int,
    seed: int,
    folder: Path | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """One cluster a trained code, and on it one run a share of stragglers.

    Args:
        trained: names in the store.
        shares: chances of each task to be late.
        rate: groups a second, Poisson; a request holds one group.
        passes: how often the test set is asked for.
        seed: of arrivals, order and faults.
        folder: of the store; default: the user's own.
    """
    store = Store(folder)
    for name in trained:
        wanted = deployment(name, store)
        binding = bind(DeploymentConfig.model_validate(wanted), store)
        card = store.card(store.codes.card(name).base)
        test = data.load(card.dataset, "test")
        offline = _offline(binding, test)
        async with Cluster(LocalWorkers(binding.code.n), [wanted], store=folder) as cluster:
            await cluster.all_up(UP_S)
            async with kofn.AsyncClient(cluster.address) as client:
                for share in shares:
                    await _slow_down(client, share, seed)
                    server = Server(cluster.address, wanted["name"], DEADLINE_S)
                    seen = await _load(server, test, binding.code.k, rate, passes, seed)
                    yield {
                        "trained": name,
                        "dataset": card.dataset,
                        "code": binding.code.name,
                        "k": binding.code.k,
                        "n": binding.code.n,
                        "unavailable": share,
                        **compared(seen, test, offline),
                        "seed": seed,
                    }


async def _slow_down(client: kofn.AsyncClient, share: float, seed: int) -> None:
    law = {"law": "constant", "value_ms": LATE_MS, "probability": share, "interruptible": True}
    await client.set_faults({"seed": seed, "delay": law})


async def _load(server: Server, test: DataSet, k: int, rate: float, passes: int, seed: int) -> Seen:
    rng = np.random.default_rng(seed)
    count = len(test.images) // k * k
    rows = np.concatenate([rng.permutation(count).reshape(-1, k) for _ in range(passes)])
    times = poisson(rate, 2 * len(rows) / rate, seed)[: len(rows)]
    return await drive(server, test.images.numpy(), rows, times)


def _offline(binding: Binding, test: DataSet) -> Worth:
    """The very same code and programs in this process, with one slot lost."""
    programs = {
        role: load_program(binding.archives[hash_]) for role, hash_ in binding.programs.items()
    }

    def answer(program: Any, rows: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = program([rows])[0]
        return answers

    by_role = {role: partial(answer, program) for role, program in programs.items()}
    return measure(binding.code, by_role, test)


def compared(seen: Seen, test: DataSet, offline: Worth) -> dict[str, Any]:
    """What the cluster answered, beside the formula.

    Args:
        seen: at least one request.
        test: whose rows were asked for.
        offline: the code's worth with one slot lost.
    """
    labels = test.labels.numpy()
    right = seen.predictions == labels[seen.rows]
    decoded = seen.source == Source.DECODED
    told = outcome(seen, labels, len(test.classes))
    share = told.lost / told.queries
    a_a, a_d = offline.clean.value, offline.lost_only.value
    formula = (1 - share) * a_a + share * a_d
    lost = proportion(int(right[decoded].sum()), max(int(decoded.sum()), 1))
    return {
        "queries": told.queries,
        "reconstructed": share,
        "missing": told.missing,
        "clean": a_a,
        "overall": told.overall,
        "lost_only": lost.value,
        "decoded": int(decoded.sum()),
        "interval": list(lost.interval),
        "lost_only_offline": a_d,
        "formula": formula,
        "difference_points": 100 * (told.overall - formula),
    }


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A row of the table, under `TITLES`."""
    low, high = row["interval"]
    return (
        row["trained"],
        f"{100 * row['unavailable']:g} %",
        f"{100 * row['reconstructed']:.2f} %",
        row["queries"],
        row["missing"],
        f"{row['clean']:.4f}",
        f"{row['lost_only']:.3f} ({low:.3f}–{high:.3f})",
        f"{row['lost_only_offline']:.4f}",
        f"{row['overall']:.4f}",
        f"{row['formula']:.4f}",
        f"{row['difference_points']:+.2f}",
    )
