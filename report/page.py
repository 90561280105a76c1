"""The page: one file of HTML with everything in it."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from report.contents import Report
from report.theme import scheme_css

TEMPLATE = "page.html"
OPEN_ROWS = 30  # a longer table is folded


def page(told: Report, figures: Mapping[str, str]) -> str:
    """As HTML; it loads nothing.

    Args:
        told: what is on it.
        figures: SVG of each drawing, by name.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        told=told,
        figures={name: Markup(svg) for name, svg in figures.items()},
        scheme=Markup(scheme_css()),
        open_rows=OPEN_ROWS,
    )
