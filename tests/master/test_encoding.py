"""What slots are sent: mixes made here, or what a worker needs to make them."""

import torch
from torch import Tensor

import codes
from codes.contract_bits import noise
from codes.stages import mixed
from master.encoding import Encoder


def stem(queries: Tensor) -> Tensor:
    return torch.tanh(queries.flatten(1)[:, :5])


def test_workers_can_make_the_mix_that_the_master_makes() -> None:
    code = codes.make("split-lagrange", k=3, n=5)
    queries = noise(4, 3, 2, 4)
    here, there = (Encoder(code, stem, at).shards(queries) for at in (False, True))
    for (mix,), (sent, coefficients) in zip(here, there, strict=True):
        assert torch.equal(sent, queries)
        features = stem(sent.flatten(0, 1)).view(4, 3, 5)
        torch.testing.assert_close(mixed(features, coefficients), mix)


def test_own_slots_are_sent_the_query_itself_in_both_designs() -> None:
    code = codes.make("split-lagrange", k=3, n=5, systematic=True)
    queries = noise(2, 3, 8)
    for at_workers in (False, True):
        shards = Encoder(code, stem, at_workers).shards(queries)
        for j in range(3):
            (own,) = shards[j]
            assert torch.equal(own, queries[:, j])


def test_a_stem_is_slow_where_it_runs_here() -> None:
    code = codes.make("split-lagrange", k=3, n=5)
    assert Encoder(code, stem).is_slow
    assert not Encoder(code, stem, at_workers=True).is_slow
    assert not Encoder(code).is_slow
