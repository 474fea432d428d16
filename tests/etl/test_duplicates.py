from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import bands
from etl.bands import FoundPart, Words
from etl.duplicates import MOST, NO_PAIRS, Hashes, Pairs, Stars, clusters, pairs, points

RADII = {1: (0, 1, 4, 10), 4: (0, 3, 24, 60), 8: (0, 5, 64, 120)}  # words → bits
WIDTH_AND_RADIUS = st.sampled_from([(words, radius) for words, radii in RADII.items() for radius in radii])


def planted(seed: int, count: int, words: int, radius: int) -> Hashes:
    """Random hashes, and beside most of them some at distances around the radius."""
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**64, (count, words), dtype=np.uint64, endpoint=False)
    near: list[Hashes] = [hashes]
    for distance in (0, 1, max(radius - 1, 0), radius, radius + 1):
        bits = hashes.copy()
        for row in bits[: max(1, count - distance % 3)]:
            for bit in generator.choice(64 * words, distance, replace=False).tolist():
                row[bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
        near.append(bits)
    return generator.permutation(np.concatenate(near))


def distances(hashes: Hashes) -> np.ndarray:
    return np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(-1).astype(int)


def brute_force(hashes: Hashes, radius: int) -> list[tuple[int, int, int]]:
    table = distances(hashes)
    return [
        (i, j, int(table[i, j])) for i in range(len(hashes)) for j in range(i + 1, len(hashes)) if table[i, j] <= radius
    ]


def listed(found: Pairs) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in found), strict=True))


def words(*values: int) -> Hashes:
    return np.array(values, np.uint64).reshape(-1, 1)


def stars_of(hashes: Hashes, radius: int, preference: Any = None) -> Stars:
    ranked = np.arange(len(hashes)) if preference is None else np.array(preference)
    distinct, point = points(hashes)
    return clusters(point, pairs(distinct, radius), ranked)


class TestPoints:
    """The distinct hashes in order, and which of them each image has: as NumPy's own, slower, function says."""

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10**6), st.integers(0, 40), st.sampled_from([1, 4, 8]))
    def test_they_are_those_of_unique(self, seed: int, count: int, width: int):
        generator = np.random.default_rng(seed)
        hashes = generator.integers(0, 3, (count, width), np.uint64) << np.uint64(62)
        distinct, point = np.unique(hashes, axis=0, return_inverse=True)
        found = points(hashes)
        assert found[0].tolist() == distinct.tolist()
        assert found[1].tolist() == point.reshape(-1).tolist()


class TestPairs:
    """All pairs within the radius, each once, and no other: at every radius and width."""

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 20), WIDTH_AND_RADIUS)
    def test_they_are_those_of_comparing_all(self, seed: int, count: int, asked: tuple[int, int]):
        width, radius = asked
        hashes = np.unique(planted(seed, count, width, radius), axis=0)
        assert listed(pairs(hashes, radius)) == brute_force(hashes, radius)

    @pytest.mark.parametrize("width", RADII)
    def test_many_hashes_close_together_are_all_compared(self, width: int):
        generator = np.random.default_rng(width)
        hashes = np.zeros((300, width), np.uint64)
        hashes[:, -1] = generator.choice(1 << 12, 300, replace=False)
        expected = brute_force(hashes, 3)
        assert len(expected) > 1000
        assert listed(pairs(hashes, 3)) == expected

    def test_several_blocks_lose_none(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("etl.duplicates.BLOCK", 64)
        hashes = np.unique(planted(3, 30, 4, 24), axis=0)
        assert listed(pairs(hashes, 24)) == brute_force(hashes, 24)

    @pytest.mark.parametrize("width", RADII)
    @pytest.mark.parametrize("count", [0, 1])
    def test_of_none_or_one_there_are_none(self, width: int, count: int):
        assert listed(pairs(np.zeros((count, width), np.uint64), 4)) == []

    @pytest.mark.parametrize(("width", "radius"), [(1, 63), (4, 255), (8, 511)])
    def test_the_largest_radius_leaves_out_only_opposites(self, width: int, radius: int):
        top = np.uint64(2**64 - 1)
        hashes = np.array([[0] * width, [top] * width, [0] * (width - 1) + [1]], np.uint64)
        assert [pair[:2] for pair in listed(pairs(hashes, radius))] == [(0, 2), (1, 2)]

    def test_more_hashes_than_an_index_holds_are_refused(self):
        with pytest.raises(ValueError, match="134,217,729 hashes; at most 134,217,728 at a time"):
            pairs(np.broadcast_to(np.uint64(0), (MOST + 1, 1)), 4)

    def test_where_there_are_none_there_are_none(self):
        assert pairs(np.array([[0], [2**64 - 1]], np.uint64), 8) is NO_PAIRS


class TestTurned:
    """A pair is as near as it gets, mirrored and turned."""

    def test_the_smallest_distance_of_all_turns_counts(self):
        hashes = words(0b0000, 0b1111, 0b111111)
        turned = [words(0b1, 0b1, 0b1), words(0b0, 0b11, 0b111)]
        assert listed(pairs(np.repeat(hashes, 2, 1), 6, [np.repeat(each, 2, 1) for each in turned])) == [
            (0, 1, 2),  # turned once: 1 bit, in both words
            (0, 2, 2),
            (1, 2, 2),  # turned twice
        ]

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.integers(2, 12))
    def test_it_is_comparing_all_with_all_turns(self, seed: int, count: int):
        hashes = np.unique(planted(seed, count, 4, 24), axis=0)
        turned = [np.roll(hashes, turn, 1) for turn in (1, 2)]
        best = np.minimum.reduce([np.bitwise_count(hashes[:, None] ^ each[None]).sum(-1) for each in (hashes, *turned)])
        expected = [(i, j, int(best[i, j])) for i, j in np.argwhere(best <= 24).tolist() if i < j]
        assert listed(pairs(hashes, 24, turned)) == expected


