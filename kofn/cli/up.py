"""`kofn up`: a master here over workers here or elsewhere, watched over until Ctrl-C."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from kofn.cli import launching, securing
from kofn.cli.output import Settings, StoreFolder, parameters
from kofn.cli.over_models import COIN, coding_over, names_in
from kofn.cli.policies import Budget, Hedge, MaxSends, Recheck, SoftDeadline, Threshold, policy_of
from kofn.cli.usual import (
    LAYERS,
    SPLIT,
    code_of,
    is_function,
    provide_model,
    trained_code,
    trained_sizes,
    usual_blocks,
)
from kofn.service import LogLevel, ReadyFile, Trace, UntilEof

USUAL_GAIN = 2.0  # of a split network's answers that are taken early: beyond it they are poor


def up(  # noqa: PLR0913 - each flag is an argument to typer
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="How many. [6; with static as many as targets]"),
    ] = None,
    backend: Annotated[
        launching.Backend,
        typer.Option(
            help="Where workers are: processes here, containers here, already running, on Ray."
        ),
    ] = "local",
    targets: Annotated[
        str | None,
        typer.Option(
            help="Of --backend static: HOST:PORT,...; a name stands for all its addresses, "
            "file:PATH for the lines of a file."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Of --backend docker; default: kofn:latest.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name in the model store, or a .pt2 archive; default: digits-mlp."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Serve DATASET-lenet: digits and fashion-mnist are shipped.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Several models, A,B, for the codes coin and product; see `kofn merge`."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What clients call it; default: the model's name.")
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(help="Code; see `kofn codes list`; default: parity, with --models coin."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(help="Answers a group; default: as the code was trained, else 2/3 of n."),
    ] = None,
    n: Annotated[int | None, typer.Option(help="Slots a group; default: the workers.")] = None,
    r: Annotated[
        int | None, typer.Option("--r", min=1, help="Extra slots a group: n = k + r.")
    ] = None,
    degree: Annotated[
        int | None,
        typer.Option(min=1, help="Of the model as a polynomial, for the code lagrange."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Trained code; default: MODEL.CODE-kK-rR where the store has it."),
    ] = None,
    settings: Settings = None,
    calibrated: Annotated[
        bool | None,
        typer.Option(help="Decode by measured moments; default: for codes that are not exact."),
    ] = None,
    wait: Annotated[
        str, typer.Option(help="For own answers: first, soft, all or adaptive: by what is learned.")
    ] = "soft",
    budget: Budget = None,
    soft_deadline: SoftDeadline = "3*p50",
    hedge: Hedge = None,
    max_sends: MaxSends = 3,
    recovery_threshold: Threshold = None,
    gain_limit: Annotated[
        float | None,
        typer.Option(
            help="Decode early only up to this noise gain; default: 2 for split-lagrange with "
            "--wait first, else none."
        ),
    ] = None,
    design: Annotated[
        str, typer.Option(help="Who runs a split model's stem and mixes: master or worker.")
    ] = "master",
    liars: Annotated[
        int, typer.Option(min=0, help="Wrong results a group that must do no harm.")
    ] = 0,
    recheck: Recheck = None,
    timeout_ms: Annotated[int, typer.Option(help="When a client names none.")] = 1000,
    config: Annotated[
        Path | None,
        typer.Option(help="Deployment file, for its server and deployments; flags above are off."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Where the master listens.")] = None,
    port: Annotated[int | None, typer.Option(help="gRPC port; 0 takes a free one. [8001]")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Prometheus port; 0 takes a free one. [8002]")
    ] = None,
    device: Annotated[str, typer.Option(help="Of the workers: cpu, cuda, cuda:1.")] = "cpu",
    tls: Annotated[
        Path | None,
        typer.Option(
            help="All speak TLS, and whoever calls shows a certificate: a folder of tls.crt, "
            "tls.key and ca.crt, for localhost and 127.0.0.1; one that `kofn certificates` made; "
            "or `auto`, which makes one for this run. With --backend local or docker."
        ),
    ] = None,
    faults: Annotated[
        str | None, typer.Option(help="Of the workers from the start: JSON as in a scenario.")
    ] = None,
    store: StoreFolder = None,
    folder: Annotated[Path | None, typer.Option(help="For logs; default: a temporary one.")] = None,
    log_level: LogLevel = "info",
    trace: Trace = False,
    ready_file: ReadyFile = None,
    until_eof: UntilEof = False,
) -> None:
    """Start a master and workers, and start again what dies, until Ctrl-C.

    A deployment is a model behind a code: n workers get shards of k queries each time. A model
    whose name begins with "digits-" is trained first where it is not there yet: that takes seconds.
    """
    reached = [target for target in (targets or "").split(",") if target]
    launching.check(backend, reached, image, faults)
    is_usual = workers is None and not reached
    if workers is None:
        workers = len(reached) or 6
    if config is not None:
        server, workers_tls, deployments = _from_file(config)
    else:
        if dataset is not None and model is not None:
            raise typer.BadParameter("goes without --model.", param_hint="--dataset")
        given = parameters(settings) | ({} if degree is None else {"degree": degree})
        several = names_in(models)
        if several:
            if (model, dataset) != (None, None):
                raise typer.BadParameter("goes alone.", param_hint="--models")
            coding = coding_over(
                several, code or COIN, k, n, r, given, calibrated, checkpoint, store
            )
            workers = max(workers, coding["n"]) if is_usual else workers
            served = {"name": "-".join(Path(one).name for one in several), "models": several}
        else:
            code = code or "parity"
            model = model or (f"{dataset}-lenet" if dataset else "digits-mlp")
            provide_model(model, store)
            if (k, n, r) == (None, None, None) and checkpoint is None:
                k, n = trained_sizes(model, code, workers, store)
            if r is not None and n is None and k is not None:
                n = k + r
            slots = workers if n is None else n
            if code == SPLIT and hedge is not None and "spares" not in given:
                given["spares"], slots = slots, 2 * slots  # a fresh angle for every late one
            is_early = code == SPLIT and wait == "first"
            if is_early and (gain_limit, recovery_threshold) == (None, None):
                gain_limit = USUAL_GAIN
            if calibrated is None and code == SPLIT and is_function(model):
                calibrated = True  # its mixes are of unlike worth: one noise for all misleads
            if code == LAYERS:
                blocks = {"m": usual_blocks(slots, liars) if k is None else k}
                coding = {"name": code, **blocks, "n": slots, **given}
            else:
                coding = code_of(code, k, slots, given, calibrated, liars)
                trained = checkpoint or trained_code(model, coding, store)
                coding |= {} if trained is None else {"checkpoint": trained}
            served = {"name": Path(model).stem, "program": model}
        if recheck is not None and not liars:
            raise typer.BadParameter("goes with --liars.", param_hint="--recheck")
        policy = policy_of(
            recovery_threshold,
            wait=wait,
            soft_deadline=soft_deadline,
            hedge=hedge,
            max_sends=max_sends,
            gain_limit=gain_limit,
            liars=liars,
            recheck=recheck,
            budget=budget,
        )
        deployment = {
            **served,
            **({} if name is None else {"name": name}),
            "code": coding,
            "design": design,
            "policy": policy,
            "timeout_ms": timeout_ms,
        }
        server, workers_tls, deployments = {}, None, [deployment]
    listens = {"host": host, "port": port, "metrics_port": metrics_port}
    server = {"port": 8001, "metrics_port": 8002, **server}
    server |= {key: value for key, value in listens.items() if value is not None}
    flags: tuple[str, ...] = ("--faults", faults) if faults else ()
    if tls is not None and backend not in ("local", "docker"):
        raise typer.BadParameter("goes with --backend local or docker.", param_hint="--tls")
    with securing.hops(tls, host) as hops:
        if hops is not None:
            server["tls"], workers_tls = str(hops.master), {"folder": str(hops.workers)}
            if backend == "docker":  # at addresses that nobody knows before its network is made
                workers_tls["peer_name"] = "localhost"
        _check(server, deployments, reached, faults)

        from kofn.launch import Cluster

        watched = ("--log-level", log_level, *(("--trace",) if trace else ()))
        chosen = launching.launcher(
            backend,
            workers,
            targets=reached,
            image=image,
            device=device,
            flags=(*watched, *flags),
            tls=None if hops is None else hops.worker,
        )
        cluster = Cluster(
            chosen,
            deployments,
            server=server,
            workers_tls=workers_tls,
            store=store,
            folder=folder,
            master_flags=watched,
        )
        asyncio.run(launching.stay(cluster, ready_file, until_eof))


def _from_file(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None, list[dict[str, Any]]]:
    from kofn.settings import read_yaml
    from master.config import MasterConfig

    config = read_yaml(path, MasterConfig)
    told = config.model_dump(mode="json", exclude_unset=True)
    return told.get("server", {}), told.get("workers_tls"), told.get("deployments", [])


def _check(
    server: Mapping[str, Any],
    deployments: list[dict[str, Any]],
    targets: list[str],
    faults: str | None,
) -> None:
    """Refuse here, in this process's words, what the services would refuse in theirs."""
    import yaml

    from kofn.settings import parse_yaml
    from master.config import MasterConfig
    from worker.faults_text import parse_faults

    told = {"server": dict(server), "workers": targets, "deployments": deployments}
    text = yaml.safe_dump(told, sort_keys=False)
    parse_yaml(text, MasterConfig, source="flags")
    if faults:
        parse_faults(faults).inlined(Path(os.curdir))
