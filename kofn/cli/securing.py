"""Which files of TLS a cluster's hops take, by the flag --tls of `kofn up`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kofn.cli.output import words

AUTO = "auto"


@dataclass(frozen=True)
class Hops:
    """A folder for each end of a hop.

    Attributes:
        master: where it listens to clients.
        worker: where it listens to the master.
        workers: of the master, to dial workers with.
    """

    master: Path
    worker: Path
    workers: Path


@contextmanager
def hops(wish: Path | None, host: str | None) -> Iterator[Hops | None]:
    """The files, which last as long as the context where they are made for it.

    Args:
        wish: one folder for all hops, one that `kofn certificates` made, or "auto".
        host: where the master listens, where that is not this machine's loopback.
    """
    if wish is None:
        yield None
    elif str(wish) != AUTO:
        yield _in_folder(wish.resolve())
    else:
        from kofn.certificates import CLIENT, provide_certificates

        with tempfile.TemporaryDirectory(prefix="kofn-tls-") as made:
            folder = Path(made)
            provide_certificates(folder, masters=[host] if host else [])
            words.print(f"clients: --tls {folder / CLIENT}", soft_wrap=True)
            yield _in_folder(folder)


def _in_folder(folder: Path) -> Hops:
    from kofn.certificates import MASTER, WORKER, WORKERS

    if not (folder / MASTER).is_dir():
        return Hops(folder, folder, folder)
    return Hops(folder / MASTER, folder / WORKER, folder / WORKERS)
