"""`python -m bench`: one command a benchmark."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from bench import records
from bench.adaptive_command import adaptive
from bench.aicc import aicc
from bench.all_command import all_
from bench.code_commands import coding, frontier, liars
from bench.coin.live import coin_live
from bench.devices_command import devices
from bench.fuzz.command import fuzz
from bench.live_liars_command import live_liars
from bench.load.command import load
from bench.matmul_command import matmul
from bench.records import provenance
from bench.recovery_command import recovery
from bench.simulated.command import simulated_vs_live, simulator
from bench.soak.command import soak
from bench.sweep.command import sweep
from bench.sweep.parm import parm
from bench.telling import Json, Save, tell
from kofn.cli.output import print_table

app = typer.Typer(help="Benchmarks of a running system.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Benchmarks of a running system."""


@app.command()
def overhead(  # noqa: PLR0913 - each flag is an argument to typer
    slots: Annotated[str, typer.Option(help="Numbers of slots n, comma-separated.")] = "4,8,16,32",
    codes: Annotated[str, typer.Option(help="Codes, comma-separated.")] = "parity,berrut",
    images: Annotated[
        str, typer.Option(help="Query shapes: digits, mnist, cifar10, comma-separated.")
    ] = "digits",
    groups: Annotated[int, typer.Option(min=1, help="Images in a slot.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each variant.")] = 15,
    batches: Annotated[int, typer.Option(min=1, help="Batches in a turn.")] = 40,
    trace: Annotated[bool, typer.Option("--trace", help="Also with traces, on the side.")] = False,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Master time and CPU a coded batch, against bare gRPC and raw sockets in the same run."""
    import torch

    from bench.overhead import Setting, measure, record
    from kofn.logs import configure_logs
    from kofn.wire.channels import tune_malloc

    configure_logs("error")
    tune_malloc()
    torch.set_num_threads(1)
    settings = [
        Setting(code, int(n), image, groups, rounds, batches, trace)
        for image in images.split(",")
        for code in codes.split(",")
        for n in slots.split(",")
    ]
    console = Console(stderr=True)
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = f"python -m bench overhead --codes {codes} --slots {slots} --images {images}"
    with asyncio.Runner() as runner:  # gRPC's asyncio stack wants one event loop a process
        rows = [
            {**record(runner.run(measure(setting))), "run": run, "command": command}
            for setting in track(settings, "measuring", console=console)
        ]
    for row in rows if trace else ():
        console.print(
            f"{row['code']}, n = {row['n']}: CPU x {row['cpu_ratio_traced']:.2f} with all requests "
            f"traced, x {row['cpu_ratio_unsampled']:.2f} with tracing on and none sampled"
        )
    if save:
        console.print(f"appended to {records.append('overhead', rows)}")
    if as_json:
        print(json.dumps(rows))
        return
    print_table(
        f"Master overhead a batch: {groups} images a slot, medians",
        ("code", "images", "n", "k", "time us", "x gRPC", "x sockets", "CPU us", "x gRPC",
         "x sockets", "coding / CPU"),
        [
            (
                row["code"],
                row["image"],
                row["n"],
                row["k"],
                f"{row['coded']['wall_us']:.0f}",
                f"{row['time_ratio_grpc']:.2f}",
                f"{row['time_ratio_sockets']:.2f}",
                f"{row['coded']['cpu_us']:.0f}",
                f"{row['cpu_ratio_grpc']:.2f}",
                f"{row['cpu_ratio_sockets']:.2f}",
                f"{100 * row['coding_share']:.1f} %",
            )
            for row in rows
        ],
    )  # fmt: skip


@app.command()
def throughput(  # noqa: PLR0913 - each flag is an argument to typer
    model: Annotated[str, typer.Option(help="Name in the model store.")] = "digits-mlp",
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 6,
    batches: Annotated[str, typer.Option(help="Images a request, comma-separated.")] = "8,64,256",
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of load for each row.")] = 5.0,
    device: Annotated[str, typer.Option(help="Of the workers: cpu, cuda, cuda:1.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="Of the workers' products: float32, bfloat16, float16.")
    ] = "float32",
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Images a second through one master whose workers and clients share this machine."""
    from bench.throughput import DEPLOYMENTS, Setting, measure_all
    from kofn.cli.usual import provide_model

    provide_model(model, None)
    settings = [
        Setting(name, int(batch), concurrency, seconds)
        for name in DEPLOYMENTS
        for batch in batches.split(",")
    ]
    run = datetime.now(UTC).isoformat(timespec="seconds")
    about = {
        **provenance(),
        "machine": records.machine(device),
        "run": run,
        "model": model,
        "workers": workers,
        "device": device,
        "precision": precision,
        "command": f"python -m bench throughput --model {model} --workers {workers} "
        f"--batches {batches} --device {device} --precision {precision}",
    }
    console = Console(stderr=True)
    flags = ("--device", device, "--precision", precision)
    with console.status("measuring"):
        found = asyncio.run(measure_all(model, workers, settings, flags))
    rows = [{**row, **about} for row in found]
    if save:
        console.print(f"appended to {records.append('throughput', rows)}")
    if as_json:
        print(json.dumps(rows))
        return
    print_table(
        f"Throughput: {model}, {workers} workers on {device}, {concurrency} requests in flight",
        ("code", "images a request", "images/s", "p50 ms", "p99 ms", "master CPU", "workers CPU",
         "client CPU"),
        [
            (
                row["code"],
                row["batch"],
                f"{row['images_per_s']:.0f}",
                f"{row['p50_ms']:.1f}",
                f"{row['p99_ms']:.1f}",
                *(f"{100 * row[f'{who}_cpu']:.0f} %" for who in ("master", "worker", "client")),
            )
            for row in rows
        ],
    )  # fmt: skip


@app.command()
def tables(
    table: Annotated[
        str,
        typer.Argument(
            help="A file of bench/tables: learned-codes, lagrange, cuts, coin, coded-training, "
            "polydot."
        ),
    ],
    rows: Annotated[
        str, typer.Option(help="Only rows whose name matches: 'fashion-lenet.backup*'.")
    ] = "*",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="At most so many for every training.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    store: Annotated[
        Path | None,
        typer.Option(help="For the models that are trained; default: beside the user's own."),
    ] = None,
    again: Annotated[bool, typer.Option(help="Rows that have records, too.")] = False,
    save: Annotated[bool, typer.Option(help="Append the records to bench/results.")] = True,
) -> None:
    """Train and measure every row of a table that has no record yet; each is kept at once."""
    from bench.tabling import Running, open_table, run_rows
    from kofn.cli.trainings import training_bar
    from models.store import Store

    opened = open_table(table)
    wanted = opened.rows(rows, epochs)
    console = Console(stderr=True, highlight=False)
    kept = Store(store or Store().root / ".bench")
    how = Running(table, kept, training_bar, device, again=again, save=save)
    now = list(run_rows(opened, wanted, how, console.print))
    names = {row.name for row in wanted}
    found = [record for record in records.read(table) if record["row"] in names]
    shown = opened.newest(found if save else now)
    print_table(opened.title, opened.titles, opened.cells(shown))


