"""The generated blocks of README.md: tables from code and from result records, never typed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import codes
from bench import adaptive, adaptive_sweeps, devices, frontier, liars, live_accuracy, records
from bench.cells import read_table
from bench.soak import report
from bench.trained_table import TITLES, cells, newest
from report.records import read
from report.sweeps import points

USUAL_TASK_MS = 10.0  # of records of `adaptive` that do not say it


def codes_table() -> str:
    """Every registered code, in Markdown."""
    kinds = [(kind.name, kind.summary, kind.source) for kind in codes.REGISTRY.values()]
    kinds += [(kind.name, kind.summary, kind.source) for kind in codes.PRODUCTS.values()]
    rows = [
        (f"`{name}`", summary, f"[{source}](codes/refs.bib)" if source else "")
        for name, summary, source in sorted(kinds)
    ]
    return markdown(("code", "what it is", "source"), rows)


def overhead_table() -> str:
    """The newest records of `python -m bench overhead --save`."""
    rows = [
        (
            r["code"],
            r["image"],
            r["n"],
            f"{r['coded']['wall_us']:.0f}",
            f"{r['time_ratio_grpc']:.2f}",
            f"{r['time_ratio_sockets']:.2f}",
            f"{r['coded']['cpu_us']:.0f}",
            f"{r['cpu_ratio_grpc']:.2f}",
            f"{r['cpu_ratio_sockets']:.2f}",
            f"{100 * r['coding_share']:.1f} %",
        )
        for r in records.newest("overhead")
    ]
    titles = (
        "code", "image", "n", "time, µs a batch", "× bare gRPC", "× raw sockets",
        "CPU, µs a batch", "× bare gRPC", "× raw sockets", "coding, of CPU",
    )  # fmt: skip
    return markdown(titles, rows) + "\n" + _made_by("overhead")


def devices_table() -> str:
    """The last records of `python -m bench devices --save`: of each model, device and setting."""
    last = {
        (r["model"], r["device"], r["precision"], r["threads"], r["batch"]): r
        for r in records.read("devices")
    }
    rows = [(r["model"], *devices.cells(r)) for r in last.values()]
    machines = dict.fromkeys(
        f"{r['device']}: {r['machine']}, torch {r['versions']['torch']}, {r['time'][:10]}"
        for r in last.values()
    )
    return markdown(("model", *devices.TITLES), rows) + "\n" + "; ".join(machines) + ".\n"


def throughput_table() -> str:
    """The newest records of `python -m bench throughput --save`."""
    rows = [
        (
            r["code"],
            r["batch"],
            r["concurrency"],
            f"{r['images_per_s']:.0f}",
            f"{r['p50_ms']:.1f}",
            f"{r['p99_ms']:.1f}",
            f"{100 * r['master_cpu']:.0f} %",
            f"{100 * r['worker_cpu']:.0f} %",
        )
        for r in records.newest("throughput")
    ]
    titles = (
        "code", "images a request", "requests in flight", "images/s", "p50, ms", "p99, ms",
        "master, of a core", "workers together",
    )  # fmt: skip
    return markdown(titles, rows) + "\n" + _made_by("throughput")


def recovery_table() -> str:
    """The newest record of `python -m bench recovery --save`."""
    from bench.recovery import STEPS

    (r,) = records.newest("recovery")
    rows = [
        (text, f"{r[step]['median']:.2f}", f"{r[step]['max']:.2f}") for step, text in STEPS.items()
    ]
    told = (
        f"{r['workers']} workers, k = {r['k']}, {r['rounds']} rounds; of {r['requests']} requests "
        f"meanwhile {r['failed']} failed, and the slowest took {r['slowest_ms']:.0f} ms.\n\n"
    )
    titles = ("from", "median, s", "largest, s")
    return markdown(titles, rows) + "\n" + told + _made_by("recovery")


def trained_table(dataset: str) -> str:
    """The newest records of `python -m bench tables learned-codes` for one data set."""
    found = [r for r in newest(records.read("learned-codes")) if r["dataset"] == dataset]
    if not found:
        return "Not measured yet.\n"
    return markdown(TITLES, cells(found)) + generated_by(found)


def published_table() -> str:
    """The papers' figures that the tables stand beside."""
    rows = [
        (figure.dataset, figure.code, figure.k, f"{figure.gap:g}", figure.says, figure.source)
        for figure in read_table("learned-codes").published
    ]
    return markdown(("data set", "code", "k", "gap, points", "what", "source"), rows)


