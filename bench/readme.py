"""The generated blocks of README.md: tables from code and from result records, never typed."""

from collections.abc import Iterable, Sequence

import codes
from bench import records


def codes_table() -> str:
    """Every registered code, in Markdown."""
    rows = [
        (f"`{name}`", kind.summary, f"[{kind.source}](codes/refs.bib)" if kind.source else "")
        for name, kind in sorted(codes.REGISTRY.items())
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


def markdown(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _made_by(table: str) -> str:
    runs = records.newest(table)
    if not runs:
        return f"Not measured yet: `python -m bench {table} --save`.\n"
    last = runs[-1]
    return f"`{last['command']}`, commit {last['commit']}, {last['run'][:10]}, {last['machine']}.\n"
