"""The search for near pairs among many 64-bit hashes: exact whatever they are, a part at a time.

By Manku's generalised pigeonhole: share the 64 bits out among radius + k bands; two hashes within the radius differ in
at most `radius` of them, so k agree. For every choice of k bands, bring the words that agree in them together
(`_buckets`) and compare those (`_neighbours`). Which k, and which bits to a band, is judged by a sample of the words
(`_plan`); comparing all with all is one of the plans.
G. S. Manku, A. Jain, A. Das Sarma: Detecting Near-Duplicates for Web Crawling, WWW 2007.

What it gains over comparing all with all, which takes 3.9 s for 100,000 uniform hashes, a hundred times that for a
million: 100,000 within 4 bits take 0.04 s, within 8 bits 0.14 s, a million within 4 bits 0.36 s (seconds of one core of
an EPYC of 2.6 GHz, median of three). `python -m benchmarks.near_pairs` has the rest, and the memory.

`duplicates` puts the pairs in order, makes clusters of them, and has the search among wider hashes.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array

Words = npt.NDArray[np.uint64]  # (N,)
Indices = npt.NDArray[np.integer[Any]]
FoundPart = tuple[Indices, Indices, Indices]  # both ends of pairs, in any order, and their distances

SAMPLE = 1 << 17  # pairs that the bands are judged by: 0.03 s of a million's 0.5 s (radius 4) and 5 s (radius 8)
MOST_AGREE = 5  # bands that are considered: up to three were chosen for a million hashes at radius 4 and 8
BUCKETING, COMPARING = 25.0, 2.0  # nanoseconds a word and a pair, of one core of an EPYC of 2.6 GHz
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplied by it, all bits bear upon the highest ones
WORDS = 1 << 17  # words, or pairs of them, at a time: their 1 MB stays near the core


class Plan(NamedTuple):
    """Masks that share out the 64 bits, and how many of them agree in every pair within the radius."""

    bands: Words
    agree: int


ALL_WITH_ALL = Plan(np.empty(0, np.uint64), 0)


def near(words: Words, radius: int) -> Iterator[FoundPart]:
    """Pairs of these distinct words within `radius` bits, each once, in no order, a part at a time.

    A pair is given by the first choice of bands in which it agrees, so that none comes twice.
    """
    if len(words) < 2:
        return
    bands, k = _plan(words, radius)
    for chosen in combinations(range(len(bands)), k):
        mask = np.bitwise_or.reduce(bands[list(chosen)])
        earlier = [bands[i] for i in range(max(chosen, default=0)) if i not in chosen]
        word, index, sizes = _buckets(words, mask)
        for first, second in _batches(_neighbours(word, sizes, radius)):
            differs = word[first] ^ word[second]
            fresh = (differs & mask) == 0
            for band in earlier:
                fresh &= (differs & band) != 0
            yield index[first[fresh]], index[second[fresh]], np.bitwise_count(differs[fresh])


def _plan(words: Words, radius: int) -> Plan:
    """The bands with the least work, judged by random pairs of the words themselves.

    The hashes of photographs are skewed and neighbouring bits go together: what serves uniform hashes best serves
    these badly, and shuffled bits make bands that agree less often (dhash of a million blends of photographs, radius 4:
    1.4 s; 2.2 s in the bits' own order).
    """
    generator = np.random.default_rng(0)
    one = generator.integers(0, len(words), min(len(words), SAMPLE))
    other = (one + generator.integers(1, len(words), len(one))) % len(words)
    differs = words[one] ^ words[other]
    orders = [np.arange(64), *(generator.permutation(64) for _ in range(7))]
    plans = [Plan(_bands(order, radius + k), k) for k in range(1, MOST_AGREE + 1) for order in orders]
    return min([ALL_WITH_ALL, *plans], key=lambda plan: _work(plan, differs, len(words)))


def _bands(order: Indices, count: int) -> Words:
    """Masks that share out the 64 bits in this order, of as equal sizes as can be."""
    edges = np.linspace(0, 64, count + 1).round().astype(int)
    bits = np.left_shift(np.uint64(1), order.astype(np.uint64))
    return np.array([np.bitwise_or.reduce(bits[start:stop]) for start, stop in pairwise(edges.tolist())])


def _work(plan: Plan, differs: Words, count: int) -> float:
    """Nanoseconds, roughly: for the buckets of every choice of bands, and for the pairs that meet in them."""
    agree = sum(((differs & band) == 0).astype(np.int8) for band in plan.bands)
    choices = np.array([math.comb(bands, plan.agree) for bands in range(len(plan.bands) + 1)])
    meet = float(choices[agree].mean()) if plan.agree else 0.5
    return choices[-1] * count * BUCKETING + count * count / 2 * meet * COMPARING


def _buckets(words: Words, mask: np.uint64) -> tuple[Words, Indices, Indices]:
    """Words that agree in the bits of the mask side by side, their indices, and the sizes of the buckets they lie in.

    A bucket is a hash of those bits, one for two to four words; the largest come first, those of one word are left out.
    scipy's conversion to rows is a counting sort in C that moves words and indices in one go: with all of this 22 ms a
    million, where np.argsort takes 82 ms.
    """
    bits = max(len(words).bit_length() - 2, 1)
    bucket = ((words & mask) * SPREAD >> np.uint64(64 - bits)).astype(np.int32)
    sizes = np.bincount(bucket, minlength=1 << bits)
    order = _largest_first(sizes)
    row = np.empty(len(sizes), np.int32)
    row[order] = np.arange(len(sizes))
    places = row.take(bucket), np.arange(len(words), dtype=np.int32)
    table: Any = coo_array((words, places), shape=(len(sizes), len(words)))
    table.has_canonical_format = True  # no two at one place: spares a look for them
    rows, sizes = table.tocsr(), sizes[order]
    shared = sizes[: np.count_nonzero(sizes > 1)]
    count = int(shared.sum())
    return rows.data[:count], rows.indices[:count], shared


def _largest_first(sizes: Indices) -> Indices:
    """Their order; in one byte, which is sorted by counting, but for the few that this does not hold."""
    order = np.argsort(~np.minimum(sizes, 255).astype(np.uint8), kind="stable")
    large = order[: np.count_nonzero(sizes >= 255)]
    large[:] = large[np.argsort(-sizes[large])]
    return order


def _neighbours(word: Words, sizes: Indices, radius: int) -> Iterator[Indices]:
    """Places (2, n) of words within the radius that lie in one bucket, or by chance in two side by side.

    Each word is compared with the next, with the one after that, and so on, as far as the larger buckets reach: whole
    stretches of memory at about 1 ns a comparison, where picking out who has a neighbour left takes 5 ns a word.
    """
    starts = np.cumsum(sizes) - sizes
    for part in parts(sizes, WORDS):
        first, last = int(starts[part.start]), int(starts[part.stop - 1] + sizes[part.stop - 1])
        block, steps = word[first:last], np.arange(1, int(sizes[part.start]))
        reached = np.append(starts[part], last)[np.searchsorted(-sizes[part], -steps)] - first
        for step, end in zip(steps.tolist(), reached.tolist(), strict=True):
            close = np.flatnonzero(np.bitwise_count(block[step:end] ^ block[: end - step]) <= radius)
            if len(close):
                yield np.add(close, [[first], [first + step]])


def _batches(parts: Iterable[Indices]) -> Iterator[Indices]:
    """The same pairs, small parts put together until they are WORDS; no more than one part goes beyond."""
    held, count = list[Indices](), 0
    for part in parts:
        held.append(part)
        count += part.shape[1]
        if count >= WORDS:
            yield np.concatenate(held, axis=1)
            held, count = list[Indices](), 0
    if held:
        yield np.concatenate(held, axis=1)


def parts(sizes: Indices, total: int) -> Iterator[slice]:
    """Consecutive slices whose sizes add up to about this total."""
    edges = np.searchsorted(np.cumsum(sizes), np.arange(total, int(sizes.sum()) + total, total), side="right")
    for start, stop in pairwise([0, *np.unique(edges).tolist(), len(sizes)]):
        if start < stop:
            yield slice(start, stop)