@app.command()
def figures(
    folder: Annotated[Path, typer.Option(help="Where to.")] = Path("docs"),
) -> None:
    """Draw the figures of docs/split-lagrange.md and docs/coded-training.md from the records.

    A figure of what was not measured yet is left out.
    """
    from bench.coded_training import document as coded_training
    from bench.cuts import document as cuts
    from bench.lagrange import document

    for path in (*document.draw(folder), cuts.draw(folder / "split-lagrange-cuts.png")):
        print(path)
    try:
        print(coded_training.draw(folder))
    except LookupError as error:
        print(f"{error.args[0]} Left out.", file=sys.stderr)


@app.command()
def live_accuracy(
    trained: Annotated[
        str, typer.Option(help="Trained codes of the store, comma-separated; see `kofn models`.")
    ] = "fashion-mnist-lenet.backup-k4-r1,fashion-mnist-lenet.mosaic-k4-r1",
    at: Annotated[str, typer.Option(help="Shares of late tasks in percent.")] = "1,5,10",
    rate: Annotated[float, typer.Option(min=1, help="Coding groups a second, Poisson.")] = 30,
    passes: Annotated[int, typer.Option(min=1, help="How often the test set is asked for.")] = 1,
    seed: Annotated[int, typer.Option(help="Of arrivals, order and stragglers.")] = 0,
    save: Save = False,
    as_json: Json = False,
) -> None:
    """Accuracy of a trained code under real stragglers, beside what the papers' formula says."""
    from bench.live_accuracy import TITLES, cells, measure_all
    from kofn.logs import configure_logs

    configure_logs("error")
    shares = [float(share) / 100 for share in at.split(",")]
    run = datetime.now(UTC).isoformat(timespec="seconds")
    command = f"python -m bench live-accuracy --trained {trained} --at {at} --rate {rate:g}"
    console = Console(stderr=True, highlight=False)

    async def collect() -> list[dict[str, Any]]:
        found = []
        runs = measure_all(trained.split(","), shares, rate=rate, passes=passes, seed=seed)
        async for row in runs:
            console.print(
                f"{row['trained']}, {100 * row['unavailable']:g} % late: "
                f"{row['difference_points']:+.2f} points from the formula"
            )
            found.append({"table": "live-accuracy", **row, **provenance()})
        return found

    rows = [{**row, "run": run, "command": command} for row in asyncio.run(collect())]
    title = "Accuracy on the live cluster, under stragglers"
    tell("live-accuracy", rows, title, TITLES, cells, save=save, as_json=as_json)


COMMANDS = (
    adaptive, aicc, coding, coin_live, devices, frontier, fuzz, liars, live_liars, load, matmul,
    parm, recovery, simulated_vs_live, simulator, soak, sweep,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.command("all")(all_)


if __name__ == "__main__":
    app()
