"""Forward passes by device and precision: timed on the processor, answers held against float32."""

import json

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.devices import TITLES, Setting, cells, measure_all


def test_every_setting_is_timed_and_its_answers_compared() -> None:
    """float32 is what it is compared with; bfloat16 rounds, and has nearly the same classes."""
    settings = [Setting("cpu", precision, 1, batch) for precision, batch in
                (("float32", 1), ("float32", 8), ("bfloat16", 8))]  # fmt: skip
    one, many, half = measure_all("digits-lenet", settings, seconds=0.01)
    assert (one["batch"], many["batch"], half["precision"]) == (1, 8, "bfloat16")
    assert one["passes"] >= 3
    assert many["images_per_s"] == pytest.approx(8 / many["pass_ms"] * 1e3)
    assert one["agreement"] == many["agreement"] == 1
    assert one["deviation"] < 1e-5 < half["deviation"] < 0.1
    assert half["agreement"] > 0.98
    assert one["accuracy"] > 0.95
    assert len(cells(half)) == len(TITLES)


def test_a_device_that_is_not_there_is_told() -> None:
    result = CliRunner().invoke(app, ["devices", "--on", "cuda:77", "--seconds", "0.1"])
    assert result.exit_code == 2
    assert "Device 'cuda:77' cannot be used" in result.stderr


def test_the_command_prints_records() -> None:
    flags = ["--precisions", "float32", "--batches", "4", "--seconds", "0.1", "--json"]
    result = CliRunner().invoke(app, ["devices", *flags])
    (record,) = json.loads(result.stdout)
    assert (record["table"], record["model"], record["batch"]) == ("devices", "digits-lenet", 4)
