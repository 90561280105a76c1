"""The table and the figure of the cuts in docs/split-lagrange.md, from records, never typed."""

from pathlib import Path

from matplotlib.figure import Figure

from bench import records
from bench.cuts.table import TITLES, cells
from bench.cuts.worth import TABLE, cuts_of, newest
from bench.plots import COLOURS
from bench.readme import generated_by, markdown
from bench.table import Record


def cuts_table() -> str:
    """All cuts, model by model, the shallowest first."""
    found = _found()
    return markdown(TITLES, cells(found)) + generated_by(found) if found else "Not measured yet.\n"


def draw(path: Path) -> Path:
    """Draw accuracy over the share of the stem, a panel a model, as PNG; gives the file."""
    models = list(dict.fromkeys(record["model"] for record in _found()))
    figure = Figure(figsize=(max(4.1 * len(models), 8.2), 3.8), layout="constrained", dpi=80)
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        found = cuts_of(model)
        shares = [one.stem_cost for one in found]
        few = f"any {found[0].k} of {found[0].n}"
        for colour, style, label, values in (
            (COLOURS[0], "-o", f"{few}, mean", [one.any_k for one in found]),
            (COLOURS[0], "--", f"{few}, worst set", [one.any_k_worst for one in found]),
            (COLOURS[1], "-s", f"all {found[0].n}", [one.all_n for one in found]),
            (COLOURS[3], ":", "replication, mean", [one.replication for one in found]),
            (COLOURS[6], ":", "base", [one.base_accuracy for one in found]),
        ):
            percent = [100 * value for value in values]
            axes.plot(shares, percent, style, color=colour, label=label, markersize=4)
        for one in found:
            at, shift = (one.stem_cost, 100 * one.any_k), (3, -11 if one.place % 2 else 6)
            axes.annotate(one.cut, at, textcoords="offset points", xytext=shift, fontsize=8)
        axes.set_title(model, fontsize=10)
        axes.set_xlabel("stem, share of the base's multiply-adds")
        axes.grid(visible=True, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy, % of all queries")
    handles = figure.axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(path)
    return path


def _found() -> list[Record]:
    found = newest(records.read(TABLE))
    return sorted(found, key=lambda record: (record["model"], record["place"]))