class TestHints:
    """Above a number of images, only those near in a hash of 64 bits are compared whole."""

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10**6), st.integers(2, 14))
    def test_found_are_those_that_are_near_in_either_hint(self, seed: int, count: int):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("etl.duplicates.EXACT", 1)
            patch.setattr("etl.duplicates.BLOCK", 8)
            hashes = np.unique(planted(seed, count, 8, 64), axis=0)
            hints = tuple(planted(seed + n, count, 1, near)[: len(hashes), 0] for n, near in ((1, 8), (2, 4)))
            hints = tuple(np.resize(each, len(hashes)) for each in hints)
            near = [np.bitwise_count(each[:, None] ^ each[None]) for each in hints]
            hinted = (near[0] <= 8) | (near[1] <= 4)
            expected = [pair for pair in brute_force(hashes, 64) if hinted[pair[0], pair[1]]]
            assert listed(pairs(hashes, 64, hints=(hints[0], hints[1]))) == expected

    def test_up_to_that_number_hints_are_not_needed(self):
        hashes = np.unique(planted(5, 20, 8, 64), axis=0)
        far = np.arange(len(hashes), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        assert listed(pairs(hashes, 64, hints=(far, far))) == brute_force(hashes, 64)


class TestClusters:
    """Stars: each member is within the radius of the image that is kept."""

    def test_a_chain_is_no_cluster(self):
        found = stars_of(words(0b0000, 0b0011, 0b1111), 2)
        assert found.centre.tolist() == [0, 0, 2]
        assert found.bits.tolist() == [0, 2, 0]
        assert found.group.tolist() == [0, 0, 0]

    def test_the_preferred_image_is_the_centre(self):
        found = stars_of(words(0b0000, 0b0011, 0b1111), 2, [1, 0, 2])
        assert found.centre.tolist() == [1, 1, 1]

    def test_equal_hashes_are_one_cluster_at_radius_0(self):
        found = stars_of(words(7, 9, 7, 7), 0, [3, 0, 1, 2])
        assert found.centre.tolist() == [2, 1, 2, 2]
        assert found.bits.tolist() == [0, 0, 0, 0]
        assert found.group.tolist() == [0, 1, 0, 0]

    def test_a_hundred_thousand_equal_hashes_cost_what_one_costs(self):
        hashes = np.zeros((100_000, 8), np.uint64)
        assert set(stars_of(hashes, 64).centre.tolist()) == {0}

    def test_a_hundred_thousand_equal_hashes_are_one_point_and_no_comparison(self, monkeypatch: pytest.MonkeyPatch):
        words = np.concatenate([np.full(100_000, 7, np.uint64), 8 ** np.arange(2, 20, dtype=np.uint64)])
        distinct, point = points(words.reshape(-1, 1))
        assert len(distinct) == 19
        searched: list[int] = []
        near = bands.near

        def counted(some: Words, radius: int) -> Iterator[FoundPart]:
            searched.append(len(some))
            return near(some, radius)

        monkeypatch.setattr("etl.bands.near", counted)
        star = clusters(point, pairs(distinct, 8), np.arange(len(words)))
        assert searched == [19]
        assert set(star.centre[:100_000].tolist()) == {0}

    @pytest.mark.parametrize("width", RADII)
    def test_no_images_have_no_clusters(self, width: int):
        assert stars_of(np.zeros((0, width), np.uint64), 4).centre.tolist() == []

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 12), WIDTH_AND_RADIUS)
    def test_star_property(self, seed: int, count: int, asked: tuple[int, int]):
        width, radius = asked
        hashes = planted(seed, count, width, radius)
        preference = np.random.default_rng(seed + 1).permutation(len(hashes))
        found, table = stars_of(hashes, radius, preference), distances(hashes)
        for image, (centre, bits) in enumerate(zip(found.centre.tolist(), found.bits.tolist(), strict=True)):
            assert table[image, centre] == bits <= radius
            assert found.centre[centre] == centre
            assert preference[centre] <= preference[image]
            assert found.group[image] == found.group[centre] <= image
        centres = sorted(set(found.centre.tolist()))
        apart = table[np.ix_(centres, centres)] > radius
        assert apart.sum() == len(centres) * (len(centres) - 1)  # two kept images are never duplicates

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 12), WIDTH_AND_RADIUS)
    def test_the_order_of_the_images_does_not_matter(self, seed: int, count: int, asked: tuple[int, int]):
        width, radius = asked
        hashes = planted(seed, count, width, radius)
        generator = np.random.default_rng(seed + 2)
        preference, order = generator.permutation(len(hashes)), generator.permutation(len(hashes))
        one, other = stars_of(hashes, radius, preference), stars_of(hashes[order], radius, preference[order])
        assert order[other.centre].tolist() == one.centre[order].tolist()
        assert other.bits.tolist() == one.bits[order].tolist()
        same = one.group[order][:, None] == one.group[order][None]
        assert ((other.group[:, None] == other.group[None]) == same).all()

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 12), WIDTH_AND_RADIUS)
    def test_groups_are_the_connected_components(self, seed: int, count: int, asked: tuple[int, int]):
        width, radius = asked
        hashes = planted(seed, count, width, radius)
        near = distances(hashes) <= radius
        reach = near
        for _ in range(len(hashes)):
            reach = (reach.astype(int) @ near.astype(int)) > 0
        expected = [int(row.argmax()) for row in reach]
        assert stars_of(hashes, radius).group.tolist() == expected
