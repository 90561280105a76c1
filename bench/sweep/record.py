"""What a sweep measures: one record for every system at every point of a plan.

A *point* is a place in the plan: so many workers, of them so many dead, a straggler law and a
load. All systems of a plan are asked at each point, in turns, on the same worker processes and by
the same arrivals; the records of a point are written together, so that what is compared was
measured by one machine in one run. A record is one line of JSON in `cells.jsonl` of the sweep's
folder (`read`), and in `bench/results/PLAN.jsonl` where it is committed. `Latency` and `Kept` are
described in `bench.load.figures`.

Shares and accuracies are in 0..1, times in the unit that a name ends with. Accuracies are
`Metric`s: `value`, `count` (of how many queries) and `interval` (Wilson, 95 %); None where the
count is 0.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.load.figures import Kept, Latency, Text
from models.cards import Metric

__all__ = ["Cost", "Kept", "Latency", "Measured", "Record", "RecordError", "Turn", "parsed", "read"]

Kind = Literal["baseline", "coded"]


class RecordError(ValueError):
    """A file holds a line that is no record; names file, line and field."""


class Turn(Text):
    """One turn of a system: medians over turns are better figures than one over all.

    Attributes:
        queries: intended in it.
        late_share: of requests, sent more than `bench.load` allows after their time.
    """

    queries: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_share: float


class Cost(Text):
    """What the answers took, a query of which each was asked; missing ones count as queries.

    Attributes:
        load_factor: n / k as configured.
        measured_load_factor: slots really sent for a query, of which uncoded needs 1: hedges and
            second tries included, and the padding of groups that were not full.
        worker_s_per_query: seconds in service at the workers, injected delay and cancelled work
            included.
        utilisation: the same as a share of all living workers' time: the load in fact.
        sent_bytes_per_query: payload of tasks from the master to workers, hedges included.
        master_cpu_s_per_query: user and system time of the master's process.
        master_peak_mib, worker_peak_mib: largest resident memory seen, of the master and of any
            one worker; they hold the programs of all systems of the plan. None where processes
            cannot be seen.
    """

    load_factor: float
    measured_load_factor: float
    worker_s_per_query: float
    utilisation: float
    sent_bytes_per_query: float
    master_cpu_s_per_query: float
    master_peak_mib: float | None
    worker_peak_mib: float | None


class Measured(Text):
    """What was seen of a system at a point.

    Attributes:
        queries: asked for.
        direct, decoded, missing: queries by where their answer came from; they sum to `queries`.
        refused: queries whose request ended with an error; part of `missing`.
        groups: coding groups that the master started.
        clean: no worker lost, no delay; over the test set.
        overall: over every query; one without an answer is worth 1/classes.
        lost_only: over the queries whose own worker's answer was missing, decoded or guessed. Of a
            code that is not systematic every query is decoded: then over those of groups that
            lacked at least one result. None where there was none.
        agreement: share of decoded answers with the base model's top class; None as above.
        error: relative L2 of the decoded outputs: ||decoded - base model's|| / ||base model's||,
            over all decoded answers together; None where there was none.
        mean_responders: results that a group had when it was decoded; None where the master does
            not tell.
        turns: one after the other, between the turns of the other systems.
    """

    queries: int
    direct: int
    decoded: int
    missing: int
    refused: int
    groups: int
    clean: Metric | None
    overall: Metric
    lost_only: Metric | None
    agreement: Metric | None
    error: float | None
    mean_responders: float | None
    latency: Latency
    turns: tuple[Turn, ...]
    cost: Cost
    load: Kept


class Record(Text):
    """One system at one point.

    Attributes:
        table: which benchmark: "sweep", or "parm".
        plan, plan_hash: the plan's name, and the hash of all that it says.
        point: names the point within the plan; records of one point are comparable.
        system: unique at a point, such as "split-lagrange R=5".
        family: what a curve through several systems is called, such as "split-lagrange".
        kind: whether it is one of the baselines.
        title: for a person.
        dataset: of the queries.
        model: the base model's name in the store.
        code: the code's repr; "Ray Serve" for what is no code.
        code_name: the code's name alone; "ray-serve" for that.
        k, n, recovery_threshold: R is the policy's where it has one, else the code's.
        policy: for a person.
        faults: what every worker injected, as in a scenario file, {} for nothing; or contention
            that moves, as of `bench.sweep.text.ContentionText`.
        straggler: what the plan calls that.
        service_ms: mean of the injected delay law, where it is the same for all tasks; else None.
        workers: worker processes, those that are dead included.
        lost: of these dead from before the load until after it.
        offered_qps: queries a second, Poisson.
        request_rows: queries of a request.
        deadline_ms: of a request.
        backend: where workers run: "local" or "docker".
        seed: of arrivals, order and faults.
        seconds: of load, over all turns.
        measured: None where it failed.
        failure: why; "" where it did not.
        published: figures of a paper that this stands beside, with their source.
        run: when the command was started; `command` is how.
        machine, versions, commit, dirty, time: as of `bench.records.provenance`.
    """

    table: str
    plan: str
    plan_hash: str
    point: str
    system: str
    family: str
    kind: Kind
    title: str
    dataset: str
    model: str
    code: str
    code_name: str
    k: int
    n: int
    recovery_threshold: int | None
    policy: str
    faults: dict[str, Any]
    straggler: str
    service_ms: float | None
    workers: int
    lost: int
    offered_qps: float
    request_rows: int
    deadline_ms: int
    backend: Literal["local", "docker"]
    seed: int
    seconds: float
    measured: Measured | None
    failure: str = ""
    published: dict[str, Any] | None = None
    run: str
    command: str
    machine: str
    versions: dict[str, str]
    commit: str
    dirty: bool
    time: str = Field(description="when the record was made, ISO 8601")

    def line(self) -> str:
        """One line of a file, without its end."""
        return self.model_dump_json()


def read(path: Path) -> Iterator[Record]:
    """The records of a file, oldest first.

    Raises:
        RecordError: a line is no record of this version.
        OSError: the file cannot be read.
    """
    with path.open() as file:
        yield from parsed(path, file)


def parsed(path: Path, lines: Iterable[str]) -> Iterator[Record]:
    """The records in the lines of a file; raises RecordError as `read`."""
    for number, line in enumerate(lines, start=1):
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise RecordError(f"{path}:{number}: {where}: {problem['msg']}") from error
