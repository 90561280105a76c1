"""Merged models: exact where they must be, by other routes where they can be."""

import copy
from itertools import pairwise
from math import inf

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.func import functional_call

from support.families import family, fresh, inputs
from training.measure import answers_of
from training.merging import (
    METHODS,
    Coded,
    Inputs,
    MergePlan,
    NotMergeable,
    Parents,
    distilling,
    merge,
    mixed,
    parents_of,
)
from training.merging.damping import chosen
from training.merging.fisher import GAUSS, TRUE, diagonal
from training.merging.parents import parameters_of
from training.merging.report import coin_of, decode_errors, decoded
from training.merging.sums import Sums, average

KINDS = ("lenet", "resnet", "tied", "attention")
SAME = [frozenset({"start"})] * 2


def parents(modules: list[nn.Module]) -> Parents:
    names = [f"model-{i}" for i in range(len(modules))]
    states = [module.state_dict() for module in modules]
    return parents_of(names, states, copy.deepcopy(modules[0]), [SAME[0]] * len(modules))


def calibration(kind: str, count: int = 48) -> Inputs:
    parts = [inputs(kind, count // 2, seed) for seed in (7, 8)]
    return mixed(("seven", "eight"), parts, count, seed=0, models=2)


def merged(kind: str, modules: list[nn.Module], **settings: object) -> Coded:
    plan = MergePlan(**{"samples": 4, "steps": 3, "limit": inf, **settings})  # type: ignore[arg-type]
    return merge(parents(modules), plan, calibration(kind))


def test_linear_models_are_decoded_exactly_by_their_average() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models: list[nn.Module] = [nn.Linear(6, 3) for _ in range(3)]
    rows = torch.rand(64, 6, generator=torch.Generator().manual_seed(1))
    parts = mixed(("x",), [rows], 64, 0, 3)
    plan = MergePlan(method="average", r=2, decoding="fixed")
    coded = merge(parents(models), plan, parts)
    outputs = torch.stack([answers_of(m, rows) for m in (*models, *coded.modules)], 1)
    code = coin_of(coded.rows, "fixed", coded.outputs)
    for lost in ([0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 3], [2, 4]):
        wanted = outputs[:, [slot for slot in lost if slot < 3]]
        error = (decoded(code, outputs, lost) - wanted).abs().max()
        assert error < (1e-6 if len(lost) == 1 else 1e-5), lost  # two lost: gains up to 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_identical_models_merge_to_themselves(kind: str, method: str) -> None:
    (model,) = family(kind, 1)
    if (kind, method) in (("resnet", "distill"), ("attention", "distill")):
        return  # statistics that are taken anew, and two routes of attention: steps from there
    coded = merged(kind, [model, copy.deepcopy(model)], method=method)
    for name, value in parameters_of(model).items():
        found = parameters_of(coded.modules[0])[name]
        assert torch.allclose(found, value, atol=1e-6, rtol=1e-5), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", [GAUSS, TRUE])
def test_fisher_information_is_that_of_brute_force(kind: str, which: str) -> None:
    (model,) = family(kind, 1)
    rows = inputs(kind, 5, 2)
    known = parameters_of(model)

    def outputs(*values: Tensor) -> Tensor:
        parameters = dict(zip(known, values, strict=True))
        found: Tensor = functional_call(model, parameters, (rows,))
        return found if which == GAUSS else found.log_softmax(-1)

    slopes = dict(zip(known, jacobian(outputs, tuple(known.values())), strict=True))
    weights = torch.ones(5, 4 if kind != "tied" else 12)
    if which == TRUE:
        weights = answers_of(model, rows).softmax(-1)
    found = diagonal(model, rows, which)
    assert found.keys() == known.keys()  # tied weights once
    for name, slope in slopes.items():
        wanted = torch.einsum("mk,mk...->...", weights, slope.square()) / 5
        assert torch.allclose(found[name], wanted, rtol=1e-4, atol=1e-6 * float(wanted.max())), name


def test_the_closed_form_has_no_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    thetas = [{"w": torch.randn(50, generator=generator)} for _ in range(3)]
    fishers = [{"w": torch.rand(50, generator=generator) ** 4} for _ in range(3)]
    weights, damping = (0.5, 0.3, 0.2), 0.1
    theta = Sums(thetas, fishers, weights).merged(damping)["w"].double().requires_grad_(True)
    total = torch.stack([w * f["w"] for w, f in zip(weights, fishers, strict=True)])
    pull = damping * float(total.sum(0).mean())
    plain = average(thetas, weights)["w"].double()
    loss = pull * (theta - plain).square().sum()
    for share, one in zip(total, thetas, strict=True):
        loss = loss + (share * (theta - one["w"]).square()).sum()
    (gradient,) = torch.autograd.grad(loss, theta)
    assert gradient.abs().max() < 1e-6


def test_coordinates_without_information_are_averaged() -> None:
    thetas = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}]
    fishers = [{"w": torch.tensor([0.0, 1.0])}, {"w": torch.tensor([0.0, 3.0])}]
    assert Sums(thetas, fishers, (0.5, 0.5)).merged()["w"].tolist() == [2.0, 5.0]
    assert Sums(thetas, fishers, (0.5, 0.5)).merged(inf)["w"].tolist() == [2.0, 4.0]
    assert Sums(thetas, [], (0.25, 0.75)).merged(inf)["w"].tolist() == [2.5, 5.0]


