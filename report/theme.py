"""How figures look, on light and on dark paper, and how they become files.

A figure is drawn once for SVG: its colours are then replaced by CSS variables that follow the
reader's scheme, in a page and in a file alone. PNG cannot do that, and is drawn twice.
"""

import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from html import escape
from itertools import count
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from report.records import Provenance

DPI = 150  # of PNG
WIDE = 500.0  # a log axis over more has room for powers of ten only


@dataclass(frozen=True)
class Theme:
    """Colours of one paper, all different, as #rrggbb in lower case.

    Attributes:
        paper, ink, muted, rule: background, text, lesser text, grid lines.
        s0 to s7: of what is compared.
    """

    paper: str
    ink: str
    muted: str
    rule: str
    s0: str
    s1: str
    s2: str
    s3: str
    s4: str
    s5: str
    s6: str
    s7: str

    @property
    def series(self) -> tuple[str, ...]:
        """Colours of what is compared, in order."""
        return self.s0, self.s1, self.s2, self.s3, self.s4, self.s5, self.s6, self.s7

    def css(self) -> str:
        """As declarations of CSS variables."""
        return "".join(f"--{one.name}:{getattr(self, one.name)};" for one in fields(self))


# Okabe and Ito's colours, which the colour-blind tell apart, but for yellow, and lighter ones.
LIGHT = Theme(
    "#ffffff", "#1c2430", "#5b6675", "#d3d9e1",
    "#d55e00", "#0072b2", "#009e73", "#b8860b", "#cc5f9b", "#3aa3dc", "#6b4fbb", "#7a828e",
)  # fmt: skip
DARK = Theme(
    "#12161d", "#e8ecf2", "#9aa5b4", "#333c49",
    "#ff8d4d", "#57b0f2", "#35cfa0", "#f0c04f", "#f08fc4", "#9ad7fb", "#b09cf5", "#b6bec9",
)  # fmt: skip
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
MARKERS = "osD^vPX*"


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn.

    Attributes:
        name: of its files, and in the page.
        title: above it, one line.
        caption: below it: what is seen, and what is to be minded.
        origin: "measured here", "derived" or "published": of the figures drawn.
        draw: puts it on a figure, in a theme's colours.
        size: width and height in inches.
        made_by: where the records are from.
    """

    name: str
    title: str
    caption: str
    origin: str
    draw: Callable[[Figure, Theme], None]
    size: tuple[float, float]
    made_by: tuple[Provenance, ...]


# What is in most figures has the same colour in all of them, by the beginning of its name.
USUAL: tuple[tuple[str, ...], ...] = (
    ("split-lagrange", "split Lagrange"), ("backup", "approximate backup"), ("replication",),
    ("berrut", "Berrut"), ("spline",), ("hedge",), ("par",), ("uncoded",),
)  # fmt: skip


def styles(names: Iterable[str], theme: Theme) -> dict[str, dict[str, Any]]:
    """A colour, a dash and a marker for each name of a figure, as arguments of `Axes.plot`.

    Solid lines first; the usual systems have their own colours where two do not want the same.
    """
    places: dict[str, int] = {}
    wanted = dict.fromkeys(names)
    for name in wanted:
        usual = next((place for place, start in enumerate(USUAL) if name.startswith(start)), None)
        if usual is not None and usual not in places.values():
            places[name] = usual
    free = (place for place in count() if place not in places.values())
    for name in wanted:
        if name not in places:
            places[name] = next(free)
    return {name: _style(places[name], theme) for name in wanted}


def _style(place: int, theme: Theme) -> dict[str, Any]:
    colours = len(theme.series)
    return {
        "color": theme.series[place % colours],
        "linestyle": DASHES[place // colours % len(DASHES)],
        "marker": MARKERS[(place + place // colours) % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.8,
    }


def axes_style(axes: Axes) -> None:
    """Open axes over a grid that stays behind."""
    axes.grid(visible=True, which="major", alpha=0.9, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, handles: Mapping[str, Any], columns: int) -> None:
    """Below all panels, in at most so many columns."""
    figure.legend(
        handles=list(handles.values()),
        loc="outside lower center",
        ncols=min(columns, len(handles) or 1),
    )


def slug(text: str) -> str:
    """For names of drawings: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def log_scale(axes: Axes, which: str) -> None:
    """A logarithmic axis, "x" or "y", with plain numbers at 1, 2 and 5 of each power of ten."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    low, high = sorted(axis.get_view_interval())
    is_wide = low > 0 and high / low > WIDE
    axis.set_major_locator(LogLocator(subs=(1.0,) if is_wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def png(drawing: Drawing, theme: Theme) -> bytes:
    """A figure on a theme's paper."""
    return _saved(drawing, theme, "png", titled=True)


def svg(drawing: Drawing) -> str:
    """A figure in colours that follow the reader's scheme, and described for screen readers.

    It has its title as a `<title>` only, and lacks the colours: a page has them, and `alone` adds
    them.
    """
    text = _saved(drawing, LIGHT, "svg", titled=False).decode()
    body = text[text.index("<svg") :]
    for one in fields(LIGHT):
        body = body.replace(getattr(LIGHT, one.name), f"var(--{one.name})")
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{drawing.name}-", body)
    opening, rest = body.split(">", 1)
    opening = re.sub(r' (width|height)="[^"]*pt"', "", opening, count=2)
    said = (
        f'<title id="{drawing.name}-title">{escape(drawing.title)}</title>'
        f'<desc id="{drawing.name}-desc">{escape(drawing.caption)}</desc>'
    )
    named = f' role="img" aria-labelledby="{drawing.name}-title {drawing.name}-desc"'
    return f"{opening}{named}>{said}{rest}"


def alone(image: str) -> str:
    """An SVG as a file of its own, which brings its colours."""
    style = f"<style>{scheme_css()}svg{{background:var(--paper)}}</style>"
    return image.replace("<title", f"{style}<title", 1)


def scheme_css() -> str:
    """The variables of both themes."""
    return (
        f":root{{color-scheme:light dark;{LIGHT.css()}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{DARK.css()}}}}}"
    )


def _saved(drawing: Drawing, theme: Theme, format_: str, *, titled: bool) -> bytes:
    inks: Any = {  # matplotlib names each of its keys as a type
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.titlecolor": theme.ink,
        "axes.edgecolor": theme.muted, "xtick.color": theme.muted, "ytick.color": theme.muted,
        "xtick.labelcolor": theme.ink, "ytick.labelcolor": theme.ink, "grid.color": theme.rule,
        "figure.facecolor": theme.paper, "axes.facecolor": "none", "legend.frameon": False,
        "savefig.facecolor": "none" if format_ == "svg" else theme.paper,
        "font.size": 9, "axes.titlesize": 9.5, "legend.fontsize": 8.5, "svg.fonttype": "none",
        "svg.hashsalt": drawing.name,  # the same records give the same bytes
    }  # fmt: skip
    with matplotlib.rc_context(inks):
        figure = Figure(figsize=drawing.size, layout="constrained", dpi=DPI)
        drawing.draw(figure, theme)
        if titled:  # in a page the title stands above the figure
            figure.suptitle(drawing.title, fontsize=11, fontweight="bold")
        out = io.BytesIO()
        figure.savefig(out, format=format_, metadata={"Date": None} if format_ == "svg" else None)
    return out.getvalue()
