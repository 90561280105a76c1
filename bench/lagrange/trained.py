"""What is trained for a row: the split network, a student, a parity; each once for all rows."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.bases import Bar, Provided, provide_code
from bench.lagrange.plan import Helper, Row, Split
from codes.backup import Backup
from codes.split_lagrange import SplitLagrange
from models.store import Store
from training.basis import Basis
from training.codes import CodePlan, networks_within


@dataclass(frozen=True)
class Trained:
    """The trained codes of a row.

    Attributes:
        split: the split network.
        helpers: the others, by the name of their code.
    """

    split: Provided
    helpers: Mapping[str, Provided]


def trained_for(row: Row, base: Basis, store: Store, bar: Bar, device: str = "cpu") -> Trained:
    """Find in the store what a row needs, and train what is not there."""
    split = provide_code(split_plan(row.k, row.split, row.seed), base, store, bar, device)
    helpers: dict[str, Provided] = {
        helper.code: provide_code(helper_plan(row, helper, base), base, store, bar, device)
        for helper in row.helpers
    }
    return Trained(split, helpers)


def split_plan(k: int, split: Split, seed: int) -> CodePlan:
    """The training of a split network."""
    return CodePlan(
        code=SplitLagrange.name,
        k=k,
        r=max(split.slots) - k,
        cut=split.cut,
        slots=split.slots,
        seed=seed,
        epochs=split.epochs,
        recipe=split.recipe,
    )


def helper_plan(row: Row, helper: Helper, base: Basis) -> CodePlan:
    """The training of a student that answers a group at the cost of one query, or of a parity."""
    is_student = helper.code == Backup.name
    networks = networks_within(base, helper.code, row.k, 1) if is_student else {}
    return CodePlan(
        code=helper.code,
        k=row.k,
        parameters=helper.parameters,
        student=networks.get("student", {}),
        seed=row.seed,
        epochs=helper.epochs,
        recipe=helper.recipe,
    )
