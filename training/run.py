"""A run on the disk: its configuration, its metrics, and the state from which it goes on.

One folder: `config.json`, `metrics.jsonl` with an object an epoch, TensorBoard's events, and until
the run has ended `state.pt`. Knows nothing of what is learned (`training.loop`).
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CONFIG, METRICS, STATE = "config.json", "metrics.jsonl", "state.pt"


class OtherRun(ValueError):
    """The folder has a run of another configuration, and is left as it is."""


class Run:
    """One training run, begun or to be gone on with.

    Args:
        folder: of this run alone; made now, or found with a state of the same configuration.
        config: all that decides what comes out; plain JSON values.
        fresh: begin anew, whatever is there. A run that has ended is begun anew, too.

    Raises:
        OtherRun: a run of another configuration waits there to be gone on with.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None  # open between the first epoch and `close`
        wanted = json.loads(json.dumps(config))
        if not fresh and (folder / STATE).is_file():
            _check_same(folder, json.loads((folder / CONFIG).read_text(encoding="utf-8")), wanted)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / CONFIG).write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")

    @property
    def epoch(self) -> int:
        """The last that was saved; 0 at the beginning."""
        state = self.load()
        return 0 if state is None else int(state["epoch"])

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, on the CPU; None at the beginning."""
        path = self.folder / STATE
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    def save(self, state: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Keep an epoch's end: the state whole or as it was, then a line of metrics."""
        fresh = self.folder / f"{STATE}.new"
        torch.save(dict(state), fresh)
        os.replace(fresh, self.folder / STATE)  # noqa: PTH105 - as Path.replace, and atomic
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
        self._draw(int(metrics["epoch"]), metrics)

    def close(self) -> None:
        """No more epochs for now."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def again(self, attempt: int) -> "Run":
        """A further attempt at the same, in a folder within this one; gone on with like this."""
        config = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
        return Run(self.folder / f"again-{attempt}", {**config, "attempt": attempt})

    def finish(self) -> None:
        """What it learned is kept elsewhere: its states may go, its metrics stay."""
        for state in self.folder.rglob(STATE):
            state.unlink()

    def _draw(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import

            self._writer = SummaryWriter(str(self.folder))
        for name, value in metrics.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()  # for those who look on


def _check_same(folder: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in sorted(there.keys() | wanted.keys()):
        if there.get(key) != wanted.get(key):
            raise OtherRun(
                f"{folder} has a run that was broken off, with {key} {there.get(key)!r}, not "
                f"{wanted.get(key)!r}: go on with that, or begin anew with --fresh."
            )
