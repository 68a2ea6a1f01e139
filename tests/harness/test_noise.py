"""Noise by address (oracles 1 to 3 of evolution strategies): known words, the same bits however they are asked for."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats

from harness.noise import Noise, normals_torch


def test_words_are_those_of_philox() -> None:
    """NumPy's generator at the same key and counter, block by block, and our own arithmetic in torch."""
    noise = Noise(3, ["a"])
    address = noise._addresses["a"]
    drawn = noise.normal(5, 2, "a", (64,))
    counter = sum(part << (64 * place) for place, part in enumerate((0, 5, 2, address))) - 1
    words = np.random.Philox(key=noise.key[0] | noise.key[1] << 64, counter=counter).random_raw(32)
    again = normals_torch(noise.key, (0, 5, 2, address), 32, torch.device("cpu"))
    assert torch.equal(drawn, again)
    table = torch.from_numpy(stats.norm.ppf((np.arange(65536) + 0.5) / 65536)).float() / np.sqrt(2)
    halves = torch.from_numpy(words.view(np.uint16).astype(np.int64)).view(-1, 2)
    torch.testing.assert_close(drawn, table[halves].sum(1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("start", [0, 1, 7, 8, 37, 1000])
@pytest.mark.parametrize("length", [1, 9, 250])
def test_any_part_is_the_part_of_the_whole(start: int, length: int) -> None:
    """Oracle 1: a shard, a row, a fused tensor split in two get the numbers that the whole tensor has there."""
    noise = Noise(0, ["w"])
    whole = noise.normal(1, 1, "w", (50, 30))
    assert torch.equal(noise.normal(1, 1, "w", (length,), start=start), whole.flatten()[start : start + length])


def test_order_and_neighbours_do_not_count() -> None:
    """Oracle 1: the same numbers whatever was drawn before, and whatever other names there are."""
    first, second = Noise(9, ["a", "b"]), Noise(9, ["b", "c", "a"])
    wanted = first.normal(4, 3, "a", (33,))
    second.normal(0, 0, "c", (5,))
    second.normal(4, 3, "b", (1001,))
    assert torch.equal(second.normal(4, 3, "a", (33,)), wanted)


def test_every_address_has_its_own_noise() -> None:
    """Oracle 2: tensors, members, iterations and runs whose seeds differ by one are uncorrelated; 0 is a seed."""
    shape = (20_000,)
    drawn = [
        Noise(seed, ["a", "b"]).normal(iteration, member, name, shape).numpy()
        for seed, iteration, member, name in [
            (0, 0, 0, "a"), (0, 0, 0, "b"), (0, 0, 1, "a"), (0, 1, 0, "a"), (0, 1, 1, "a"), (1, 0, 0, "a"),
            (42, 0, 0, "a"),
        ]
    ]  # fmt: skip
    for one, other in combinations(drawn, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(shape[0])


def test_two_names_never_share_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are different by construction, or there is no search."""
    monkeypatch.setattr("harness.noise._address", lambda name: len(name))
    Noise(0, ["a", "bb"])
    with pytest.raises(ValueError, match="same address"):
        Noise(0, ["a", "b"])


def test_moments_are_those_of_a_standard_normal() -> None:
    """Oracle 3: mean, variance, skewness, kurtosis and the distribution itself."""
    drawn = Noise(1, ["a"]).normal(0, 0, "a", (1_000_000,)).double().numpy()
    n = len(drawn)
    assert abs(drawn.mean()) < 4 / np.sqrt(n)
    assert abs(drawn.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(drawn)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(drawn)) < 4 * np.sqrt(24 / n)
    assert stats.kstest(drawn[:100_000], "norm").pvalue > 1e-3