@pytest.mark.parametrize("kind", KINDS)
def test_damped_coin_is_no_worse_than_the_average(kind: str) -> None:
    modules = family(kind)
    losses = {
        method: merged(kind, modules, method=method).report["relative_loss"][0]
        for method in ("average", "coin", "distill")
    }
    assert losses["coin"] <= losses["average"] + 1e-7
    assert losses["distill"] <= losses["coin"] + 1e-7


def test_distillation_comes_closer() -> None:
    modules = family("tied", steps=60)
    losses = [
        merged("tied", modules, method="distill", steps=steps).report["relative_loss"][0]
        for steps in (1, 200)
    ]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("kind", ["tied", "resnet"])
def test_steps_that_lead_away_are_undone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = family(kind)
    start = merged(kind, modules, method="coin")
    monkeypatch.setattr(distilling, "RATE", 10.0)
    kept = merged(kind, modules, method="distill")
    for name, value in start.modules[0].state_dict().items():
        assert torch.equal(kept.modules[0].state_dict()[name], value), name


def test_statistics_are_those_of_the_calibration_inputs() -> None:
    modules = family("resnet")
    coded = merged("resnet", modules, method="average").modules[0]
    norm = coded.get_submodule("stem")[1]  # type: ignore[index]
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, taken: seen.append(taken[0]))
    answers_of(coded, calibration("resnet").build)
    hook.remove()
    assert torch.allclose(norm.running_mean, seen[0].mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, seen[0].var((0, 2, 3)), rtol=1e-3)
    assert norm.num_batches_tracked == modules[0].get_submodule("stem")[1].num_batches_tracked  # type: ignore[index]
    assert norm.momentum == 0.1


def test_tied_weights_stay_tied_and_halves_are_merged_whole() -> None:
    modules = [module.bfloat16() for module in family("tied")]
    found = parents(modules)
    assert found.dtype == torch.bfloat16
    coded = merge(found, MergePlan(method="average"), calibration("tied")).modules[0]
    assert coded.outer.weight is coded.inner.weight
    wanted = sum(module.inner.weight.float() for module in modules) / 2
    assert torch.equal(coded.inner.weight, wanted)


def test_rows_are_scaled_and_weights_below_zero_are_for_averages() -> None:
    assert MergePlan(rows=((3.0, 1.0),)).rows_for(2) == ((0.75, 0.25),)
    assert MergePlan(r=2).rows_for(3) == (
        pytest.approx((1 / 3,) * 3),
        pytest.approx((1 / 6, 2 / 6, 3 / 6)),
    )
    negative = ((2.0, -1.0),)
    assert MergePlan(method="average", rows=negative).rows_for(2) == negative
    for method in ("coin", "fisher-merge", "regmean", "distill"):
        with pytest.raises(ValueError, match="must not be below 0 with method"):
            MergePlan(method=method, rows=negative).rows_for(2)
    with pytest.raises(ValueError, match="a sum other than 0"):
        MergePlan(method="average", rows=((1.0, -1.0),)).rows_for(2)
    with pytest.raises(ValueError, match="1 rows of 3 weights"):
        MergePlan(rows=((1.0, 1.0),)).rows_for(3)


def test_order_of_inputs_and_whose_they_are() -> None:
    parts = [torch.full((20, 1), float(i)) for i in range(2)]
    found = mixed(("a", "b"), parts, 32, 0, 2)
    assert (len(found.build), len(found.held)) == (24, 8)
    assert sorted(found.whole.flatten().tolist()) == [0.0] * 16 + [1.0] * 16
    assert [set(own.flatten().tolist()) for own in found.own] == [{0.0}, {1.0}]
    assert any(one != other for one, other in pairwise(found.build.flatten().tolist()[:12]))
    assert mixed(("a",), parts[:1], 32, 0, 2).own == ()
    shared = mixed(("a",), parts[:1], 32, 0, 2, shared=True)
    assert [len(own) for own in shared.own] == [len(shared.build)] * 2
    with pytest.raises(ValueError, match="needs each model's own inputs"):
        merge(
            parents(family("tied")),
            MergePlan(method="fisher-merge"),
            mixed(("a",), [inputs("tied", 32, 0)], 32, 0, 2),
        )


