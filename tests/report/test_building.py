"""Reports as files: from a sweep, and from the records that are committed."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from report.building import FIGURES, PAGE, SUMMARY, build
from report.cells import DERIVED, MEASURED, cells
from report.contents import contents
from report.page import page
from report.records import read
from report.sweeps import is_sweep
from report.theme import DARK, LIGHT, styles, svg
from support.sweeps import SYSTEMS, sweep_file, sweep_record

pytestmark = pytest.mark.timeout(120)  # drawing takes seconds where others work beside it
RESULTS = Path(__file__).parents[2] / "bench" / "results"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    sweep_file(folder / "losses.jsonl", lost=(0,))
    build([folder / "losses.jsonl"], folder / "out")
    return folder / "out"


class _Links(HTMLParser):
    """Identifiers of a page, what it links to, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "xlink:href", "srcset", "data", "action"):
                self.links.append(value or "")
        assert tag not in ("script", "link", "iframe", "object", "img")


def test_the_page_loads_nothing_and_its_links_hold(built: Path) -> None:
    text = (built / PAGE).read_text("utf-8")
    seen = _Links(text)
    assert len(seen.ids) == len(set(seen.ids))
    assert {link.removeprefix("#") for link in seen.links} <= set(seen.ids)
    assert all(link.startswith("#") for link in seen.links)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(seen.ids)
    assert "@import" not in text


def test_the_page_follows_the_reader_s_scheme(built: Path) -> None:
    text = (built / PAGE).read_text("utf-8")
    assert "prefers-color-scheme" in text
    drawn = text[text.index("<figure") :]
    assert not any(colour in drawn for colour in (LIGHT.ink, *LIGHT.series))
    assert "var(--ink)" in drawn


def test_every_figure_is_there_three_times_and_described(built: Path) -> None:
    figures = built / FIGURES
    names = sorted(path.stem for path in figures.glob("*.svg"))
    assert [name.partition("-")[0] for name in names] == ["front", "latency", "threshold"]
    for name in names:
        root = ElementTree.parse(figures / f"{name}.svg").getroot()
        tags = [child.tag.partition("}")[2] for child in root]
        assert {"title", "desc", "style"} <= set(tags)
        for theme in ("light", "dark"):
            image = (figures / f"{name}.{theme}.png").read_bytes()
            assert image.startswith(b"\x89PNG")


def test_the_summary_names_systems_verdicts_and_provenance(built: Path) -> None:
    text = (built / SUMMARY).read_text("utf-8")
    for title in SYSTEMS:
        assert f"| {title} |" in text
    assert "coding does not pay" in text
    assert "commit abcdef1" in text
    for linked in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (built / linked).is_file()


def test_a_text_of_a_record_is_no_markup(tmp_path: Path) -> None:
    record = sweep_record("uncoded") | {"title": "<b>uncoded</b> & more"}
    told = contents([record])
    text = page(told, {drawing.name: svg(drawing) for drawing in told.drawings()})
    assert "<b>" not in text
    assert "&lt;b&gt;uncoded&lt;/b&gt; &amp; more" in text


def test_what_varies_in_a_plan_is_drawn_over_it(tmp_path: Path) -> None:
    told = contents(read([sweep_file(tmp_path / "losses.jsonl", lost=(0, 2))]))
    (drawing,) = next(s for s in told.sections if s.name == "sweeps").drawings
    assert "over dead workers" in drawing.title
    text = svg(drawing)
    for title in (*SYSTEMS, "p95, ms", "dead workers"):
        assert f">{title}</text>" in text


def test_committed_records_are_all_told() -> None:
    found = read([RESULTS])
    told = contents(found)
    shown = " ".join(table.name for table in told.tables)
    for record in found:
        name = f"sweep-{record['plan']}" if is_sweep(record) else record["table"]
        assert f"table-{name}" in shown
    assert {section.name for section in told.sections} >= {"losses", "thresholds", "timelines"}
    columns = {len(table.columns) for table in told.tables}
    assert columns
    for table in told.tables:
        assert all(len(row) == len(table.columns) for row in table.rows), table.name


def test_a_guess_is_derived_and_a_measurement_is_not() -> None:
    origins = {cell.system: cell.origin for cell in cells(read([RESULTS / "lagrange.jsonl"]))}
    assert origins["uncoded + guess"] == DERIVED
    assert origins["split-lagrange"] == origins["replication"] == MEASURED


def test_a_failed_row_is_told(tmp_path: Path) -> None:
    failed = sweep_record("backup", measured=None, failure="no worker came up")
    (table,) = contents([failed]).tables
    assert "failed: no worker came up" in table.rows[0]


def test_styles_of_a_figure_are_all_different() -> None:
    names = [f"system {number}" for number in range(20)] + ["uncoded", "uncoded + guess"]
    looks = styles(names, DARK)
    assert looks["uncoded"]["color"] == styles(["uncoded"], DARK)["uncoded"]["color"]
    seen = {(look["color"], str(look["linestyle"]), look["marker"]) for look in looks.values()}
    assert len(seen) == len(names)
