"""What is known of a model's cuts, from the records of `python -m bench tables cuts`."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench import records
from bench.table import Record

TABLE = "cuts"


@dataclass(frozen=True)
class CutWorth:
    """One cut of a model, as it was measured.

    Attributes:
        model: name of the base model in the table.
        base_hash: content hash of that model's program.
        cut: the step after which queries are mixed, and `place`, its number from 0.
        k, n: queries and slots of a group.
        any_k, any_k_worst: accuracy of all answers from k slots: mean over the sets, worst set.
        all_n: the same from all slots.
        base_accuracy: of the model itself, on the same images.
        replication: of n workers with copies, with as many lost; mean over the sets.
        stem_cost: multiply-adds of the stem for one query, as a share of the model's.
        worker_cost: of the trunk for one group, as a share of the same.
        payload: numbers of a mix over those of a query.
        query_bytes: sent to all workers together for one query, where the master runs the stem.
        epochs: that were trained.
    """

    model: str
    base_hash: str
    cut: str
    place: int
    k: int
    n: int
    any_k: float
    any_k_worst: float
    all_n: float
    base_accuracy: float
    replication: float
    stem_cost: float
    worker_cost: float
    payload: float
    query_bytes: int
    epochs: int


def cuts_of(model: str) -> tuple[CutWorth, ...]:
    """The cuts of a model that were measured, the shallowest first.

    Args:
        model: as the table calls it, or the content hash of its program.
    """
    found = [_worth(record) for record in newest(records.read(TABLE))]
    mine = [one for one in found if model in (one.model, one.base_hash)]
    return tuple(sorted(mine, key=lambda one: one.place))


def newest(found: Iterable[Record]) -> list[Record]:
    """The last record of each row, in the order of the first."""
    last = {record["row"]: record for record in found if "error" not in record}
    return list(last.values())


def _worth(record: Record) -> CutWorth:
    costs = record["costs"]
    return CutWorth(
        model=record["model"],
        base_hash=record["base_hash"],
        cut=record["cut"],
        place=record["place"],
        k=record["k"],
        n=record["n"],
        any_k=record["overall"],
        any_k_worst=record["worst"],
        all_n=record["clean"],
        base_accuracy=record["base_accuracy"],
        replication=record["baselines"]["replication"]["overall"],
        stem_cost=costs["stem"],
        worker_cost=costs["worker"],
        payload=costs["payload"],
        query_bytes=costs["master_bytes"],
        epochs=record["spec"]["split"]["epochs"],
    )
