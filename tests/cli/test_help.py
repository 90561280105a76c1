"""What help texts say is shown: words in square brackets are markup, and would be left out."""

from collections.abc import Iterator

import pytest
from rich.text import Text
from typer.main import get_command

import bench.__main__
import kofn.cli


def _texts(name: str, command: object) -> Iterator[tuple[str, str]]:
    """Of a command and of those below it: where, and the text."""
    yield name, getattr(command, "help", None) or ""
    for one in getattr(command, "params", ()):
        yield f"{name} --{one.name}", getattr(one, "help", None) or ""
    for below, inner in getattr(command, "commands", {}).items():
        yield from _texts(f"{name} {below}", inner)


@pytest.mark.parametrize("app", [kofn.cli.app, bench.__main__.app], ids=["kofn", "bench"])
def test_no_word_of_a_help_text_is_taken_for_markup(app: object) -> None:
    texts = dict(_texts("", get_command(app)))  # type: ignore[arg-type]
    assert len(texts) > 50
    lost = {where: text for where, text in texts.items() if Text.from_markup(text).plain != text}
    assert not lost
