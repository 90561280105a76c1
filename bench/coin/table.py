"""`python -m bench tables coin`: models of one start, merged by every method, and then decoded."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import torch
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as checked

from bench.bases import Bar
from bench.coin.ensemble import ensemble
from bench.coin.family import Family, Members
from bench.coin.measuring import Asked, Worth, patterns
from bench.coin.text import TITLES, cells, newest
from bench.described import STRICT, fewer, plain
from bench.records import provenance
from bench.table import Record, Table
from codes.coin import DECODINGS, Coin
from models.store import Store
from training.loop import on_threads
from training.merging import Inputs, MergePlan, NotMergeable, Parents, merge, mixed, parents_of
from training.merging.report import coin_of

METHODS: dict[str, dict[str, Any]] = {  # of the table's rows: settings of a `MergePlan`
    "average": {"method": "average"},
    "fisher-merge": {"method": "fisher-merge"},
    "coin, undamped": {"method": "coin", "dampings": (0.0,)},
    "coin": {"method": "coin"},
    "regmean": {"method": "regmean"},
    "distill": {"method": "distill", "begin": "coin"},
    "distill from average": {"method": "distill", "begin": "average"},
}


@checked(frozen=True, config=STRICT)
class Setting:
    """Some rows: one a seed.

    Attributes:
        family: the networks.
        seeds: of them.
        methods: of `METHODS`.
        r, weights: of the coded models.
        models: only the first so many tasks are merged; 0: all.
        samples: inputs for Fisher information; inputs: for calibration, in all.
        images: of each test set, the first so many; 0: all.
        student: settings of its training; none: no student.
        ensemble: the networks learn one task, and their mean is what is wanted.
        targets: figures of the design page, by method and decoder, such as "coin fixed"; with two
            models lost "coin fixed 2".
    """

    family: Family
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    methods: list[str] = field(default_factory=lambda: list(METHODS)[:-1])
    r: int = 1
    weights: list[list[float]] = field(default_factory=list)
    models: int = 0
    samples: int = 128
    inputs: int = 1024
    images: int = 0
    student: dict[str, Any] = field(default_factory=dict)
    ensemble: bool = False
    targets: dict[str, float] = field(default_factory=dict)


@checked(frozen=True, config=STRICT)
class Description:
    """The whole table."""

    title: str
    settings: dict[str, Setting]
    kind: Literal["coin"] = "coin"


@dataclass(frozen=True)
class Row:
    """One family of networks, for one seed."""

    name: str
    called: str
    setting: Setting
    seed: int

    @property
    def spec(self) -> dict[str, Any]:
        """All that decides what comes out, as plain values."""
        kept = {**plain(self.setting), "seed": self.seed}
        unused = {"seeds", "targets"} | ({"images"} if not self.setting.images else set())
        return {key: value for key, value in kept.items() if key not in unused}


class CoinTable(Table[Row]):
    """Merged models.

    Args:
        described: what its file says.
    """

    kind: ClassVar[str] = "coin"
    titles: ClassVar[tuple[str, ...]] = TITLES

    def __init__(self, described: Description) -> None:
        self._described = described
        self.title = described.title

    @classmethod
    def of(cls, content: dict[str, Any]) -> "CoinTable":
        """See `Table.of`."""
        return cls(TypeAdapter(Description).validate_python(content))

    def rows(self, pattern: str = "*", most_epochs: int | None = None) -> list[Row]:
        """See `Table.rows`."""
        found = [
            Row(f"{name}.seed-{seed}", name, _shortened(setting, most_epochs), seed)
            for name, setting in self._described.settings.items()
            for seed in setting.seeds
        ]
        return [row for row in found if fnmatchcase(row.name, pattern)]

    def run(self, row: Row, store: Store, bar: Bar, device: str) -> Iterator[Record]:
        """See `Table.run`: a record a method, decoder and pattern of losses; and baselines."""
        with on_threads(1):
            measured = list(_measured(row, Members(row.setting.family, row.seed,
                                                   store.root / ".coin", bar)))  # fmt: skip
        made = provenance()
        yield from ({**_about(row), **record, **made} for record in measured)

    def failed(self, row: Row, error: Exception) -> Record:
        """See `Table.failed`."""
        return {**_about(row), "error": f"{type(error).__name__}: {error}", **provenance()}

    def says(self, record: Record) -> str:
        """See `Table.says`."""
        figure = record.get("lost_only", record.get("clean"))
        return f"{record['method']}, {record.get('decoder', '')}: {figure}"

    def newest(self, found: Iterable[Record]) -> list[Record]:
        """See `Table.newest`."""
        return newest(found)

    def cells(self, found: Sequence[Record]) -> list[tuple[str, ...]]:
        """See `Table.cells`."""
        return cells(found)


def _measured(row: Row, members: Members) -> Iterator[Record]:
    setting, count = row.setting, row.setting.models or len(members.tasks)
    modules, tasks = [members.member(i) for i in range(count)], members.tasks[:count]
    if setting.images:
        few = torch.arange(setting.images)
        tasks = [replace(one, test=one.test.take(few)) for one in tasks]
    names = [one.name for one in tasks]
    states = [module.state_dict() for module in modules]
    record: Record = {"k": count, "n": count + setting.r, "recovery_threshold": count}
    try:
        parents = parents_of(names, states, members.fresh())
    except NotMergeable as error:
        record["refused"] = str(error)
        parents = parents_of(names, states, members.fresh(), [frozenset(names)] * count)
    parts = [one.learning.images for one in tasks]
    if setting.ensemble:
        parts = [parts[0][i::count].contiguous() for i in range(count)]
    inputs = mixed(names, parts, setting.inputs, row.seed, count)
    asked = Asked(modules, tasks)
    record |= {"clean": round(asked.clean, 5), "epoch_s": round(members.epoch_s(modules[0], 0), 4)}
    yield from ({**record, **found} for found in _baselines(row, members, asked))
    for name in setting.methods:
        yield from (
            {**record, "method": name, **found}
            for found in _merged(row, name, parents, inputs, asked)
        )


def _merged(
    row: Row, name: str, parents: Parents, inputs: Inputs, asked: Asked
) -> Iterator[Record]:
    """One method's records, for both decoders and every pattern of losses."""
    setting = row.setting
    rows = tuple(map(tuple, setting.weights)) or None
    plan = MergePlan(
        **METHODS[name], r=setting.r, rows=rows, samples=setting.samples, limit=float("inf"),
        seed=row.seed,
    )  # fmt: skip
    start_s = time.process_time()
    coded = merge(parents, plan, inputs)
    build_s = time.process_time() - start_s
    outputs = asked.outputs(coded.modules)
    about = {
        "damping": None if coded.damping is None else str(coded.damping),
        "relative_loss": [round(loss, 5) for loss in coded.report["relative_loss"]],
        "label_free_agreement": round(coded.metrics["agreement"].value, 4),
        "build_s": round(build_s, 3),
        "seconds": round(sum(coded.seconds.values()), 3),
    }
    if setting.ensemble:
        yield {
            **about,
            **ensemble(asked, coded.modules, coin_of(coded.rows, "fitted", coded.outputs)),
        }
    for decoder in DECODINGS:
        code = coin_of(coded.rows, decoder, coded.outputs)
        for lost, lost_coded, sets in patterns(len(parents.modules), setting.r):
            worth = asked.worth(code, outputs, sets)
            yield {**about, "decoder": decoder, **_figures(worth, lost, lost_coded, asked)}


