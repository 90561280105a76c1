"""`kofn matmul`: a coded product of matrices in files, on a running cluster or one of its own."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from kofn.cli.connection import PeerName, TlsFolder
from kofn.cli.output import Json, print_json, words

if TYPE_CHECKING:
    from kofn.matrices import Progress, Wish
    from kofn.wire import matrices_pb2 as pb

TOLD_EVERY_S = 0.2
USABLE = 0.8  # of the machine's free memory, for all workers of a cluster of its own


def matmul(  # noqa: PLR0913 - each flag is an argument to typer
    context: typer.Context,
    a: Annotated[Path, typer.Argument(metavar="A.npy", help="Matrix, float32 or float64.")],
    b: Annotated[Path, typer.Argument(metavar="B.npy", help="Matrix of the same dtype.")],
    out: Annotated[Path, typer.Option(help="Where A B goes, as .npy.")],
    m: Annotated[int | None, typer.Option("-m", help="Blocks of A's rows.")] = None,
    p: Annotated[int | None, typer.Option("-p", help="Blocks of what is summed over.")] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Blocks of B's columns; default: all three chosen by the workers."),
    ] = None,
    family: Annotated[
        str,
        typer.Option(help="auto, mono, conj, circle, cheb or rkrp; see `kofn codes show polydot`."),
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Of a cluster of its own, without --master. [6]"),
    ] = None,
    spares: Annotated[
        int,
        typer.Option(min=0, help="Answers beyond those that decode, to notice wrong ones by."),
    ] = 1,
    max_error: Annotated[
        float | None,
        typer.Option(help="Largest relative error; default: the square root of the dtype's eps."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="For all of it.")] = 600.0,
    master: Annotated[
        str | None,
        typer.Option(envvar="KOFN_MASTER", help="HOST:PORT of a running cluster's master."),
    ] = None,
    tls: TlsFolder = None,
    tls_peer_name: PeerName = None,
    faults: Annotated[
        str | None,
        typer.Option(help="Of the workers of its own: JSON as in a scenario."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Multiply two matrices in .npy files, coded over workers: C = A B.

    A part of the workers is enough; wrong products are found and left out. The files are mapped,
    not read into memory. Without --master workers are started here, for the time of the call.
    """
    from kofn.matrices.polydot import wish_of
    from kofn.wire.channels import tune_malloc
    from worker.faults_text import parse_faults

    tune_malloc()
    wish = wish_of(m, p, n, family, spares, max_error, timeout_s)
    if master is not None and (workers, faults) != (None, None):
        raise typer.BadParameter("go without --master.", param_hint="--workers and --faults")
    source = context.get_parameter_source("tls")  # an enum of click's or of typer's own copy of it
    if master is None and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("goes with --master.", param_hint="--tls")
    if faults:
        parse_faults(faults).inlined(Path())
    files = _Files(_matrix(a), _matrix(b), out)
    files.check(a, b)
    began_s = monotonic()
    if master is None:
        report = asyncio.run(_here(files, wish, workers or 6, faults))
    else:
        report = asyncio.run(_there(files, wish, master, tls, tls_peer_name))
    _print(report, files, monotonic() - began_s, as_json)


@dataclass
class _Files:
    """Operands, mapped, and where their product goes."""

    a: Any
    b: Any
    out: Path

    def check(self, *operands: Path) -> None:
        """Refuse what would fail only at the end. Raises typer.BadParameter."""
        if not self.out.parent.is_dir():
            raise typer.BadParameter(f"{self.out.parent} is no folder.", param_hint="--out")
        if any(self.out.exists() and self.out.samefile(path) for path in operands):
            raise typer.BadParameter("must not be an operand.", param_hint="--out")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Any]:
        """Makes the array of the product in a file beside `out`, which takes its place in the end.

        Raises:
            OSError: there is no room on the disk.
        """
        from kofn.matrices.remote import reserve

        draft = self.out.with_name(f".{self.out.name}.draft")
        made: list[np.memmap[Any, Any]] = []

        def room(shape: tuple[int, int], dtype: "np.dtype[Any]") -> Any:
            made.append(np.lib.format.open_memmap(draft, "w+", dtype, shape))
            with draft.open("r+b") as file:
                reserve(file.fileno(), made[0].offset + made[0].nbytes)
            return made[0]

        try:
            yield room
            made[0].flush()
            draft.replace(self.out)
        finally:
            draft.unlink(missing_ok=True)


