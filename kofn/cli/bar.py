"""How a training looks on the terminal while it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kofn.cli.output import words

if TYPE_CHECKING:
    from training.loop import Progress


@contextmanager
def training_bar(title: str) -> Iterator[Callable[["Progress"], None]]:
    """A progress bar with the time left, and what tells it."""
    from rich import progress as rich

    columns = (
        rich.TextColumn("training {task.description}"),
        rich.BarColumn(),
        rich.TextColumn(
            "epoch {task.fields[epoch]}, loss {task.fields[loss]:.3f}{task.fields[at]}"
        ),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=words, transient=True) as shown:
        bar = shown.add_task(title, total=1.0, epoch=0, loss=float("nan"), at="")

        def tell(now: "Progress") -> None:
            score = "" if now.score is None else f", validation {now.score:.4f}"
            shown.update(bar, completed=now.done, epoch=now.epoch, loss=now.loss, at=score)

        yield tell
