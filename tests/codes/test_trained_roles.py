"""Codes whose extra slots run models of their own: what those slots are sent, by hand."""

import numpy as np
import pytest
import torch

import codes
from codes.assisted import Assisted
from codes.backup import Backup
from codes.calibrated import Calibrated, measure_moments
from codes.contract_bits import noise
from codes.mosaic import Mosaic, mosaic
from codes.parity import Parity


def test_two_images_are_halved_side_by_side() -> None:
    left = torch.arange(16.0).reshape(1, 4, 4)
    right = torch.full((1, 4, 4), 9.0)
    made = mosaic(torch.stack([left, right])[None])
    assert made[0, 0, :, :2].tolist() == [[0.5, 2.5], [4.5, 6.5], [8.5, 10.5], [12.5, 14.5]]
    assert (made[0, 0, :, 2:] == 9).all()


def test_four_images_are_quadrants_and_three_leave_one_empty() -> None:
    queries = torch.arange(1.0, 5.0)[None, :, None, None, None].expand(1, 4, 2, 6, 6)
    made = mosaic(queries)
    assert made[0, 1, ::3, ::3].tolist() == [[1, 2], [3, 4]]
    assert mosaic(queries[:, :3])[0, 1, ::3, ::3].tolist() == [[1, 2], [3, 0]]


def test_a_further_parity_sees_the_queries_in_other_places() -> None:
    queries = torch.arange(1.0, 5.0)[None, :, None, None, None].expand(1, 4, 1, 6, 6)
    assert mosaic(queries, 1)[0, 0, ::3, ::3].tolist() == [[4, 1], [2, 3]]
    shards = Mosaic(4, 6).encode(queries)
    assert torch.equal(shards[5], mosaic(queries, 1))


def test_sides_that_do_not_divide_share_out_their_pixels() -> None:
    queries = torch.arange(1.0, 4.0)[None, :, None, None, None].expand(1, 3, 1, 5, 7)
    made = mosaic(queries)[0, 0]
    assert (made[:2, :3] == 1).all()
    assert (made[:2, 3:] == 2).all()
    assert (made[2:, :3] == 3).all()
    assert (made[2:, 3:] == 0).all()


def test_a_mosaic_takes_images_that_are_large_enough() -> None:
    with pytest.raises(ValueError, match="at least 2 x 2 pixels for a mosaic of k = 4, not 1 x 8"):
        Mosaic(4, 5).encode(torch.zeros(1, 4, 1, 1, 8))
    with pytest.raises(ValueError, match=r"images \[g, q, c, h, w\], not \[1, 4, 8\]"):
        Mosaic(4, 5).encode(torch.zeros(1, 4, 8))


def test_a_student_is_sent_all_queries_and_gives_what_is_lost() -> None:
    code = Backup(2, 3)
    queries = noise(3, 2, 1, 4, 4)
    shards = code.encode(queries)
    assert torch.equal(shards[2], queries)
    own, student = noise(3, 5, seed=1), noise(3, 2, 5, seed=2)
    decoded = code.decode([own, student], [0, 2])
    assert torch.equal(decoded[:, 0], own)
    assert torch.equal(decoded[:, 1], student[:, 1])
    assert code.recoverable([2])
    assert not code.recoverable([0])


def test_trained_parities_subtract() -> None:
    code = Parity(3, 4, trained=True)
    assert code.roles == ("base", "base", "base", "parity-0")
    results = [noise(2, 4, seed=slot) for slot in range(4)]
    lost = code.decode([results[0], results[2], results[3]], [0, 2, 3], [1])[:, 0]
    wanted = 3 * results[3] - results[0] - results[2]
    np.testing.assert_allclose(lost, wanted, atol=1e-5)


def test_a_parity_that_gives_each_answer_survives_any_loss() -> None:
    code = codes.make("mosaic", k=4, n=5, answers="each")
    each = noise(2, 4, 3)
    assert torch.allclose(code.decode([each], [4]), each)


def test_results_of_the_wrong_width_are_named() -> None:
    with pytest.raises(ValueError, match=r"slot 2 must be .*\[3, 2, 5\]"):
        Backup(2, 3).decode([noise(3, 5), noise(3, 5), noise(3, 3, 5)], [0, 1, 2])


def test_a_helper_is_sent_all_queries_and_returns_a_row_more() -> None:
    code = Assisted(2, 3)
    assert code.roles == ("base", "base", "helper")
    assert code.widths == (0, 0, 3)
    queries = noise(3, 2, 1, 4, 4)
    assert torch.equal(code.encode(queries)[2], queries)
    helper, own = noise(3, 3, 5, seed=1), noise(3, 5, seed=2)
    decoded = code.decode([own, helper], [1, 2])
    assert torch.equal(decoded[:, 1], own)
    assert torch.equal(decoded[:, 0], helper[:, 0])


def test_without_a_student_the_parity_decodes() -> None:
    code = Assisted(3, 6)
    assert code.roles == ("base",) * 3 + ("student", "student", "parity-0")
    queries = noise(2, 3, 1, 6, 6)
    assert torch.equal(code.encode(queries)[5], mosaic(queries))
    answers = noise(2, 3, 5)
    results = [answers[:, 0], answers[:, 2], answers.mean(1)]
    torch.testing.assert_close(code.decode(results, [0, 2, 5]), answers)
    students = [noise(2, 3, 5, seed=seed) for seed in (1, 2)]
    decoded = code.decode([answers[:, 0], *students, answers.mean(1)], [0, 3, 4, 5])
    torch.testing.assert_close(decoded[:, 1], (students[0] + students[1])[:, 1] / 2)
    with pytest.raises(codes.NotRecoverable, match="any 3 slots give all answers"):
        code.decode([answers[:, 0], answers.mean(1)], [0, 5])


def test_calibrated_side_information_is_better_than_either_alone() -> None:
    """A student whose errors the parity shares: the answer that came tells them."""
    code = Assisted(2, 3)
    generator = torch.Generator().manual_seed(0)

    def helper(groups: torch.Tensor) -> torch.Tensor:
        answers = groups.mean((-2, -1))[:, :, :1]  # one channel, one entry
        shared = torch.randn(len(groups), 1, 1, generator=generator)
        students = answers + 0.1 * shared
        return torch.cat([students, answers.mean(1, keepdim=True)], 1)

    def base(images: torch.Tensor) -> torch.Tensor:
        return images.mean((-2, -1))[:, :1]

    queries = torch.randn(2000, 1, 2, 2, generator=generator)
    moments = measure_moments(code, {"base": base, "helper": helper}, queries)
    calibrated = Calibrated(code, moments)
    assert calibrated.expected_error([1, 2])[0] < 1e-3
    assert calibrated.expected_error([2])[0] < calibrated.expected_error([1])[0]
