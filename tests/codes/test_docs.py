"""The code in docs/adding-a-code.md is a code: it runs, registers, and keeps the contract."""

import re
from pathlib import Path

import pytest

import codes
from codes.base import Code

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-code.md"


def test_the_page_adds_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, type[Code]] = {"__name__": "adding_a_code"}  # type: ignore[dict-item]
    for block in blocks:
        exec(block, names)
    assert "As promised." in capsys.readouterr().out
    monkeypatch.setitem(codes.REGISTRY, "ramp", names["Ramp"])
    assert repr(codes.make("ramp", k=3, n=4)) == "Ramp(k=3, n=4)"
    with pytest.raises(ValueError, match="did you mean ramp"):
        codes.make("rampp")


def test_every_source_is_in_the_bibliography() -> None:
    known = set(re.findall(r"@\w+\{(\w+),", (PAGE.parents[1] / "codes" / "refs.bib").read_text()))
    for name, kind in codes.REGISTRY.items():
        assert not kind.source or kind.source in known, name
        assert kind.summary
        cited = set(re.findall(r"\[([a-z]+\d{4})\]", kind.__doc__ or ""))
        assert cited <= known, name
        assert kind.source in cited or not kind.source, name
