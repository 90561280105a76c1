"""Which master a command speaks to, and how: one set of options for all commands that do.

A command takes one argument `at: At` and stands under `@connecting`, which gives it the options.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import kofn

DEFAULT_MASTER = "127.0.0.1:8001"

Master = Annotated[
    str, typer.Option("--master", envvar="KOFN_MASTER", help="The master's HOST:PORT.")
]
Control = Annotated[
    str | None,
    typer.Option(
        "--control",
        envvar="KOFN_CONTROL",
        help="HOST:PORT of its control service, where that has a port of its own.",
    ),
]
TlsFolder = Annotated[
    Path | None,
    typer.Option(
        "--tls",
        envvar="KOFN_TLS",
        help="Speak TLS: a folder of ca.crt, and of tls.crt and tls.key to show the master.",
    ),
]
PeerName = Annotated[
    str | None,
    typer.Option(
        "--tls-peer-name",
        envvar="KOFN_TLS_PEER_NAME",
        help="Name in the master's certificate, where it is not the one dialled.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="KOFN_CONTROL_TOKEN_FILE",
        help="Holds the token that the control service wants; or set KOFN_CONTROL_TOKEN.",
    ),
]


@dataclass(frozen=True)
class At:
    """One master, as the options say."""

    master: str
    control: str | None = None
    tls: Path | None = None
    peer_name: str | None = None
    token_file: Path | None = None

    def client(self, **options: Any) -> "kofn.Client":
        """A blocking client of it; raises ValueError for files that cannot be used."""
        return kofn.Client(self.master, **self._options(), **options)

    def async_client(self, **options: Any) -> "kofn.AsyncClient":
        """`client` for asyncio."""
        return kofn.AsyncClient(self.master, **self._options(), **options)

    def _options(self) -> dict[str, Any]:
        from kofn.wire.access import read_token

        if self.tls is None and self.peer_name is not None:
            raise typer.BadParameter("goes with --tls.", param_hint="--tls-peer-name")
        tls = None if self.tls is None else kofn.Tls.in_folder(self.tls, self.peer_name)
        return {"control": self.control, "tls": tls, "token": read_token(self.token_file)}


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a connection in place of its argument `at`."""

    @functools.wraps(command)
    def connected(
        *,
        master: str,
        control: str | None,
        tls: Path | None,
        tls_peer_name: str | None,
        token_file: Path | None,
        **options: Any,
    ) -> None:
        command(at=At(master, control, tls, tls_peer_name, token_file), **options)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "at"]
    option = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    added = [
        option("master", default=DEFAULT_MASTER, annotation=Master),
        option("control", default=None, annotation=Control),
        option("tls", default=None, annotation=TlsFolder),
        option("tls_peer_name", default=None, annotation=PeerName),
        option("token_file", default=None, annotation=TokenFile),
    ]
    connected.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    connected.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return connected
