"""`kofn infer`: submit images to a running cluster."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import kofn
from kofn.cli.connection import At, connecting
from kofn.cli.output import Json, print_json, print_table, words
from kofn.cli.over_models import names_in
from kofn.wire.errors import InvalidArgument

PICTURES = (".png", ".jpg", ".jpeg")
MOST_LISTED = 20  # answers told one by one

Told = Callable[[Any], dict[str, Any]]  # of an answer's numbers, what a person wants to know


@connecting
def infer(  # noqa: PLR0913 - each flag is an argument to typer
    sources: Annotated[
        list[str],
        typer.Argument(
            help="A data set (digits, mnist, ..., a folder), .npy files, or PNG or JPEG files."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="Deployment; default: the only one there is.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Of a deployment of several: A, or A,B, or mean; default: all."),
    ] = None,
    split: Annotated[str, typer.Option(help="Of a data set: train or test.")] = "test",
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a request.")] = 32,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 4,
    timeout_ms: Annotated[int, typer.Option(min=1, help="Of a request.")] = 5000,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Take what is there when time is up.")
    ] = False,
    wait: Annotated[
        str | None, typer.Option(help="For own answers: first, soft, all, adaptive.")
    ] = None,
    recovery_threshold: Annotated[
        str | None, typer.Option(help="Responders to wait for: a number, or any.")
    ] = None,
    gain_limit: Annotated[
        float | None, typer.Option(help="Wait until no answer's noise gain is above this.")
    ] = None,
    resize: Annotated[
        bool, typer.Option("--resize", help="Scale pictures to the model's size.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the outputs to a .npy file.")] = None,
    as_json: Json = False,
    *,
    at: At,
) -> None:
    """Submit image batches; tell answers, where they came from, how right they are, and latency."""
    dials = {"recovery_threshold": recovery_threshold, "gain_limit": gain_limit}
    asked = {name: str(value) for name, value in dials.items() if value is not None}
    with at.client(timeout_s=timeout_ms / 1e3) as client:
        name = model or only_model(client)
        shape = [int(size) for size in client.metadata(name).inputs[0].shape[1:]]
        images, truth, names = _images(sources, split, shape, resize)
        images, truth = images[:count], truth[:count]
        parts, latencies = _ask(
            client, name, images, batch, concurrency,
            timeout_s=timeout_ms / 1e3, allow_partial=allow_partial, wait=wait, parameters=asked,
            models=_asked(models),
        )  # fmt: skip
        classes = _classes(client, name)
    answers = kofn.Answers.joined(parts)
    if out is not None:
        np.save(out, answers.outputs)
    told = _class(classes) if truth.ndim == 1 else _numbers
    summary: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []
    for one, of_one in _by_model(answers).items():
        summary |= {f"{one}: {key}" if one else key: v for key, v in _right(of_one, truth).items()}
        listed += _listed(of_one, told, [f"{image} to {one}" if one else image for image in names])
    p50, p99 = (1e3 * float(np.quantile(latencies, q)) for q in (0.5, 0.99))
    summary |= {"request p50 ms": round(p50, 1), "request p99 ms": round(p99, 1)}
    if as_json:
        print_json({"model": name, **summary, "answers": listed})
        return
    if len(listed) <= MOST_LISTED:
        print_table(
            f"Answers of {name}",
            ("image", "class" if truth.ndim == 1 else "answer", "source", "expected error"),
            [tuple(row.values()) for row in listed],
        )
    print_table(f"{len(answers)} images to {name}", ("what", "value"), summary.items())


def _asked(models: str | None) -> str | list[str] | None:
    """One model, whose answers have no further axis, or several; None: all."""
    names = names_in(models)
    return (names[0] if len(names) == 1 else names) or None


def only_model(client: kofn.Client) -> str:
    """The one that is served; raises InvalidArgument when there are none or several."""
    names = [model.name for model in client.statistics()]
    if len(names) != 1:
        raise InvalidArgument(f"name one with --model; served: {', '.join(names) or 'none'}.")
    return names[0]


def _images(
    sources: Sequence[str], split: str, shape: Sequence[int], resize: bool
) -> tuple[Any, Any, list[str]]:
    """Images [rows, *shape], labels [rows] (none: empty) or targets [rows, entries], and what to
    call each."""
    from models import data
    from models.data import load_images

    suffixes = {Path(source).suffix.lower() for source in sources}
    if suffixes == {".npy"}:
        arrays = [np.load(source, allow_pickle=False) for source in sources]
        arrays = [array if array.ndim > len(shape) else array[None] for array in arrays]
        images = np.concatenate(arrays)
        return images, np.zeros(0, np.int64), [str(row) for row in range(len(images))]
    if suffixes <= set(PICTURES):
        paths = [Path(source) for source in sources]
        return load_images(paths, shape, resize).numpy(), np.zeros(0, np.int64), list(sources)
    if len(sources) > 1:
        raise InvalidArgument("give one data set, or .npy files, or pictures, not a mixture.")
    if split not in ("train", "test"):
        raise InvalidArgument(f"--split must be train or test, not {split!r}.")
    dataset = data.load(sources[0], split)  # type: ignore[arg-type] # checked above
    names = [f"{split} {row}" for row in range(len(dataset.images))]
    truth = dataset.labels if dataset.targets is None else dataset.targets
    return dataset.images.numpy(), truth.numpy(), names


def _ask(
    client: kofn.Client,
    model: str,
    images: Any,
    batch: int,
    concurrency: int,
    **options: Any,
) -> tuple[list[kofn.Answers], list[float]]:
    from rich.progress import Progress

    parts = []
    with Progress(console=words, transient=True) as progress:
        bar = progress.add_task("asking", total=len(images))
        replies = client.infer_batches(
            model, images, batch_size=batch, concurrency=concurrency, **options
        )
        for part in replies:
            parts.append(part)
            progress.advance(bar, len(part))
    return parts, [part.timings.total_s for part in parts]


def _classes(client: kofn.Client, model: str) -> list[str]:
    told = client.config(model).parameters["classes"].string_value
    return told.split(",") if told else []


def _class(classes: list[str]) -> Told:
    def told(output: Any) -> dict[str, Any]:
        top = int(output.argmax())
        return {"class": classes[top] if top < len(classes) else top}

    return told


def _numbers(output: Any) -> dict[str, Any]:
    return {"answer": [round(float(number), 4) for number in output.flat]}


def _listed(answers: kofn.Answers, told: Told, names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for row, output in enumerate(answers.outputs):
        source = kofn.Source(int(answers.source[row]))
        error = float(answers.expected_error[row])
        answer = told(output)
        rows.append(
            {
                "image": names[row],
                **(dict.fromkeys(answer, "") if source is kofn.Source.MISSING else answer),
                "source": source.name.lower(),
                "expected_error": None if np.isnan(error) else round(error, 4),
            }
        )
    return rows


def _by_model(answers: kofn.Answers) -> dict[str, kofn.Answers]:
    """One model's answers each; of a deployment of one model they have no name."""
    if not answers.models:
        return {"": answers}
    return {
        name: replace(
            answers,
            outputs=answers.outputs[:, i],
            source=answers.source[:, i],
            expected_error=answers.expected_error[:, i],
            models=(),
        )
        for i, name in enumerate(answers.models)
    }


