"""A model is replaced while the cluster is under load: replies are of one generation each."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kofn
from kofn.wire.source import Source
from support.cluster import cluster
from support.coin import Merged, deployment, linear, queries, save_merged, store_in
from support.until import until

LOSES_SOME = '{"failure": {"kind": "refuse", "probability": 0.25}}'
SOON = {"wait": "soft", "soft_deadline": "5ms", "max_sends": 3}
CLIENTS = 6
ENOUGH = 25  # replies of each generation


def shifted(module: nn.Module, by: float) -> nn.Module:
    """The same model with answers that are so much larger: nobody can mistake them."""
    other = linear(0)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    state["1.bias"] += by
    other.load_state_dict(state)
    return other


def generations(folder: Path) -> tuple[Merged, Merged]:
    """A and B with their average, and the same after A was replaced."""
    store, old = store_in(folder), linear(1)
    first = save_merged(store, {"A": old, "B": linear(2)}, checkpoint="first")
    second = save_merged(store, {"A2": shifted(old, 50.0), "B": linear(2)}, checkpoint="second")
    return first, second


@pytest.mark.timeout(120)
async def test_every_reply_under_load_is_wholly_old_or_wholly_new(tmp_path: Path) -> None:
    """Slots are lost all the while, so that answers are decoded from the others' results: from
    results of two generations they would be wrong by tens."""
    first, second = await asyncio.to_thread(generations, tmp_path)
    rows = queries(3)
    old, new = first.answers(rows).numpy(), second.answers(rows).numpy()
    assert np.abs(old[:, 0] - new[:, 0]).min() > 10
    np.testing.assert_array_equal(old[:, 1], new[:, 1])
    seen: list[str] = []
    errors: list[str] = []  # three sends of two slots were refused
    decoded = 0
    async with (
        cluster(tmp_path, first.store, [deployment(first, policy=SOON)], workers=4) as here,
        kofn.AsyncClient(here.master.address) as client,
    ):
        await client.set_faults(LOSES_SOME)
        is_over = asyncio.Event()

        async def keep_asking() -> None:
            nonlocal decoded
            while not is_over.is_set():
                try:
                    told = await client.infer("both", rows.numpy(), timeout_s=20)
                except kofn.Unavailable as error:
                    errors.append(str(error))
                    continue
                fits = {
                    name: bool(np.abs(told.outputs - truth).max() < 1e-2)
                    for name, truth in (("old", old), ("new", new))
                }
                assert fits["old"] != fits["new"], "it is of both generations, or of none"
                seen.append("old" if fits["old"] else "new")
                decoded += int((told.source == Source.DECODED).sum())

        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(keep_asking())
            await until(lambda: seen.count("old") >= ENOUGH, 60)
            await client.deploy(deployment(second, policy=SOON))
            since = len(seen)
            await until(lambda: seen.count("new") >= ENOUGH, 60)
            is_over.set()
        assert "old" not in seen[since + CLIENTS :], "requests that come later are the new one's"
        (told,) = (await client.status()).deployments
        assert list(told.models) == ["A", "B"], "clients go on asking for A"
        assert decoded > 0
        assert all("slots are lost" in error for error in errors), "none is refused by the swap"
        assert len(errors) < len(seen) / 10


async def test_a_merge_that_is_out_of_date_changes_nothing(tmp_path: Path) -> None:
    """The new model with the old merged ones is refused, and the old deployment serves on."""
    first, second = await asyncio.to_thread(generations, tmp_path)
    rows = queries(2)
    async with (
        cluster(tmp_path, first.store, [deployment(first)], workers=3) as here,
        kofn.AsyncClient(here.master.address) as client,
    ):
        mixed = {**deployment(first), "models": {"A": "A2", "B": "B"}}
        with pytest.raises(kofn.FailedPrecondition, match="made of the model 'A' with hash"):
            await client.deploy(mixed)
        told = await client.infer("both", rows.numpy())
        np.testing.assert_allclose(told.outputs, first.answers(rows), atol=1e-4)
        before = set(here.master.pool._programs)
        await client.deploy(deployment(second))
        after = set(here.master.pool._programs)
    both = {parent.hash for parent in second.store.codes.card("second").parents}
    assert both < after
    assert len(before & after) == 1, "what nobody needs any more is forgotten: B alone stays"


def test_a_shifted_model_is_a_shifted_model() -> None:
    with torch.no_grad():
        apart = shifted(linear(1), 5.0)(queries(3)) - linear(1)(queries(3))
    torch.testing.assert_close(apart, torch.full_like(apart, 5.0), atol=1e-4, rtol=0)