async def _here(files: _Files, wish: "Wish", workers: int, faults: str | None) -> "pb.MatmulReport":
    """On workers of its own."""
    import psutil

    from kofn.launch import LocalWorkers
    from kofn.matrices import Progress
    from kofn.matrices.engine import multiply, plan
    from kofn.matrices.polydot import connected
    from kofn.matrices.remote import report_to_wire
    from kofn.wire.matrices import head_of

    heads = head_of(files.a), head_of(files.b)
    megabytes = max(1, int(USABLE * psutil.virtual_memory().available / workers / 2**20))
    flags = ("--matrices-mb", str(megabytes), *(("--faults", faults) if faults else ()))
    with tempfile.TemporaryDirectory(prefix="kofn-") as folder:
        launcher = LocalWorkers(workers, flags=flags)
        words.print(f"starting {workers} workers")
        async with (
            launcher.running(Path(folder)),
            connected([worker.address for worker in launcher.workers], None) as stubs,
        ):
            progress = Progress()
            code, able = await plan(stubs, *heads, wish)
            async with _showing(progress):
                product, report = await multiply(able, files.a, files.b, code, wish, progress)
            with files.writing() as room:
                room(product.shape, product.dtype)[...] = product
    return report_to_wire(report)


async def _there(
    files: _Files, wish: "Wish", master: str, tls: Path | None, peer_name: str | None
) -> "pb.MatmulReport":
    """On a running cluster."""
    from kofn.matrices import Progress
    from kofn.matrices.remote import multiply_at
    from kofn.wire.channels import client_channel
    from kofn.wire.tls import Tls

    progress = Progress()
    files_of_tls = None if tls is None else Tls.in_folder(tls, peer_name)
    async with client_channel(master, files_of_tls) as channel, _showing(progress):
        with files.writing() as room:
            return (await multiply_at(channel, files.a, files.b, wish, room, progress))[1]


@contextlib.asynccontextmanager
async def _showing(progress: "Progress") -> AsyncIterator[None]:
    """A line that tells how far it is, on a terminal."""
    with words.status("") as status:

        async def follow() -> None:
            while True:
                failed = f", {progress.failed} tries failed" if progress.failed else ""
                status.update(
                    f"sent {100 * min(1.0, progress.sent):.0f} %, {progress.answered} answers of "
                    f"{progress.needed} that are needed{failed}. {progress.waiting}"
                )
                await asyncio.sleep(TOLD_EVERY_S)

        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _matrix(path: Path) -> Any:
    """A matrix in a file, mapped. Raises typer.BadParameter."""
    from kofn.matrices.shares import check_kind

    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read as .npy: {error}") from error
    if not isinstance(matrix, np.ndarray):
        raise typer.BadParameter(f"{path} holds several arrays; one matrix is wanted.")
    check_kind(str(path), matrix)
    return matrix


def _print(report: "pb.MatmulReport", files: _Files, took_s: float, as_json: bool) -> None:
    shape = [files.a.shape[0], files.b.shape[1]]
    told = {
        "out": str(files.out), "shape": shape, "dtype": str(files.a.dtype), "code": report.code,
        "estimate": report.estimate, "used": list(report.used), "liars": list(report.liars),
        "failed": list(report.failed), "checked": report.checked, "took_s": round(took_s, 3),
        "wait_s": round(report.wait_s, 3), "decode_s": round(report.decode_s, 3),
    }  # fmt: skip
    if as_json:
        print_json(told)
        return
    words.print(f"{report.code}", markup=False)
    print(
        f"{files.out}: {shape[0]} x {shape[1]} {files.a.dtype}, relative error at most "
        f"{report.estimate:.1e}, from {len(report.used)} workers in {took_s:.1f} s"
    )
    for what, addresses in (("wrong", report.liars), ("failed", report.failed)):
        if addresses:
            print(f"{what}: {', '.join(addresses)}")
    if not report.checked:
        words.print("No answer was left to check the others by: a wrong one would not be noticed.")
