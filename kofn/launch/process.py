"""One service as a child process: started, heard when it serves, ended, its log in a file."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kofn.wire.errors import Unavailable

START_S = 120.0  # importing torch on a machine that starts many processes at once
END_S = 1.0  # from the end of its output to its own
LOG_TAIL_BYTES = 2000

# One thread a process: libraries that each start one a core fight for the cores they share.
CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class ServiceProcess:
    """`python -m MODULE` with a ready file and a log; it ends with this process, whatever happens.

    Args:
        module: "master", "worker" or "nodes".
        arguments: its flags, but for those of readiness and end.
        log: file that its standard error is appended to.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        self._command = [sys.executable, "-m", module, *arguments, "--ready-file", "-"]
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, patience_s: float = START_S) -> Mapping[str, Any]:
        """Start it and wait until it serves; returns what it wrote into its ready file.

        Raises:
            Unavailable: it ended, or did not serve in time; with the end of its log.
        """
        with self._log.open("ab") as log:
            process = self._process = await asyncio.create_subprocess_exec(
                *self._command,
                "--until-eof",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **CHILD_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C goes to the launcher, which ends them in order
            )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(patience_s):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        except asyncio.CancelledError:
            await self.kill()
            raise
        if not line:
            # One that has ended must not be signalled: asyncio would not learn its status.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await process.wait()
            await self.kill()
            raise Unavailable(f"{self._command[2]} did not start:\n{self._last_words()}")
        ready: dict[str, Any] = json.loads(line)
        return ready

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._running.pid

    async def wait(self) -> int:
        """Wait for its end; returns the exit status, negative for a signal."""
        return await self._running.wait()

    async def stop(self, patience_s: float) -> int:
        """Ask it to drain and end; kill it after `patience_s`; returns the exit status."""
        process = self._process
        if process is None:
            return 0  # it was never started
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(patience_s):
                    await process.wait()
            except TimeoutError:
                await self.kill()
        return await process.wait()

    async def kill(self) -> None:
        """SIGKILL it and wait for its end."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("The process was not started.")
        return self._process

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")