def live_accuracy_table() -> str:
    """The newest records of `python -m bench live-accuracy --save`."""
    rows = map(live_accuracy.cells, records.newest("live-accuracy"))
    return markdown(live_accuracy.TITLES, rows) + "\n" + _made_by("live-accuracy")


def live_liars_table() -> str:
    """The newest records of `python -m bench live-liars --save`."""
    from bench.live_liars import TITLES, cells

    return (
        markdown(TITLES, map(cells, records.newest("live-liars"))) + "\n" + _made_by("live-liars")
    )


def liars_table() -> str:
    """The newest records of `python -m bench liars --save`."""
    rows = map(liars.cells, records.newest("liars"))
    return markdown(liars.TITLES, rows) + "\n" + _made_by("liars")


def soak_report() -> str:
    """Records of `python -m bench soak --record bench/results/soak.jsonl`, newest first."""
    parts = []
    for run in reversed(list(records.read("soak"))):
        home = "processes" if run["backend"] == "local" else "containers"
        title = f"{run['seconds'] / 60:g} minutes, {run['workers']} workers in {home}:\n\n"
        said = "".join(f"- {line}\n" for line in report.words(run))
        table = markdown(report.TITLES, report.cells(run))
        parts.append(title + table + "\n" + said + generated_by([run]))
    return "\n".join(parts) or "Not measured yet.\n"


def frontier_table() -> str:
    """The newest record of every row of `python -m bench frontier --save`."""
    last = {record["row"]: record for record in records.read("frontier")}
    if not last:
        return "Not measured yet.\n"
    found = list(last.values())
    return markdown(frontier.TITLES, map(frontier.cells, found)) + generated_by(found)


def adaptive_tables() -> str:
    """The newest records of `python -m bench adaptive --save` for each length of a task."""
    runs = {row.get("task_ms", USUAL_TASK_MS): row["run"] for row in records.read("adaptive")}
    told = ""
    for task_ms, run in sorted(runs.items()):
        kept = [row for row in records.read("adaptive") if row["run"] == run]
        for how in dict.fromkeys(row["how"] for row in kept):
            shown = [row for row in kept if row["how"] == how]
            rows = [adaptive.cells(row, kept) for row in shown]
            told += f"{how.capitalize()}, tasks of {task_ms:g} ms, {shown[0]['requests']:,} "
            told += f"requests each:\n\n{markdown(adaptive.TITLES, rows)}\n"
        told += _told(kept[-1]) + "\n"
    return told.rstrip("\n") + "\n"


def adaptive_in_sweeps() -> str:
    """Of the newest records of the sweeps: adaptive redundancy beside the best static policy."""
    rows = list(adaptive_sweeps.rows(points(read([records.RESULTS]))))
    if not rows:
        return "Not measured yet: `python -m bench sweep worker-counts --save`, and so on.\n"
    return markdown(adaptive_sweeps.TITLES, rows)


def adaptive_simulated() -> str:
    """The same in virtual time: the newest records of `python -m bench sweep PLAN --simulated`."""
    files = sorted(records.RESULTS.glob("*-simulated.jsonl"))
    found = [record for file in files for record in records.read(file.stem)]
    if not found:
        return "Not simulated yet: `python -m bench sweep load --simulated 20000 --save`, ...\n"
    last, rows = found[-1], list(adaptive_sweeps.simulated_rows(found))
    tails = [cell for row in rows for cell in row[-len(adaptive_sweeps.SIMULATED_TAILS) :]]
    worse = sum("worse" in cell for cell in tails)
    return (
        f"Adaptive redundancy is worse by more than 5 % in {worse} of {len(tails)} cells.\n\n"
        + markdown(adaptive_sweeps.SIMULATED_TITLES, rows)
        + f"\n`{last['command']} --save`, and so on, commit {last['commit']}, {last['run'][:10]}.\n"
    )


def markdown(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def generated_by(found: Iterable[Mapping[str, Any]]) -> str:
    """The line under a table whose rows were measured one by one."""
    last = max(found, key=lambda record: str(record["run"]))
    return (
        f"\n`{last['command']}`, seed {last['seed']}; the last on {last['run'][:10]}, commit "
        f"{last['commit']}, {last['machine']}.\n"
    )


def _made_by(table: str) -> str:
    runs = records.newest(table)
    if not runs:
        return f"Not measured yet: `python -m bench {table} --save`.\n"
    return _told(runs[-1])


def _told(last: Mapping[str, Any]) -> str:
    return f"`{last['command']}`, commit {last['commit']}, {last['run'][:10]}, {last['machine']}.\n"
