"""`kofn simulate`: what a cluster would do, in virtual time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kofn.cli.output import Json, Settings, parameters, print_json, print_table, words
from kofn.cli.policies import Budget, Hedge, MaxSends, SoftDeadline, Threshold, policy_of
from kofn.cli.simulated import (
    ANY,
    arrivals_of,
    bar,
    count_of,
    faults_of,
    fleet_of,
    law_of,
    moving_over,
    work_of,
)

if TYPE_CHECKING:
    from master.config import DeploymentConfig
    from simulator import Outcome, Setting

QUANTILES = (0.5, 0.99, 0.999)


def simulate(  # noqa: PLR0913 - each flag is an argument to typer
    code: Annotated[str, typer.Option(help="Code; see `kofn codes list`.")] = "parity",
    k: Annotated[int, typer.Option("--k", min=1, help="Answers a group.")] = 4,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Slots a group; default: k + 2.")
    ] = None,
    settings: Settings = None,
    wait: Annotated[
        str, typer.Option(help="For own answers: first, soft, all, adaptive.")
    ] = "soft",
    budget: Budget = None,
    soft_deadline: SoftDeadline = "3*p50",
    hedge: Hedge = None,
    max_sends: MaxSends = 3,
    recovery_threshold: Threshold = None,
    gain_limit: Annotated[
        float | None, typer.Option(help="Decode early only up to this noise gain.")
    ] = None,
    timeout_ms: Annotated[int, typer.Option(min=1, help="A request ends then.")] = 1000,
    max_groups: Annotated[int, typer.Option(min=1, help="Coding groups in a batch.")] = 16,
    max_delay_ms: Annotated[float, typer.Option(min=0, help="A row waits for company.")] = 2.0,
    max_in_flight: Annotated[
        str, typer.Option(help="Coded batches at the workers at once, or any.")
    ] = "8",
    config: Annotated[
        Path | None,
        typer.Option(help="Deployment file, for its first deployment; flags above are off."),
    ] = None,
    workers: Annotated[
        str, typer.Option(help="How many; any: one for each task, so that nothing queues.")
    ] = "6",
    service: Annotated[
        str,
        typer.Option(
            help='Of a task: 20ms, or JSON as a fault\'s delay: \'{"law": "expon", ...}\'.'
        ),
    ] = "20ms",
    straggler: Annotated[
        str | None, typer.Option(help="Delay that is injected before it: JSON as a fault's delay.")
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(help="In place of --straggler: JSON of all faults, as a scenario's."),
    ] = None,
    straggling: Annotated[
        int | None, typer.Option(min=1, help="So many workers have these; default: all.")
    ] = None,
    moving: Annotated[
        str | None,
        typer.Option(help="Others have them after so long, such as 1s: as contention moves."),
    ] = None,
    worker_rows: Annotated[
        int, typer.Option(min=1, help="Most groups of one pass; 1 serves task by task.")
    ] = 256,
    overhead: Annotated[
        str, typer.Option(help="Of a task, for the network and coding: as --service.")
    ] = "0ms",
    work: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=FACTOR",
            help="Service of a role's tasks over --service; may be repeated: student=0.65. "
            "Of stem: the master's, for a batch.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second, Poisson; default with --workers any: 100."),
    ] = None,
    load: Annotated[
        float | None,
        typer.Option(help="Instead: share of the workers' time that it takes uncoded. [0.5]"),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Instead: a file of arrival times, seconds, one a line.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Queries of a request.")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="To count, after a tenth as many.")] = 100_000,
    spread: Annotated[
        str, typer.Option(help='Who gets a batch: "least loaded", as a master does, or "random".')
    ] = "least loaded",
    method: Annotated[
        str, typer.Option(help="events, recursion or independent; auto: the quickest that fits.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the distribution of latency here, as PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Simulate a cluster: latency, kinds of answers and costs, in virtual time.

    The master's own batcher, gather, policies and assignment decide, over delays drawn from the
    workers' laws. A task takes as long, however many groups are in it.
    """
    from master.config import DeploymentConfig
    from simulator import Setting

    if config is not None:
        deployment = _first_of(config)
    else:
        sizes = {"k": k} if code == "uncoded" else {"k": k, "n": k + 2 if n is None else n}
        given = {
            "code": {"name": code, **sizes, **parameters(settings)},
            "policy": policy_of(
                recovery_threshold,
                wait=wait,
                budget=budget,
                soft_deadline=soft_deadline,
                hedge=hedge,
                max_sends=max_sends,
                gain_limit=gain_limit,
            ),
            "batching": {
                "max_groups": max_groups,
                "max_delay_ms": max_delay_ms,
                "max_in_flight": count_of(max_in_flight, "--max-in-flight") or 1,
                "queue_rows": max(4096, 2 * max_groups * k),
            },
            "timeout_ms": timeout_ms,
        }
        deployment = _checked(given, DeploymentConfig)
    fleet = fleet_of(workers, service, faults_of(straggler, faults), straggling, worker_rows)
    arrivals = arrivals_of(rate, load, trace, fleet, rows)
    contention = None
    if moving is not None:
        fleet, contention = moving_over(fleet, moving)
    in_flight: int | None = deployment.batching.max_in_flight
    if config is None and max_in_flight == ANY:
        in_flight = None
    setting = Setting(
        code=deployment.code.make(),
        workers=fleet,
        arrivals=arrivals,
        requests=-(-queries // rows),
        policy=deployment.policy.make(),
        rows=rows,
        limits=deployment.batching.limits(),
        max_in_flight=in_flight,
        timeout_s=deployment.timeout_ms / 1e3,
        overhead=law_of(overhead, "--overhead"),
        spread=spread,  # type: ignore[arg-type]
        work=work_of(work),
        contention=contention,
        seed=seed,
    )
    outcome = _run(setting, method)
    if plot is not None:
        _draw(plot, setting, outcome)
        words.print(f"drawn: {plot}")
    if as_json:
        print_json({"setting": _title(setting), **outcome.summary()})
        return
    _print(setting, outcome)


def _run(setting: "Setting", method: str) -> "Outcome":
    from typing import get_args

    from simulator import Method, simulate

    if method not in get_args(Method):
        accepted = ", ".join(get_args(Method))
        raise typer.BadParameter(
            f"must be one of {accepted}, not {method!r}.", param_hint="--method"
        )
    with bar("requests") as progress:
        return simulate(setting, method, progress)  # type: ignore[arg-type]


def _print(setting: "Setting", outcome: "Outcome") -> None:
    latency = outcome.latency
    workers = "" if outcome.workers is None else f"{100 * outcome.utilisation:.0f} %"
    print_table(
        _title(setting),
        ("mean ms", *(f"p{100 * q:g} ms" for q in QUANTILES), "max ms", "direct", "decoded",
         "missing", "mean gain", "slots per query", "worker ms per query", "workers busy"),
        [
            (
                _ms(latency.mean),
                *(_ms(latency.quantile(q)) for q in QUANTILES),
                _ms(latency.max),
                f"{100 * outcome.direct_share:.4g} %",
                f"{100 * outcome.decoded_share:.4g} %",
                f"{100 * outcome.missing_share:.4g} %",
                f"{outcome.mean_gain:.3g}" if outcome.decoded else "",
                f"{outcome.load_factor:.3f}",
                f"{1e3 * outcome.worker_s_per_query:.4g}",
                workers,
            )
        ],
    )  # fmt: skip
    few = latency.count < 100_000
    words.print(
        f"{outcome.requests:,} requests in {outcome.wall_s:.1f} s, by {outcome.method}"
        + (f"; p99.9 of so few rests on {latency.count // 1000}" if few else "")
        + (f"; {outcome.refused:,} were refused: the queue was full" if outcome.refused else "")
    )


def _title(setting: "Setting") -> str:
    from simulator import Poisson

    count = setting.worker_count
    workers = "as many workers as tasks" if count is None else f"{count} workers"
    arrivals = "Poisson" if isinstance(setting.arrivals, Poisson) else "recorded"
    rate = f"{setting.arrivals.rate:.4g} requests/s, {arrivals}"
    return f"{setting.code!r}; {setting.policy}; {workers}; {rate}"


def _draw(path: Path, setting: "Setting", outcome: "Outcome") -> None:
    from bench.plots import counted_latency_cdf

    points = {f"simulated, {outcome.requests:,} requests": outcome.latency.points()}
    counted_latency_cdf(path, points, "Latency in virtual time", _title(setting))


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.4g}"


# What flags say.


def _first_of(path: Path) -> "DeploymentConfig":
    from kofn.settings import read_yaml
    from master.config import MasterConfig

    deployments = read_yaml(path, MasterConfig).deployments
    if not deployments:
        raise typer.BadParameter(f"{path} has no deployment.", param_hint="--config")
    return deployments[0]


def _checked(given: dict[str, Any], model: "type[DeploymentConfig]") -> "DeploymentConfig":
    """A deployment of no program; of a code over models, of as many as it is over."""
    import codes
    from codes.base import BASE
    from kofn.settings import check

    what: dict[str, Any] = dict(given["code"])
    roles = codes.make(what.pop("name"), **what).model_roles
    program = {"program": "none"} if roles == (BASE,) else {"models": list(roles)}
    return check({"name": "simulated", **program, **given}, model, "flags")