def _right(answers: kofn.Answers, truth: Any) -> dict[str, Any]:
    """Where one model's answers came from, and how right they are."""
    summary: dict[str, Any] = {
        source.name.lower(): int((answers.source == source).sum()) for source in kofn.Source
    }
    decoded = answers.source == kofn.Source.DECODED
    if truth.ndim == 2:
        summary |= _errors(answers, truth, decoded)
    elif len(truth):
        right = (answers.outputs.argmax(1) == truth) & ~answers.missing
        summary["accuracy"] = round(float(right.mean()), 4)
        if decoded.any():
            summary["accuracy of decoded"] = round(float(right[decoded].mean()), 4)
    return summary


def _errors(answers: kofn.Answers, truth: Any, decoded: Any) -> dict[str, float]:
    """Squared errors as shares of the variance of the right answers; a missing answer counts as
    their mean."""
    mean = truth.mean(0)
    given = np.where(answers.missing[:, None], mean, answers.outputs)
    errors = ((given - truth) ** 2).sum(1) / ((truth - mean) ** 2).sum(1).mean()
    found = {"error": round(float(errors.mean()), 4)}
    if decoded.any():
        expected = answers.expected_error[decoded]
        found["error of decoded"] = round(float(errors[decoded].mean()), 4)
        if not np.isnan(expected).all():
            found["expected error of decoded"] = round(float(np.nanmean(expected)), 4)
    return found
