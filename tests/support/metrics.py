"""Metrics as Prometheus reads them, and as docs/operations.md tells them."""

import asyncio
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
OF_A_BUCKET = {"le"}

Family = tuple[str, frozenset[str]]  # type and labels


class Scrape:
    """One reading of /metrics."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float:
        """The one sample of this name and these labels."""
        (found,) = [s.value for s in self._samples() if (s.name, s.labels) == (name, labels)]
        return float(found)

    def shapes(self) -> dict[str, Family]:
        """Type and labels of every family of ours."""
        return {
            name: (
                family.type,
                frozenset(label for s in family.samples for label in s.labels) - OF_A_BUCKET,
            )
            for name, family in self.families.items()
            if name.startswith("kofn_")
        }

    def labelled(self) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        """Name and labels of every sample."""
        return [(s.name, tuple(sorted(s.labels.items()))) for s in self._samples()]

    def _samples(self) -> list[Sample]:
        return [sample for family in self.families.values() for sample in family.samples]


async def scrape(address: str) -> Scrape:
    """Read the metrics of a process."""

    def read() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as reply:
            return reply.read().decode()

    return Scrape(await asyncio.to_thread(read))


def documented(table: int) -> dict[str, Family]:
    """The same as `Scrape.shapes`, of a table of the document by its number."""
    tables = DOCUMENT.read_text().split("| metric | type | labels | meaning |\n")[1:]
    told: dict[str, Family] = {}
    for line in tables[table].splitlines()[1:]:
        if not line.startswith("|"):
            break
        name, kind, labels, _ = (cell.strip() for cell in line.strip("|").split("|", 3))
        names = frozenset(label.strip("` ") for label in labels.split(",") if label.strip())
        told[name.strip("`")] = (kind, names)
    return told
