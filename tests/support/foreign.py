"""Environments of foreign clients: made once beside the checkout, never mixed with our own.

Some clients define the same protobuf names as our stubs and cannot be imported beside them.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INSTALL_S = 300.0  # downloads 130 MB at the first run
RUN_S = 60.0


async def environment(name: str, *requirements: str) -> Path:
    """The python of .venv-NAME, made and filled when it is not there yet."""
    folder = ROOT / f".venv-{name}"
    python, stamp = folder / "bin" / "python", folder / ".ready"
    wanted = "\n".join(requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        await _run(INSTALL_S, sys.executable, "-m", "venv", str(folder))
        await _run(INSTALL_S, str(python), "-m", "pip", "install", "--quiet", *requirements)
        stamp.write_text(wanted)
    return python


async def told_by(python: Path, script: Path, *arguments: str) -> dict[str, Any]:
    """Run a client's script; what it printed, as JSON."""
    return json.loads(await _run(RUN_S, str(python), str(script), *arguments))


async def _run(limit_s: float, *command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"{' '.join(command)}:\n{err.decode()}"
    return out
