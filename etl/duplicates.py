"""Clusters of near-identical images, from their hashes alone: exact at every radius, whatever the order of the files.

`pairs` finds all pairs of hashes within a radius, `clusters` makes stars of them: each member is within the radius of
the image that is kept, so a cluster is never a chain of images that grow less and less alike.
"""

import math
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Hashes = npt.NDArray[np.uint64]  # (N, W): W words of 64 bits
Indices = npt.NDArray[np.integer[Any]]

BLOCK = 1 << 21  # hash comparisons at a time: their 16 MB of distances stay in a shared cache


class Pairs(NamedTuple):
    """Pairs first < second within the radius, each once, sorted; and how many bits differ."""

    first: Indices
    second: Indices
    bits: Indices


class Stars(NamedTuple):
    """For each image: the image its cluster is kept as, the distance to it, and its group."""

    centre: Indices  # own index where it has no duplicate, or is the one kept
    bits: Indices  # 0 for the centre itself
    group: Indices  # smallest index that it is connected to by any pairs: groups share one split


def clusters(hashes: Hashes, radius: int, preference: Indices) -> Stars:
    """Stars of all images within `radius` bits of a kept one; `preference` ranks each image, the lowest kept first.

    Equal hashes are one point: a hundred thousand identical images cost what one costs.
    """
    distinct, point = np.unique(hashes, axis=0, return_inverse=True)
    point = point.reshape(-1)
    order = np.lexsort((preference, point))
    best = order[np.searchsorted(point[order], np.arange(len(distinct)))]  # the image most worth keeping of each point
    smallest = np.full(len(distinct), len(hashes))
    np.minimum.at(smallest, point, np.arange(len(hashes)))
    of_points = stars(len(distinct), pairs(distinct, radius), np.argsort(preference[best]))
    group = np.full(len(distinct), len(hashes))
    np.minimum.at(group, of_points.group, smallest)
    return Stars(best[of_points.centre[point]], of_points.bits[point], group[of_points.group[point]])


def pairs(hashes: Hashes, radius: int) -> Pairs:
    """All pairs of these distinct hashes within `radius` bits: 64-bit ones by bands, wider ones compared in blocks."""
    find = _banded if hashes.shape[1] == 1 else _blocked
    # Ten bytes a pair while they are gathered: ten thousand frames of a still camera make fifty million pairs.
    found = [
        (np.minimum(one, other).astype(np.int32), np.maximum(one, other).astype(np.int32), bits.astype(np.uint16))
        for one, other, bits in (find(hashes, radius) if len(hashes) > 1 else ())
    ]
    if not found:
        return Pairs(*(np.empty(0, np.int64) for _ in Pairs._fields))
    first, second, bits = (np.concatenate([part[i] for part in found]) for i in range(3))
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], bits[order])


def _distance(one: Hashes, other: Hashes) -> Indices:
    return np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64)


Found = Iterator[tuple[Indices, Indices, Indices]]  # both ends of pairs, in any order, and their distances


def _banded(hashes: Hashes, radius: int) -> Found:
    """Pairs of distinct 64-bit hashes, by Manku's generalised pigeonhole.

    Cut the bits into radius + k bands: two hashes within the radius differ in at most `radius` of them, so k agree.
    For every choice of k bands: bring their bits to the top, sort, and compare the neighbours that agree in them.
    A pair is given by the first choice in which it agrees, so that none comes twice.
    G. S. Manku, A. Jain, A. Das Sarma: Detecting Near-Duplicates for Web Crawling, WWW 2007.
    """
    words = hashes[:, 0]
    k = _bands_to_agree(len(words), radius)
    edges = np.linspace(0, 64, radius + k + 1).round().astype(int)
    masks = [np.uint64(((1 << b) - 1) ^ ((1 << a) - 1)) for a, b in pairwise(edges.tolist())]
    chosen = list(combinations(masks, k))
    for number, bands in enumerate(chosen):
        mask = np.uint64(0)
        for band in bands:
            mask |= band
        order = np.argsort(words & mask, kind="stable")
        key, word = (words & mask)[order], words[order]
        alive = np.arange(len(word) - 1)
        for step in range(1, len(word)):
            alive = alive[alive + step < len(word)]
            alive = alive[key[alive] == key[alive + step]]
            if not len(alive):
                break
            close = alive[np.bitwise_count(word[alive] ^ word[alive + step]) <= radius]
            differs = word[close] ^ word[close + step]
            fresh = np.ones(len(close), bool)
            for earlier in chosen[:number]:  # agreed in an earlier choice: given there
                fresh &= (differs & np.bitwise_or.reduce(np.array(earlier))) != 0
            close = close[fresh]
            yield order[close], order[close + step], np.bitwise_count(word[close] ^ word[close + step])


def _bands_to_agree(count: int, radius: int) -> int:
    """The k with the least work: sorts for each choice of bands, and the neighbours that agree by chance."""

    def work(k: int) -> float:
        by_chance = count * count / 2 / 2 ** (64 * k / (radius + k))
        return math.comb(radius + k, k) * (count * math.log2(count + 1) + 4 * by_chance)

    return min(range(1, 5), key=work)


def _blocked(hashes: Hashes, radius: int) -> Found:
    """Pairs of distinct wide hashes, comparing all: the first half of the words decides most, the rest the few left."""
    half = np.ascontiguousarray(hashes[:, : max(1, hashes.shape[1] // 2)].T)
    rows = max(1, BLOCK // len(hashes))
    for start in range(0, len(hashes), rows):
        block = half[:, start : start + rows, None]
        distance = np.zeros((block.shape[1], len(hashes) - start), np.uint16)
        for one, all_others in zip(block, half[:, None, start:], strict=True):
            distance += np.bitwise_count(one ^ all_others)
        first, second = np.nonzero(distance <= radius)
        first, second = first + start, second + start
        ahead = first < second
        first, second = first[ahead], second[ahead]
        bits = _distance(hashes[first], hashes[second])
        close = bits <= radius
        yield first[close], second[close], bits[close]


def stars(count: int, found: Pairs, preference: Indices) -> Stars:
    """Stars among points without equals. `preference` lists all of them, the one most worth keeping first.

    The most preferred point that is in no star yet becomes a centre and takes its neighbours that are in none.
    """
    ends, others = np.concatenate(found[:2]), np.concatenate([found.second, found.first])
    order = np.argsort(ends, kind="stable")
    others, bits = others[order], np.concatenate([found.bits, found.bits])[order]
    starts = np.searchsorted(ends[order], np.arange(count + 1))  # others[starts[i] : starts[i + 1]]: of point i
    centre, distance, taken = np.arange(count), np.zeros(count, np.int64), np.zeros(count, bool)
    for point in preference[(np.diff(starts) > 0)[preference]].tolist():
        if taken[point]:
            continue
        taken[point] = True
        near = slice(starts[point], starts[point + 1])
        free = ~taken[others[near]]
        members = others[near][free]
        centre[members], distance[members], taken[members] = point, bits[near][free], True
    return Stars(centre, distance, _components(count, found))


def _components(count: int, found: Pairs) -> Indices:
    """For each point the smallest that it is connected to."""
    graph = coo_array((np.ones(len(found.first), bool), (found.first, found.second)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    smallest = np.full(label.max(initial=-1) + 1, count)
    np.minimum.at(smallest, label, np.arange(count))
    return smallest[label]