def _figures(worth: Worth, lost: int, lost_coded: int, asked: Asked) -> Record:
    share = lost / len(asked.modules)
    return {
        "lost": lost + lost_coded,
        "lost_models": lost,
        "lost_only": round(worth.mean, 5),
        "worst": round(worth.worst, 5),
        "overall": round((1 - share) * asked.clean + share * worth.mean, 5),
        "agreement": round(worth.agreement, 5),
        "interval": [round(end, 5) for end in worth.interval],
        "answers": worth.answers,
    }


def _baselines(row: Row, members: Members, asked: Asked) -> Iterator[Record]:
    """What stands in for one lost model without any code."""
    count = len(asked.modules)
    copied = min(row.setting.r / count, 1.0)
    yield {"method": "guess", "lost_only": 0.1}
    yield {
        "method": "replication",
        "lost_only": round(copied * asked.clean + 0.1 * (1 - copied), 5),
    }
    if row.setting.family.start:
        start = members.start()
        found = [asked.right(start, j) for j in range(count)]
        yield {"method": "start", "lost_only": _mean(found), "worst": round(min(found), 5)}
    if row.setting.student:
        made = [members.student(j, row.setting.student) for j in range(count)]
        found = [asked.right(one, j) for j, one in enumerate(made)]
        spent = (
            sum(members.epoch_s(one, j) for j, one in enumerate(made))
            * row.setting.student["epochs"]
        )
        yield {
            "method": "student",
            "lost_only": _mean(found),
            "worst": round(min(found), 5),
            "build_s": round(spent, 3),
        }


def _mean(found: Sequence[float]) -> float:
    return round(sum(found) / len(found), 5)


def _shortened(setting: Setting, most: int | None) -> Setting:
    def less(settings: dict[str, Any]) -> dict[str, Any]:
        epochs = fewer(settings.get("epochs"), most)
        return {**settings, "epochs": epochs} if settings and epochs else settings

    family = replace(
        setting.family, start=less(setting.family.start), tune=less(setting.family.tune)
    )
    return replace(setting, family=family, student=less(setting.student))


def _about(row: Row) -> Record:
    return {
        "row": row.name,
        "setting": row.called,
        "dataset": "+".join(row.setting.family.tasks),
        "model": row.setting.family.network,
        "code": Coin.name,
        "seed": row.seed,
        "targets": row.setting.targets,
        "spec": row.spec,
    }
