"""Records of merged models as text: one line a setting, method and pattern of losses."""

from collections.abc import Iterable, Sequence
from statistics import mean

from bench.table import Record

TITLES = (
    "setting", "seeds", "lost", "method", "clean", "fixed (worst)", "fitted (worst)", "target",
    "agreement", "build, s", "epochs",
)  # fmt: skip
ENSEMBLE_TITLES = (
    "method", "one member", "mean of all", "one dropped (same class)", "coded alone (same class)",
    "lost one decoded (same class)",
)  # fmt: skip
NO_CODE = {
    "guess": "no code: a guess",
    "replication": "no code: copies of r models",
    "start": "no code: the start",
    "student": "no code: students in one slot",
}


def newest(found: Iterable[Record]) -> list[Record]:
    """The last record of each row, method, decoder and pattern of losses."""
    last: dict[tuple[object, ...], Record] = {}
    for record in found:
        if "error" not in record:
            keys = ("row", "method", "decoder", "lost", "lost_models")
            last[tuple(record.get(key) for key in keys)] = record
    return list(last.values())


def cells(found: Sequence[Record]) -> list[tuple[str, ...]]:
    """Means over seeds, under `TITLES`."""
    lines: dict[tuple[str, str, str], list[Record]] = {}
    for record in found:
        if "lost_only" in record:
            key = record["setting"], _lost(record), record["method"]
            lines.setdefault(key, []).append(record)
    order = {
        setting: place for place, setting in enumerate(dict.fromkeys(r["setting"] for r in found))
    }
    ranked = sorted(lines, key=lambda key: (order[key[0]], key[1]))
    return [_line(*key, lines[key]) for key in ranked]


def ensemble_cells(found: Sequence[Record]) -> list[tuple[str, ...]]:
    """Of ensembles, means over seeds, under `ENSEMBLE_TITLES`."""
    lines: dict[str, list[Record]] = {}
    for record in found:
        if "dropped" in record:
            lines.setdefault(record["method"], []).append(record)
    return [
        (
            method,
            f"{mean(r['members'] for r in group):.3f}",
            f"{mean(r['whole'] for r in group):.3f}",
            *(
                f"{mean(r[what][0] for r in group):.3f} ({mean(r[what][1] for r in group):.3f})"
                for what in ("dropped", "alone", "decoded")
            ),
        )
        for method, group in lines.items()
    ]


def _lost(record: Record) -> str:
    """Which slots: models, and coded ones beside them."""
    models = record.get("lost_models", 1)
    coded = record.get("lost", models) - models
    return f"{models}" + (f" + {coded} coded" if coded else "")


def _line(setting: str, lost: str, method: str, group: Sequence[Record]) -> tuple[str, ...]:
    first = group[0]
    by = {decoder: [r for r in group if r.get("decoder") == decoder] for decoder in
          ("fixed", "fitted", None)}  # fmt: skip
    only = by[None]
    fixed = _worth(by["fixed"] or only)
    mark = "" if lost == "1" else f" {lost}"
    targets = [first["targets"].get(f"{method} {decoder}{mark}") for decoder in ("fixed", "fitted")]
    target = " / ".join("–" if value is None else f"{value:.3f}" for value in targets)
    built = [r["build_s"] for r in group if "build_s" in r]
    return (
        setting,
        str(len({r["seed"] for r in group})),
        lost,
        NO_CODE.get(method, method),
        f"{mean(r['clean'] for r in group):.3f}",
        fixed,
        _worth(by["fitted"]) if by["fitted"] else "",
        target if any(targets) else "",
        f"{mean(r['agreement'] for r in by['fitted']):.3f}" if by["fitted"] else "",
        f"{mean(built):.1f}" if built else "",
        f"{mean(r['build_s'] / r['epoch_s'] for r in group if 'build_s' in r):.2f}"
        if built
        else "",
    )


def _worth(group: Sequence[Record]) -> str:
    worst = [r["worst"] for r in group if "worst" in r]
    found = f"{mean(r['lost_only'] for r in group):.3f}"
    return f"{found} ({mean(worst):.3f})" if worst else found
