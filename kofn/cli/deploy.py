"""`kofn deploy`: start or replace deployments of a running master."""

from pathlib import Path
from typing import Annotated, Any

import typer

from kofn.cli.connection import At, connecting
from kofn.cli.output import Json, print_json, print_table


@connecting
def deploy(
    file: Annotated[
        Path, typer.Argument(help="A deployment file; its server and workers are not looked at.")
    ],
    name: Annotated[str | None, typer.Option(help="Only the deployment of this name.")] = None,
    timeout_s: Annotated[
        float, typer.Option(help="Most seconds for one: programs are pushed, codes calibrated.")
    ] = 120.0,
    as_json: Json = False,
    *,
    at: At,
) -> None:
    """Start deployments on a running master, or replace those of the same name at once.

    Programs go to all workers first. Then, in one step, requests that come are answered by the new
    one; those in hand are answered by the old one. After `kofn merge --update` this is how a model
    is replaced together with the merged models that stand in for it.
    """
    wanted = [item for item in _deployments(file) if name in (None, item["name"])]
    if not wanted:
        raise typer.BadParameter(f"is not in {file}.", param_hint="--name")
    with at.client(timeout_s=timeout_s) as client:
        told = [client.deploy(item, timeout_s=timeout_s) for item in wanted]
    rows = [(item.name, item.code, ", ".join(item.models), item.program) for item in told]
    if as_json:
        keys = ("name", "code", "models", "program")
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    print_table("Deployed", ("model", "code", "models", "programs"), rows)


def _deployments(file: Path) -> list[dict[str, Any]]:
    from kofn.settings import read_yaml
    from master.config import MasterConfig

    config = read_yaml(file, MasterConfig)
    return [
        item.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        for item in config.deployments
    ]
