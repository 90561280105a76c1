"""From records to files: the page, the summary, and every figure by itself."""

from collections.abc import Callable, Sequence
from pathlib import Path

from report.contents import contents
from report.page import page
from report.records import read
from report.summary import summary
from report.theme import DARK, LIGHT, alone, png, svg

PAGE, SUMMARY, FIGURES = "report.html", "report.md", "figures"


def build(
    paths: Sequence[Path], out: Path, tell: Callable[[str], None] = lambda name: None
) -> Path:
    """Read records and write the page, the summary, and every figure as SVG and twice as PNG.

    Args:
        paths: files and folders of records.
        out: folder; made where it is not there, and what is in it of the same names replaced.
        tell: called with the name of each figure before it is drawn.

    Returns:
        The page.

    Raises:
        FileNotFoundError, ValueError: see `report.records.read`.
    """
    told = contents(read(paths))
    figures = out / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    inline = {}
    for drawing in told.drawings():
        tell(drawing.name)
        inline[drawing.name] = image = svg(drawing)
        (figures / f"{drawing.name}.svg").write_text(alone(image), "utf-8")
        for name, theme in (("light", LIGHT), ("dark", DARK)):
            (figures / f"{drawing.name}.{name}.png").write_bytes(png(drawing, theme))
    (out / SUMMARY).write_text(summary(told, FIGURES), "utf-8")
    written = out / PAGE
    written.write_text(page(told, inline), "utf-8")
    return written
