"""A deployment's code and programs: trained codes fit their base model, or are refused in words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from codes.calibrated import Calibrated
from codes.learned import Learned
from kofn.wire.errors import FailedPrecondition, InvalidArgument, NotFound
from master.binding import bind
from master.config import DeploymentConfig, PolicyConfig
from models.archive import content_hash
from models.networks import make
from models.programs import export_program
from models.store import Store
from training.base import train_and_store

BACKUP = "digits-mlp.backup-k2-r1"
LEARNED = "digits-mlp.learned-k2-r1"


def deployment(program: str = "digits-mlp", **code: Any) -> DeploymentConfig:
    return DeploymentConfig.model_validate(
        {"name": "digits", "program": program, "code": {"k": 2, "n": 3, **code}}
    )


def test_a_role_gets_its_own_program(trained_store: Store) -> None:
    bound = bind(deployment(name="backup", checkpoint=BACKUP), trained_store)
    card = trained_store.codes.card(BACKUP)
    assert bound.programs == {"base": card.base_hash, "student": card.programs["student"]}
    assert set(bound.archives) == set(bound.programs.values())


def test_a_learned_code_has_its_weights(trained_store: Store) -> None:
    bound = bind(deployment(name="learned", checkpoint=LEARNED), trained_store)
    assert isinstance(bound.code, Learned)
    assert bound.code.weights is not None
    kept = trained_store.codes.weights(LEARNED)
    assert torch.equal(bound.code.weights.tensors["decoder.0.bias"], kept["decoder.0.bias"])


def test_a_student_is_calibrated_on_queries_that_it_has_not_seen(trained_store: Store) -> None:
    bound = bind(deployment(name="backup", checkpoint=BACKUP, calibrated=True), trained_store)
    assert isinstance(bound.code, Calibrated)
    error = bound.code.expected_error([0, 2])
    assert error is not None
    assert 0 < error[1] < 0.5


def test_who_looks_for_liars_is_calibrated_on_more_queries(digits_store: Store) -> None:
    """All that the data set has in place of a thousand: two to a group, in four groupings."""
    plain = deployment(name="berrut", n=6, calibrated=True)
    wary = plain.model_copy(update={"policy": PolicyConfig(liars=1)})
    usual, more = (bind(told, digits_store).code for told in (plain, wary))
    assert isinstance(usual, Calibrated)
    assert isinstance(more, Calibrated)
    assert len(usual.moments.group_covs) == 4 * 500
    assert len(more.moments.group_covs) > 4 * 700


def test_another_base_model_is_refused_with_both_hashes(trained_store: Store) -> None:
    """The same architecture and name of the data, trained once more."""
    other = train_and_store("digits", "mlp", store=trained_store, name="again", epochs=1, seed=1)
    with pytest.raises(FailedPrecondition) as refusal:
        bind(deployment("again", name="backup", checkpoint=BACKUP), trained_store)
    assert other.hash in str(refusal.value)
    assert trained_store.card("digits-mlp").hash in str(refusal.value)


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ({"name": "backup"}, InvalidArgument, f"code.checkpoint must name .*{BACKUP}"),
        ({"name": "learned"}, InvalidArgument, f"code.checkpoint must name .*{LEARNED}"),
        ({"name": "backup", "checkpoint": "digits-mlp.backup-k2-r"}, NotFound, f"mean '{BACKUP}'"),
        ({"name": "backup", "checkpoint": BACKUP, "k": 1}, InvalidArgument, "code.k must be 2"),
        ({"name": "mosaic", "checkpoint": BACKUP}, InvalidArgument, "code.name must be 'backup'"),
        ({"name": "learned", "checkpoint": LEARNED, "encoder": "conv"}, InvalidArgument, "encoder"),
        ({"name": "learned", "checkpoint": LEARNED, "calibrated": True}, InvalidArgument, "linear"),
    ],
)
def test_what_does_not_fit_is_refused(
    code: dict[str, Any], error: type[Exception], says: str, trained_store: Store
) -> None:
    with pytest.raises(error, match=says):
        bind(deployment(**code), trained_store)


def test_a_program_that_is_not_the_card_s_is_refused(trained_store: Store) -> None:
    """Exchanged on the disk: both hashes are said."""
    card = replace(trained_store.codes.card(BACKUP), name="exchanged")
    student = trained_store.codes.program(BACKUP, "student")
    folder = trained_store.codes.save(card, {"student": student})
    torch.manual_seed(5)
    other = export_program(make("mlp", (1, 8, 8), 10), torch.zeros(1, 1, 8, 8))
    (folder / "student.pt2").write_bytes(other)
    with pytest.raises(FailedPrecondition, match=card.programs["student"]):
        bind(deployment(name="backup", checkpoint="exchanged"), trained_store)


def test_a_program_that_takes_other_shards_is_refused(trained_store: Store) -> None:
    """A student that answers one query, where all of them come."""
    torch.manual_seed(6)
    archive = export_program(make("mlp", (1, 8, 8), 10), torch.zeros(1, 1, 8, 8))
    card = trained_store.codes.card(BACKUP)
    card = replace(card, name="narrow", programs={"student": content_hash(archive)})
    trained_store.codes.save(card, {"student": archive})
    with pytest.raises(InvalidArgument, match=r"role 'student' must take \(2, 1, 8, 8\)"):
        bind(deployment(name="backup", checkpoint="narrow"), trained_store)


def test_a_program_of_a_higher_degree_is_refused(digits_store: Store) -> None:
    """A quadratic network is exact at degree 2; at degree 1, and with ReLU, it is refused."""
    options = {"hidden": [8], "activation": "square"}
    train_and_store(
        "digits", "mlp", store=digits_store, name="quadratic", epochs=1, options=options
    )
    sizes = {"name": "lagrange", "k": 3, "n": 6}
    bound = bind(deployment("quadratic", **sizes, degree=2), digits_store)
    assert bound.code.recovery_threshold == 5
    with pytest.raises(InvalidArgument, match="polynomials of degree 1, from any 3 slots; decoded"):
        bind(deployment("quadratic", **sizes, degree=1), digits_store)
    with pytest.raises(InvalidArgument, match="it is no such program"):
        bind(deployment(**sizes, degree=2), digits_store)


class Coarse(torch.nn.Module):
    """A quadratic program whose answers are rounded to four digits or so."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.flatten(1)
        answers = torch.stack([pixels.sum(1).square(), pixels.square().sum(1)], dim=1)
        return torch.round(answers * 4) / 4


def test_a_program_whose_rounding_looks_like_lies_is_refused(
    digits_store: Store, tmp_path: Path
) -> None:
    """It is decoded well enough; but every worker would be accused."""
    archive = tmp_path / "coarse.pt2"
    archive.write_bytes(export_program(Coarse(), torch.rand(2, 1, 8, 8)))
    config = deployment(str(archive), name="lagrange", k=3, n=7, degree=2)
    bind(config, digits_store)
    liars = config.model_copy(update={"policy": PolicyConfig(liars=1)})
    with pytest.raises(InvalidArgument, match=r"policy\.liars must be 0 .* rounding looks like"):
        bind(liars, digits_store)
