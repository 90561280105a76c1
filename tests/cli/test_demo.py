"""`kofn demo`: the main job from start to end, and interrupted in the middle."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

DEMO = [sys.executable, "-c", "from kofn.cli import main; main()", "demo"]

pytestmark = pytest.mark.timeout(400)


@pytest.mark.long
def test_the_demo_tells_and_draws(digits_store: Any, tmp_path: Path) -> None:
    """A shorter run: every system answers, the coded one loses nothing, the plot is there."""
    plot = tmp_path / "latency.png"
    flags = ["--seconds", "4", "--plot", str(plot), "--store", str(digits_store.root), "--json"]
    done = subprocess.run([*DEMO, *flags], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["systems"]) == ["uncoded", "replication", "hedged", "coded", "trained"]
    for name, row in told["systems"].items():
        assert row["requests"] >= 80, name
        assert row["clean"] > 0.95, name
        assert row["overall"] > 0.9, name
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["p999_ms"], name
    for name, least in (("coded", 0.3), ("trained", 0.8)):  # a guess is right once in ten
        coded = told["systems"][name]
        assert coded["missing"] == 0
        if coded["lost"]:  # few are, in so short a run
            assert coded["lost_interval"][1] > least
    with Image.open(plot) as drawn:
        assert drawn.size[0] > 1000
        assert len(drawn.convert("RGB").getcolors(1 << 24) or ()) > 10  # more than a white page


def test_ctrl_c_leaves_nothing_behind(digits_store: Any, tmp_path: Path) -> None:
    """Interrupted while its services start or serve: exit 130, all of them gone, no plot."""
    plot = tmp_path / "latency.png"
    demo = subprocess.Popen(
        [*DEMO, "--plot", str(plot), "--store", str(digits_store.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    here = psutil.Process(demo.pid)
    services: list[psutil.Process] = []
    try:
        while not any("master" in service.cmdline() for service in services):  # workers serve then
            assert demo.poll() is None
            services = [child for child in here.children() if child.is_running()]
            psutil.wait_procs([here], timeout=0.1)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(180) == 130
    finally:
        demo.kill()
        demo.wait()
    _, alive = psutil.wait_procs(services, timeout=0)
    assert not alive
    assert not plot.exists()
    assert not list(tmp_path.glob("kofn-*"))
