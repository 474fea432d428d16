"""The search for near pairs among many 64-bit hashes: exact whatever the hashes are, and bounded."""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import bands
from etl.bands import WORDS, Words, near

Pairs = npt.NDArray[np.integer[Any]]  # (N, 3): both ends, the first smaller, and the bits that differ; sorted
MANY = 20_000


def uniform(count: int, seed: int = 0) -> Words:
    return np.unique(np.random.default_rng(seed).integers(0, 2**64, count, np.uint64))


def skewed(count: int, seed: int = 0) -> Words:
    """As of photographs: neighbouring bits go together, some bits hardly ever change, and there are crowds."""
    generator = np.random.default_rng(seed)
    latent = np.cumsum(generator.normal(size=(count, 64)), axis=1) / np.sqrt(np.arange(1, 65))
    latent += np.linspace(-2, 2, 64)[generator.permutation(64)]
    return np.unique(np.packbits(latent > 0, axis=1).view(">u8")[:, 0].astype(np.uint64))


def changed(words: Words, bits: int, generator: np.random.Generator) -> Words:
    """Each with exactly so many bits changed."""
    flips = np.array(
        [sum(1 << bit for bit in generator.choice(64, bits, replace=False).tolist()) for _ in words], np.uint64
    )
    return words ^ flips


def compared(words: Words, radius: int) -> Pairs:
    """All with all, row by row, in no other way than by counting bits."""
    rows = [np.bitwise_count(words[i + 1 :] ^ word) for i, word in enumerate(words)]
    close = [np.flatnonzero(row <= radius) for row in rows]
    first = np.repeat(np.arange(len(words)), [len(each) for each in close])
    second = np.concatenate([each + i + 1 for i, each in enumerate(close)])
    return np.stack([first, second, np.concatenate([row[each] for row, each in zip(rows, close, strict=True)])], axis=1)


def searched(words: Words, radius: int) -> Pairs:
    """All parts of the search in one table; a pair that was given twice is in it twice."""
    parts = [np.stack([np.minimum(i, j), np.maximum(i, j), bits], axis=1) for i, j, bits in near(words, radius)]
    table = np.concatenate([np.empty((0, 3), np.int64), *parts])
    return table[np.lexsort(table.T[::-1])]


def planned(patch: pytest.MonkeyPatch, groups: int, agree: int) -> None:
    """Of all plans only those with so many groups, and so many bands that agree."""
    work = bands._work  # pyright: ignore[reportPrivateUsage]

    def only(plan: Any, differs: Words, count: int) -> float:
        return work(plan, differs, count) if (len(plan.groups), plan.agree) == (groups, agree) else np.inf

    patch.setattr("etl.bands._work", only)


class TestManyHashes:
    """Twenty thousand hashes have the pairs that comparing all with all finds, each once."""

    @pytest.mark.parametrize(
        ("make", "radius"), [*((uniform, n) for n in (0, 1, 2, 4, 8, 12)), *((skewed, n) for n in (1, 3, 4, 7, 8))]
    )
    def test_they_are_those_of_comparing_all(self, make: Any, radius: int):
        generator = np.random.default_rng(radius)
        words = make(MANY - 2000)
        copies = np.concatenate([changed(words[:200], bits, generator) for bits in range(1, 11)])
        words = generator.permutation(np.unique(np.concatenate([words, copies])))
        expected = compared(words, radius)
        assert len(expected) >= 200 * min(radius, 10)
        assert np.array_equal(searched(words, radius), expected)

    @pytest.mark.parametrize("radius", [4, 8])
    def test_every_planted_pair_is_found_among_two_hundred_thousand(self, radius: int):
        generator = np.random.default_rng(radius)
        words = uniform(200_000)[: 200_000 - 1000]
        copies = changed(words[:1000], radius, generator)
        first, second, bits = searched(np.concatenate([words, copies]), radius).T
        planted = (second - first == len(words)) & (first < 1000)
        assert planted.sum() == 1000
        assert set(bits[planted].tolist()) == {radius}

    @pytest.mark.parametrize("count", [0, 1])
    def test_of_none_or_one_there_are_none(self, count: int):
        assert list(near(np.zeros(count, np.uint64), 4)) == []


class TestEveryPlan:
    """Whatever number of bands must agree, the pairs are the same: the plan decides only what the search takes."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, 30),
        st.integers(1, bands.MOST_GROUPS),
        st.integers(0, bands.MOST_AGREE),
        st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=30, unique=True),
        st.integers(0, 10**6),
    )
    def test_they_are_those_of_comparing_all(self, radius: int, groups: int, agree: int, values: list[int], seed: int):
        generator = np.random.default_rng(seed)
        words = np.array(values, np.uint64)
        words = np.concatenate([words, *(changed(words, bits, generator) for bits in {1, radius, radius + 1})])
        words = generator.permutation(np.unique(words))
        with pytest.MonkeyPatch.context() as patch:
            agree = agree if radius <= 12 else min(agree, 2)
            planned(patch, min(groups, radius + 1) if agree else 1, agree)
            patch.setattr("etl.bands.WORDS", int(generator.choice([1, 7, WORDS])))
            patch.setattr("etl.bands.BLOCK", int(generator.choice([1, 7, bands.BLOCK])))
            assert np.array_equal(searched(words, radius), compared(words, radius))

    def test_skewed_hashes_get_other_bands_than_uniform_ones(self):
        plans = [bands._plan(words, 4) for words in (uniform(MANY), skewed(MANY))]  # pyright: ignore[reportPrivateUsage]
        masks = [np.concatenate(plan.groups).tolist() for plan in plans]
        assert [sum(each) for each in masks] == [2**64 - 1] * 2
        assert masks[0] != masks[1]

    @pytest.mark.parametrize(
        ("radius", "groups"), [(radius, n) for radius in (0, 1, 2, 4, 8, 12) for n in (1, 2, 3) if n <= radius + 1]
    )
    def test_bands_share_out_all_bits_whatever_the_groups(self, radius: int, groups: int):
        plan = bands._shared(np.arange(64), radius, groups, 2)  # pyright: ignore[reportPrivateUsage]
        assert [len(plan.groups), sum(np.concatenate(plan.groups).tolist())] == [groups, 2**64 - 1]
        assert sum(len(each) - plan.agree + 1 for each in plan.groups) == radius + 1


class TestCrowds:
    """Hashes that are all alike: a thousand frames of a still camera."""

    def test_a_crowd_in_which_every_bucket_is_large(self):
        bits = np.array([1 << a | 1 << b for a, b in combinations(range(64), 2)], np.uint64)
        words = np.random.default_rng(0).permutation(bits)
        assert np.array_equal(searched(words, 3), compared(words, 3))
        assert len(searched(words, 4)) == len(bits) * (len(bits) - 1) // 2

    def test_batches_of_pairs_stay_bounded(self):
        words = np.arange(1 << 12, dtype=np.uint64)
        with pytest.MonkeyPatch.context() as patch:
            planned(patch, 1, 0)
            lengths = [len(first) for first, _, _ in near(words, 12)]
        assert sum(lengths) == len(words) * (len(words) - 1) // 2
        assert max(lengths) <= 2 * WORDS + len(words)
