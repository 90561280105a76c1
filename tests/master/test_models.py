"""Several models behind one deployment: one's answers, several, their mean, and what is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kofn
from kofn.wire import worker_pb2
from kofn.wire.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from kofn.wire.source import Source
from kofn.wire.tensors import from_wire, to_wire
from master.binding import bind
from master.config import DeploymentConfig, MasterConfig
from master.server import MasterServer
from support.coin import (
    CLASSES,
    Merged,
    deployment,
    linear,
    queries,
    save_merged,
    save_model,
    store_in,
)
from support.scripted import ScriptedWorker, scripted_workers
from support.until import until

SOON = {"wait": "soft", "soft_deadline": "1ms", "max_sends": 1}
PATIENT = {"wait": "soft", "soft_deadline": "60s"}


@dataclass
class ModelWorker(ScriptedWorker):
    """Runs the modules that the test knows by hash; acts on the tasks of some of them."""

    modules: dict[str, torch.nn.Module] = field(default_factory=dict)
    acts: dict[str, str] = field(default_factory=dict)  # by program
    lies: bool = False

    def __post_init__(self) -> None:
        self.script = lambda number: self.acts.get(self.tasks[number].program, "reply")

    def _answered(self, task: worker_pb2.Task) -> worker_pb2.FromWorker:
        with torch.no_grad():
            given = torch.from_numpy(np.array(from_wire(task.inputs[0])))
            answer = self.modules[task.program](given).numpy()
        answer = -answer if self.lies else answer
        result = worker_pb2.Result(id=task.id, outputs=[to_wire(answer)], program=task.program)
        return worker_pb2.FromWorker(result=result)


@dataclass
class Live:
    """What a test may touch."""

    made: Merged
    master: MasterServer
    client: kofn.AsyncClient
    workers: list[ModelWorker]

    def program(self, role: str) -> str:
        card = self.made.store.codes.card(self.made.checkpoint)
        own = {f"model-{i}": parent.hash for i, parent in enumerate(card.parents)}
        return {**own, **card.programs}[role]

    def act(self, role: str, what: str) -> None:
        for worker in self.workers:
            worker.acts[self.program(role)] = what

    @property
    def asked(self) -> list[str]:
        """Programs of all tasks so far, sorted."""
        return sorted(task.program for worker in self.workers for task in worker.tasks)


@asynccontextmanager
async def live(
    made: Merged, *, workers: int = 3, lying: Iterable[int] = (), **fields: Any
) -> AsyncIterator[Live]:
    """A master with one deployment of the merged models, over workers that run their modules."""
    card = made.store.codes.card(made.checkpoint)
    hashes = {f"model-{i}": parent.hash for i, parent in enumerate(card.parents)} | card.programs
    modules = {hashes[role]: module for role, module in made.modules.items()}
    running = [
        ModelWorker(f"worker-{i}", programs=[], modules=modules, lies=i in set(lying))
        for i in range(workers)
    ]
    async with scripted_workers(*running) as addresses:
        config = MasterConfig.model_validate(
            {
                "server": {"port": 0, "metrics_port": 0, "drain_s": 1},
                "workers": addresses,
                "deployments": [deployment(made, **fields)],
            }
        )
        async with (
            MasterServer(config, made.store) as master,
            kofn.AsyncClient(master.address) as client,
        ):
            yield Live(made, master, client, running)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Merged:
    """A and B, and their average."""
    store = store_in(tmp_path_factory.mktemp("two"))
    return save_merged(store, {"A": linear(1), "B": linear(2)})


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Merged:
    """A, B and C with two merged models that are slightly off, and outputs to fit and judge by."""
    store = store_in(tmp_path_factory.mktemp("three"))
    models = {name: linear(seed) for seed, name in enumerate("ABC")}
    return save_merged(store, models, r=2, decoding="fitted", noise=0.02)


async def test_a_client_asks_for_all_models_several_one_or_the_mean(two: Merged) -> None:
    rows = queries(5)
    truth = two.answers(rows).numpy()
    async with live(two) as now:
        told = await now.client.infer("both", rows.numpy(), wait="all")
        assert told.models == ("A", "B")
        assert told.source.tolist() == [[Source.DIRECT, Source.DIRECT]] * 5
        np.testing.assert_allclose(told.outputs, truth, atol=1e-5)
        turned = await now.client.infer("both", rows.numpy(), models=["B", "A"], wait="all")
        np.testing.assert_array_equal(turned.outputs, told.outputs[:, ::-1])
        alone = await now.client.infer("both", rows.numpy(), models="B")
        np.testing.assert_array_equal(alone.outputs, told.outputs[:, 1])
        assert (alone.outputs.shape, alone.source.shape) == ((5, CLASSES), (5,))
        mean = await now.client.infer("both", rows.numpy(), models="mean", wait="all")
        np.testing.assert_allclose(mean.outputs, truth.mean(1), atol=1e-5)
        assert mean.expected_error.tolist() == [0.0] * 5
        mixed = await now.client.infer("both", rows.numpy(), models=["mean", "A"], wait="all")
        np.testing.assert_array_equal(mixed.outputs[:, 1], told.outputs[:, 0])


async def test_requests_for_other_models_go_their_own_ways_at_the_same_time(two: Merged) -> None:
    rows = queries(4).numpy()
    truth = two.answers(queries(4)).numpy()
    async with live(two) as now:
        asking = [now.client.infer("both", rows, models=name) for name in ("A", "B", "mean") * 4]
        for i, told in enumerate(await asyncio.gather(*asking)):
            wanted = truth.mean(1) if i % 3 == 2 else truth[:, i % 3]
            np.testing.assert_allclose(told.outputs, wanted, atol=1e-5)


async def test_metadata_names_every_model_and_the_mean(two: Merged) -> None:
    async with live(two) as now:
        told = await now.client.metadata("both")
        outputs = {output.name: list(output.shape) for output in told.outputs}
        assert outputs == {
            "A": [-1, CLASSES],
            "B": [-1, CLASSES],
            "mean": [-1, CLASSES],
            "source": [-1, -1],
            "expected_error": [-1, -1],
        }
        with pytest.raises(InvalidArgument, match="Unknown output 'C'; accepted: A, B, mean"):
            await now.client.infer("both", queries(1).numpy(), models="C")
        with pytest.raises(InvalidArgument, match="Outputs must differ"):
            await now.client.infer("both", queries(1).numpy(), models=["A", "A"])


@pytest.mark.parametrize("lost", [0, 1])
async def test_each_lost_model_is_decoded(two: Merged, lost: int) -> None:
    """Held back, so that only the merged model and the other one answer."""
    rows = queries(5)
    truth = two.answers(rows).numpy()
    async with live(two, policy=SOON) as now:
        now.act(f"model-{lost}", "hold")
        told = await now.client.infer("both", rows.numpy())
        np.testing.assert_allclose(told.outputs, truth, atol=1e-4)
        assert (told.source[:, lost] == Source.DECODED).all()
        assert (told.source[:, 1 - lost] == Source.DIRECT).all()
        alone = await now.client.infer("both", rows.numpy(), models="AB"[lost])
        np.testing.assert_allclose(alone.outputs, truth[:, lost], atol=1e-4)


async def test_a_mean_needs_nobody_but_the_merged_model(two: Merged) -> None:
    async with live(two, policy=SOON) as now:
        for role in ("model-0", "model-1"):
            now.act(role, "hold")
        told = await now.client.infer("both", queries(3).numpy(), models="mean")
        np.testing.assert_allclose(told.outputs, two.answers(queries(3)).mean(1), atol=1e-4)
        with pytest.raises(DeadlineExceeded):
            await now.client.infer("both", queries(3).numpy(), models="A", timeout_s=0.5)


async def test_one_model_costs_one_task_and_others_are_asked_when_it_is_late(two: Merged) -> None:
    async with live(two, policy=PATIENT) as now:
        await now.client.infer("both", queries(2).numpy(), models="A")
        assert now.asked == [now.program("model-0")]
    async with live(two, policy=SOON) as now:
        now.act("model-0", "hold")
        await now.client.infer("both", queries(2).numpy(), models="A")
        roles = ("model-0", "model-1", "coded-0")
        await until(lambda: now.asked == sorted(map(now.program, roles)))


async def test_two_lost_of_three_are_decoded_with_their_expected_error(three: Merged) -> None:
    rows = queries(40, seed=3)
    truth = three.answers(rows).numpy()
    async with live(three, workers=5, policy=SOON) as now:
        for role in ("model-0", "model-2"):
            now.act(role, "hold")
        told = await now.client.infer("both", rows.numpy())
        for model in (0, 2):
            error = np.square(told.outputs[:, model] - truth[:, model]).sum()
            share = error / np.square(truth[:, model] - truth[:, model].mean(0)).sum()
            assert share < 0.05
            assert 0 < told.expected_error[0, model] < 0.05


@pytest.mark.parametrize("liar", [0, 3])
async def test_a_liar_among_five_is_found_and_quarantined(three: Merged, liar: int) -> None:
    policy = {"wait": "soft", "liars": 1}
    rows = queries(16, seed=3)
    truth = three.answers(rows).numpy()
    async with live(three, workers=6, lying=[liar], policy=policy) as now:
        for _ in range(12):
            told = await now.client.infer("both", rows.numpy())
            error = np.square(told.outputs - truth).sum() / np.square(truth).sum()
            assert error < 0.02
        told = await now.client.status()
        states = {worker.name: worker.state for worker in told.workers}
        assert states[f"worker-{liar}"] == "quarantined"
        assert list(states.values()).count("quarantined") == 1


def over_queries(made: Merged, folder: Path) -> dict[str, Any]:
    """The merged models as a product, calibrated on queries of a file."""
    images = folder / "queries.npz"
    np.savez(images, images=queries(2000, seed=8).numpy(), labels=np.arange(2000) % CLASSES)
    code = {**product(made)["code"], "calibrated": True}
    return {"code": code, "calibration": {"dataset": str(images)}}


@pytest.mark.parametrize(
    ("workers", "names"),
    [(3, "one of worker-0, worker-1, worker-2 lies"), (9, "worker-1 seems to lie")],
    ids=["coin", "product"],
)
async def test_a_lie_raises_an_alarm(tmp_path: Path, workers: int, names: str) -> None:
    """The figure and the event say so. With three slots that somebody lies; with nine also who."""
    models = {"A": linear(1), "B": linear(2)}
    made = await asyncio.to_thread(save_merged, store_in(tmp_path), models, noise=0.02)
    code = {} if workers == 3 else await asyncio.to_thread(over_queries, made, tmp_path)
    async with live(made, workers=workers, policy={"wait": "all"}, **code) as now:
        for _ in range(5):
            await now.client.infer("both", queries(8).numpy())
        honest = (await now.client.status()).deployments[0]
        assert honest.checked_batches == 5
        assert honest.suspicious_batches == 0
        assert 0 < honest.residual < 0.1
        async with now.master.state.events.watch() as events:
            now.workers[1].lies = True
            for _ in range(5):
                await now.client.infer("both", queries(8).numpy())
            event = await asyncio.wait_for(events.get(), 10)
            now.workers[1].lies = False
            for _ in range(12):
                await now.client.infer("both", queries(8).numpy())
            after = await asyncio.wait_for(events.get(), 10)
        assert event is not None
        assert (event.kind, event.subject) == ("results-do-not-fit", "both")
        assert names in event.detail
        assert after is not None
        assert after.kind == "results-fit-again"


async def test_a_result_of_another_generation_is_dropped(two: Merged) -> None:
    """It is the right shape and finite, and its hash says that another program made it."""
    async with live(two, policy=SOON) as now:
        now.act("model-1", "mistaken")
        told = await now.client.infer("both", queries(3).numpy())
        assert (told.source[:, 1] == Source.DECODED).all()


def test_models_that_the_merged_one_was_not_made_of_are_refused(tmp_path: Path) -> None:

    store = store_in(tmp_path)
    made = save_merged(store, {"A": linear(1), "B": linear(2)})
    old = store.card("B").hash
    new = save_model(store, "B", linear(3))
    with pytest.raises(FailedPrecondition, match="made of the model 'B'") as refused:
        bind(DeploymentConfig.model_validate(deployment(made)), store)
    assert old in str(refused.value)
    assert new in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"models": ["A"]}, "models must be 2, for that is what the code 'coin' is over, not 1"),
        ({"models": ["A", "A"]}, "models must have different names, not A twice"),
        ({"models": ["A", "mean"]}, "not be named mean, source, expected_error"),
        ({"program": "A"}, "either program or models"),
        (
            {"code": {"name": "uncoded", "k": 2}},
            "models must be 0: the code is over queries, not 2",
        ),
        ({"policy": {"liars": 1}}, "policy.liars must be at most 0"),
    ],
)
def test_a_deployment_of_models_that_do_not_fit_is_refused(
    two: Merged, fields: dict[str, Any], says: str
) -> None:

    with pytest.raises(ValueError, match=says):
        DeploymentConfig.model_validate({**deployment(two), **fields})


def test_models_of_different_shapes_are_refused(tmp_path: Path) -> None:

    store = store_in(tmp_path)
    made = save_merged(store, {"A": linear(1), "B": linear(2)})
    wide = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 7)).eval()
    save_model(store, "B", wide)
    with pytest.raises(InvalidArgument, match=r"same outputs: 'A' has .*\[5\], 'B' has .*\[7\]"):
        bind(DeploymentConfig.model_validate(deployment(made)), store)


def test_merged_models_are_needed(tmp_path: Path) -> None:

    store = store_in(tmp_path)
    made = save_merged(store, {"A": linear(1), "B": linear(2)})
    plain = {**deployment(made), "code": {"name": "coin", "k": 2, "n": 3}}
    with pytest.raises(InvalidArgument, match=r"must name a trained code.* A\+B.coin-r1"):
        bind(DeploymentConfig.model_validate(plain), store)


def product(made: Merged, **fields: Any) -> dict[str, Any]:
    """Three rows, A, B and their average, times two queries and their parity."""
    code = {"name": "product", "k": 4, "n": 9, "models": 2, "checkpoint": made.checkpoint}
    return {"code": code, **fields}


async def test_a_lost_model_and_a_lost_worker_s_slots_are_recovered_together(two: Merged) -> None:
    """Five queries in three groups; model A is held, and one further worker is silent."""
    rows = queries(5)
    truth = two.answers(rows).numpy()
    async with live(two, workers=9, **product(two, policy=SOON)) as now:
        now.act("model-0", "hold")
        now.workers[4].script = lambda number: "hold"
        told = await now.client.infer("both", rows.numpy())
        np.testing.assert_allclose(told.outputs, truth, atol=1e-3)
        assert (told.source[:, 0] == Source.DECODED).all()


async def test_one_model_of_a_product_is_asked_in_its_row_only(two: Merged) -> None:
    """Protected there by the parity of its queries: one worker is silent."""
    rows = queries(4)
    truth = two.answers(rows).numpy()
    async with live(two, workers=9, **product(two, policy=PATIENT)) as now:
        told = await now.client.infer("both", rows.numpy(), models="B", wait="soft")
        np.testing.assert_allclose(told.outputs, truth[:, 1], atol=1e-4)
        assert set(now.asked) == {now.program("model-1")}
        assert len(now.asked) <= 6, "three slots a batch, and two batches at most"
        mean = await now.client.infer("both", rows.numpy(), models="mean", wait="all")
        np.testing.assert_allclose(mean.outputs, truth.mean(1), atol=1e-4)


async def test_a_padded_group_of_a_product_is_answered(two: Merged) -> None:
    """One query where two make a group."""
    async with live(two, workers=9, **product(two, policy=SOON)) as now:
        now.act("model-1", "hold")
        told = await now.client.infer("both", queries(1).numpy())
        np.testing.assert_allclose(told.outputs, two.answers(queries(1)), atol=1e-3)


def test_a_product_has_the_merged_models_rows(two: Merged) -> None:
    config = deployment(two, **product(two))
    bound = bind(DeploymentConfig.model_validate(config), two.store)
    assert bound.code.roles[::3] == ("model-0", "model-1", "coded-0")
    assert len(bound.archives) == 3
    wrong = deployment(two, code={**config["code"], "weights": [[0.9, 0.1]]})  # type: ignore[dict-item]
    with pytest.raises(InvalidArgument, match=r"code.weights must be \[\[0.5, 0.5\]\]"):
        bind(DeploymentConfig.model_validate(wrong), two.store)
