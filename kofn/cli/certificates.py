"""`kofn certificates`: files for TLS on every hop, by an authority that is thrown away."""

from pathlib import Path
from typing import Annotated

import typer

from kofn.cli.output import words


def certificates(
    folder: Annotated[Path, typer.Argument(help="Where to; a whole set in date stays as it is.")],
    master: Annotated[
        list[str] | None,
        typer.Option(help="Further name or address by which clients dial the master."),
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(help="Further name or address by which the master dials workers."),
    ] = None,
) -> None:
    """Make certificates for a cluster: folders master, client, worker and workers.

    For localhost and 127.0.0.1, and for a year. The authorities' keys are not kept: nobody can be
    added later. `kofn up --tls FOLDER` takes the whole; client is for commands' --tls.
    """
    from kofn.certificates import CLIENT, provide_certificates

    made = provide_certificates(folder, master or (), worker or ())
    words.print(f"certificates in {folder} {'were made' if made else 'stay as they are'}")
    words.print(f"clients: --tls {folder / CLIENT}", soft_wrap=True)