def state(kind: str, seed: int = 0) -> dict[str, Tensor]:
    return fresh(kind, seed).state_dict()


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (lambda: [state("lenet")], "At least 2 models are merged, not 1"),
        (
            lambda: [state("lenet"), {k: v for k, v in state("lenet").items() if "bias" not in k}],
            r"lacks 'classify\.1\.bias' \(5 missing, 0 further\)",
        ),
        (
            lambda: [state("lenet"), {**state("lenet"), "extra": torch.zeros(1)}],
            "has 'extra', which is not there",
        ),
        (
            lambda: [state("lenet"), {**state("lenet"), "classify.5.bias": torch.zeros(7)}],
            r"'classify\.5\.bias' is \[7\], not \[4\]",
        ),
        (
            lambda: [state("lenet"), {k: v.half() for k, v in state("lenet").items()}],
            r"as torch\.float32, as model-0 has, not torch\.float16",
        ),
        (
            lambda: [state("lenet"), {**state("lenet"), "classify.5.bias": torch.ones(4) / 0}],
            r"4 weights in 'classify\.5\.bias' that are no numbers",
        ),
        (lambda: [state("lenet"), state("lenet", 1)], "have no common start"),
    ],
)  # fmt: skip
def test_what_cannot_be_merged_is_refused_with_the_reason(states: object, message: str) -> None:
    given = states()  # type: ignore[operator]
    names = [f"model-{i}" for i in range(len(given))]
    with pytest.raises(NotMergeable, match=message):
        parents_of(names, given, fresh("lenet"))


def test_different_values_of_one_tied_weight_are_refused() -> None:
    one = state("tied")
    with pytest.raises(NotMergeable, match="are one and the same in the architecture"):
        parents_of(
            ("a", "b"), (one, {**one, "outer.weight": one["outer.weight"] + 1}), fresh("tied")
        )


def test_a_recorded_start_is_enough_and_a_loss_over_the_limit_is_not() -> None:
    far = [fresh("lenet", 0), fresh("lenet", 1)]
    with pytest.raises(NotMergeable, match=r"squared error is .* of the variance"):
        merge(parents(far), MergePlan(samples=4, limit=0.01), calibration("lenet"))


NO_MISSES = torch.zeros(3, 1, 400)


def test_the_average_is_left_for_a_damping_that_is_better_beyond_chance() -> None:
    draw = torch.Generator().manual_seed(0)
    shared, own = torch.rand(400, generator=draw), torch.rand(3, 400, generator=draw) - 0.5
    own -= own.mean(1, keepdim=True)
    errors = shared + 0.2 * own  # of one mean, and noise that is their own
    errors[0] += 0.5
    dampings, position = (0.0, 1.0, inf), [0, 2, 1]
    errors[1] -= 0.006  # one and a half standard errors of the difference: chance
    assert chosen(dampings, errors[:, None], NO_MISSES) == 2
    errors[1] -= 0.006  # three, though a small part of what inputs differ by
    assert chosen(dampings, errors[:, None], NO_MISSES) == 1
    moved = errors[position, None]
    assert chosen([dampings[i] for i in position], moved, NO_MISSES) == 2  # in any order
    errors[0] = float("nan")
    assert chosen(dampings, errors[:, None], NO_MISSES) == 1
    assert chosen((0.5,), errors[1:2, None], NO_MISSES[:1]) == 0


def test_a_damping_that_is_worse_for_one_set_of_lost_slots_is_not_taken() -> None:
    draw = torch.Generator().manual_seed(0)
    errors = torch.rand(400, generator=draw).expand(3, 2, 400).clone()
    errors[0] -= torch.tensor([0.3, -0.01])[:, None]  # best on the whole; the second set suffers
    errors[1] -= torch.tensor([0.1, 0.0])[:, None]
    noise = 0.01 * (torch.rand(3, 2, 400, generator=draw) - 0.5)
    assert chosen((0.0, 1.0, inf), errors + noise, NO_MISSES) == 1


def test_a_damping_that_misses_more_classes_is_not_taken() -> None:
    errors = torch.tensor([0.1, 0.2, 0.3]).expand(1, 400, 3).permute(2, 0, 1)
    misses = NO_MISSES.clone()
    assert chosen((0.0, 1.0, inf), errors, misses) == 0
    misses[0, 0, 7] = 0.5
    assert chosen((0.0, 1.0, inf), errors, misses) == 1
    misses[2, 0, 7] = 0.5
    assert chosen((0.0, 1.0, inf), errors, misses) == 0


def test_errors_of_decoded_answers_are_those_of_every_set_that_loses_a_model() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = torch.rand(5, 2, 3, generator=draw)
    rows = ((0.5, 0.5), (0.25, 0.75))
    coded = torch.einsum("rk,mkc->mrc", torch.tensor(rows), truth)
    errors, misses = decode_errors(rows, torch.cat([truth, coded], 1))
    assert errors.max() < 1e-10
    assert not misses.any()
    coded[:, 1] += 0.1
    errors, misses = decode_errors(rows, torch.cat([truth, coded], 1))
    assert errors.shape == misses.shape == (7, 5)  # one model; both; one and a coded one
    one = 3 * (0.1 / 0.75) ** 2  # only the second coded model is left, and model 0
    assert torch.isclose(errors, torch.tensor(one)).all(1).sum() == 1
    assert not misses.any()  # all entries are wrong by as much
    coded[0, :, truth[0, 0].argmin()] += 10.0
    assert (decode_errors(rows, torch.cat([truth, coded], 1))[1][0] > 0).tolist() == [
        True, False, False, False, False
    ]  # fmt: skip
    coded[0, 0] = torch.inf
    assert all(part.isnan().all() for part in decode_errors(rows, torch.cat([truth, coded], 1)))
