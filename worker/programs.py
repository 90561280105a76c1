"""The programs a worker holds, by content hash: the last used ones loaded, more of them on disk.

Every archive is checked against its hash whenever it is read, so a file that rotted is discarded,
not run. Does not run programs (`runner.py`) and does not judge archives (`models.programs`).
In the query's way: `loaded` is asked for every task.

The event loop alone touches this object's state; reading, checking and loading is done in threads.
"""

import asyncio
import contextlib
import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from kofn.wire.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from kofn.wire.signing import is_signed
from models.programs import HashMismatch, Program, ProgramRefused, content_hash, load_program

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

HASH = re.compile(r"[0-9a-f]{64}")
SUFFIX = ".pt2"

log = structlog.get_logger(__name__)


class Programs:
    """What this worker can run.

    Args:
        folder: of archives, made when missing; several workers may share it.
        device: where programs are loaded to.
        max_loaded: programs in memory.
        max_kept: archives on disk.
        max_bytes: largest archive.
        trust: whose signature a program needs, wherever it is kept; None asks for none.

    Attributes:
        any_loaded: set from the first one on.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        max_loaded: int,
        max_kept: int,
        max_bytes: int,
        trust: "Ed25519PublicKey | None" = None,
    ) -> None:
        self._folder = folder
        self._device = device
        self._max_loaded = max_loaded
        self._max_kept = max_kept
        self.max_bytes = max_bytes
        self._trust = trust
        self._signed: set[str] = set()  # programs whose signature was seen, by this process
        self._loaded: OrderedDict[str, Program] = OrderedDict()  # least recently used first
        self._kept: set[str] = set()  # on disk, and sound when last looked at
        self.any_loaded = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()  # torch loads one program at a time anyway

    @property
    def names(self) -> list[str]:
        """Hashes of all programs held, in memory or on disk, sorted."""
        return sorted(self._kept | self._loaded.keys())

    @property
    def count_loaded(self) -> int:
        """Programs in memory."""
        return len(self._loaded)

    async def survey(self) -> None:
        """Look through the folder, discarding what is unsound; raises OSError."""
        self._kept = await asyncio.to_thread(self._survey)

    def vouch(self, name: str, signature: bytes) -> None:
        """Let a program in by its master's signature; raises PermissionDenied."""
        if self._trust is not None and is_signed(self._trust, name, signature):
            self._signed.add(name)
        self._check_signed(name)

    async def warm_up(self) -> None:
        """Load the program used last, so that a worker that comes back is at work at once.

        Torch's loader comes with it, which takes seconds of CPU the first time in a process. Where
        programs need a signature nothing is loaded before a master has vouched for it.
        """
        if self._trust is not None:
            return
        by_age = await asyncio.to_thread(lambda: sorted(self._archives(), key=_age))
        for path in by_age[:1]:
            with contextlib.suppress(NotFound):  # it was unsound and is discarded
                await self.obtain(path.stem)

    def loaded(self, name: str) -> Program | None:
        """The program, where it is in memory."""
        program = self._loaded.get(name)
        if program is not None:
            self._loaded.move_to_end(name)
        return program

    def holds(self, name: str) -> bool:
        """Whether `obtain` can be expected to give the program."""
        return name in self._loaded or name in self._kept

    async def obtain(self, name: str) -> Program:
        """The program, loaded from disk where need be; raises NotFound or PermissionDenied."""
        self._check_signed(name)
        async with self._one_at_a_time:
            program = self.loaded(name)
            if program is None and name in self._kept:
                program = await asyncio.to_thread(self._read, name)
                if program is None:
                    self._kept.discard(name)
                else:
                    self._hold(program)
        if program is None:
            raise unknown(name)
        return program

    async def take(self, name: str, archive: bytes) -> None:
        """Check an archive, load it and keep it.

        Raises:
            InvalidArgument: `name` is no content hash, or not the archive's.
            FailedPrecondition: the archive is refused; nothing in it has run.
            ResourceExhausted: it is too large.
            PermissionDenied: nobody vouched for it.
        """
        self._check_signed(name)
        if not HASH.fullmatch(name):
            raise InvalidArgument(f"A program's name must be 64 hex digits, not {name[:80]!r}.")
        self.check_size(len(archive))
        async with self._one_at_a_time:
            if self.loaded(name) is not None and name in self._kept:
                return
            try:
                program = await asyncio.to_thread(
                    load_program, archive, self._device, expect_hash=name
                )
            except HashMismatch as error:
                raise InvalidArgument(str(error), "hash-mismatch") from error
            except ProgramRefused as error:
                raise FailedPrecondition(str(error), "program-refused") from error
            self._hold(program)
            try:
                self._kept = await asyncio.to_thread(self._write, name, archive)
            except OSError as error:  # a full disk costs restarts, not answers
                log.warning("program-not-kept", program=name, error=str(error))

    def check_size(self, size_bytes: int) -> None:
        """Raise ResourceExhausted for an archive of this size, if it is too large."""
        if size_bytes > self.max_bytes:
            raise ResourceExhausted(f"A program must have at most {self.max_bytes} bytes.")

    def _hold(self, program: Program) -> None:
        self.any_loaded.set()
        self._loaded[program.hash] = program
        self._loaded.move_to_end(program.hash)
        while len(self._loaded) > self._max_loaded:
            self._loaded.popitem(last=False)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _check_signed(self, name: str) -> None:
        if self._trust is not None and name not in self._signed:
            raise _unsigned(name)

    def _read(self, name: str) -> Program | None:
        """Load an archive from disk; None, and the file removed, when it is not what it was."""
        path = self._path(name)
        try:
            program = load_program(path.read_bytes(), self._device, expect_hash=name)
            path.touch()  # used: it shall be the last to make room
        except ProgramRefused as error:
            log.warning("program-discarded", program=name, error=str(error))
            path.unlink(missing_ok=True)
            return None
        except OSError as error:
            log.warning("program-unreadable", program=name, error=str(error))
            return None
        return program

    def _write(self, name: str, archive: bytes) -> set[str]:
        """Keep an archive, drop the least recently used beyond the limit; gives what is kept."""
        draft = self._folder / f".{name}.{os.getpid()}.{id(self)}"  # workers may share the folder
        try:
            draft.write_bytes(archive)
            draft.replace(self._path(name))
        finally:
            draft.unlink(missing_ok=True)
        by_age = sorted(self._archives(), key=_age, reverse=True)
        for path in by_age[: max(0, len(by_age) - self._max_kept)]:
            path.unlink(missing_ok=True)
        return {path.stem for path in by_age[max(0, len(by_age) - self._max_kept) :]}

    def _survey(self) -> set[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        kept: set[str] = set()
        for path in self._archives():
            try:
                is_sound = content_hash(path.read_bytes()) == path.stem
            except (ProgramRefused, OSError):
                is_sound = False
            if is_sound:
                kept.add(path.stem)
            else:
                log.warning("program-discarded", program=path.stem, error="not what its name says")
                path.unlink(missing_ok=True)
        return kept

    def _archives(self) -> list[Path]:
        return [path for path in self._folder.glob(f"*{SUFFIX}") if HASH.fullmatch(path.stem)]


def _unsigned(name: str) -> PermissionDenied:
    return PermissionDenied(
        f"This worker runs only programs that its master signed, and {name[:80]!r} came without "
        "its signature: start the master with the --signing-key of the key that the worker trusts.",
        "unsigned-program",
    )


def unknown(name: str) -> NotFound:
    """The error of a task whose program this worker does not hold."""
    return NotFound(f"This worker holds no program {name[:80]!r}; push it first.", "no-program")


def _age(path: Path) -> float:
    """Smaller for archives used later; one that is gone meanwhile is oldest."""
    try:
        return -path.stat().st_mtime_ns
    except OSError:
        return 0.0
