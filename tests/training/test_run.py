"""A run that is broken off goes on to the very same end; another's is never overwritten."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.store import Store
from training.base import Plan, Trained, train
from training.basis import basis
from training.codes import CodePlan, TrainedCode, train_code
from training.loop import Progress
from training.run import METRICS, STATE, OtherRun, Run

EPOCHS = 5


class Interrupted(Exception):
    """What stands for Ctrl-C."""


def interrupting(epoch: int) -> Callable[[Progress], None]:
    """Breaks a run off at the end of an epoch."""

    def tell(now: Progress) -> None:
        if now.done == epoch / EPOCHS:
            raise Interrupted

    return tell


def weights(trained: Trained | TrainedCode) -> list[Tensor]:
    if isinstance(trained, TrainedCode):
        return [*trained.weights.values()]
    return [*trained.module.state_dict().values()]


@pytest.mark.parametrize("kind", ["base", "learned"])
def test_an_interrupted_run_comes_to_the_same_end(
    kind: str, digits_store: Store, tmp_path: Path
) -> None:
    """Weights bit for bit, with chance variations of the images, twice interrupted."""
    # The faster of two precisions may change on a busy machine.
    varied = {"shift_pixels": 1, "precision": "float32"}
    base = basis("digits-mlp", digits_store)

    def again(
        run: Run | None, progress: Callable[[Progress], None] | None
    ) -> Trained | TrainedCode:
        if kind == "base":
            plan = Plan("digits", "mlp", epochs=EPOCHS, recipe=varied)
            return train(plan, run=run, progress=progress)
        code = CodePlan("learned", 2, epochs=EPOCHS, recipe=varied)
        return train_code(code, base, run=run, progress=progress)

    whole = again(None, None)
    for epoch in (2, 3):
        with pytest.raises(Interrupted):
            again(Run(tmp_path / "run", {"kind": kind}), interrupting(epoch))
        assert Run(tmp_path / "run", {"kind": kind}).epoch == epoch
    run = Run(tmp_path / "run", {"kind": kind})
    resumed = again(run, None)
    assert all(map(torch.equal, weights(whole), weights(resumed)))
    lines = (run.folder / METRICS).read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, EPOCHS + 1))


def test_another_configuration_is_refused_by_field(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {"k": 2, "seed": 0})
    run.save({"epoch": 1}, {"epoch": 1, "loss": 0.5})
    run.close()
    with pytest.raises(OtherRun, match=r"with k 2, not 4: .*--fresh"):
        Run(tmp_path / "run", {"k": 4, "seed": 0})
    with pytest.raises(OtherRun, match="with seed 0, not None"):
        Run(tmp_path / "run", {"k": 2})
    assert Run(tmp_path / "run", {"k": 2, "seed": 0}).epoch == 1


def test_a_fresh_run_and_one_that_ended_begin_anew(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {"k": 2})
    run.save({"epoch": 3}, {"epoch": 3, "loss": 0.5})
    run.close()
    assert Run(tmp_path / "run", {"k": 4}, fresh=True).epoch == 0
    run = Run(tmp_path / "run", {"k": 4})
    run.save({"epoch": 1}, {"epoch": 1, "loss": 0.5})
    run.close()
    run.finish()
    assert not (run.folder / STATE).exists()
    assert (run.folder / METRICS).exists()
    assert Run(tmp_path / "run", {"k": 5}).epoch == 0


def test_what_stays_at_chance_is_tried_again(digits_store: Store, tmp_path: Path) -> None:
    """With no learning at all three draws are tried, each kept, and all states go in the end."""
    base = basis("digits-mlp", digits_store)
    plan = CodePlan("learned", 5, epochs=1, recipe={"learning_rate": 1e-12})
    run = Run(tmp_path / "run", {"k": 5})
    made = train_code(plan, base, run=run)
    assert made.card.metrics["lost_only"].value < 0.2
    kept = [folder / METRICS for folder in (run.folder, *sorted(run.folder.glob("again-*")))]
    assert [len(path.read_text().splitlines()) for path in kept] == [1, 1, 1]
    again = train_code(plan, base, run=Run(tmp_path / "run", {"k": 5}))
    assert all(map(torch.equal, weights(made), weights(again)))
    run.finish()
    assert not list(run.folder.rglob(STATE))
