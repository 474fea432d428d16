"""The search for near pairs among many 64-bit hashes: exact whatever they are, a part at a time.

By the pigeonhole, twice: share the 64 bits out among groups, and of two hashes within the radius one group differs in
at most its share of it; share a group's bits out among that many bands and k more, and k of them agree. For every
choice of k bands of a group, bring the words that agree in them together (`_buckets`) and compare those
(`_neighbours`). How many groups, which k, and which bits to a band, is judged by a sample of the words (`_plan`);
comparing all with all is one of the plans.
G. S. Manku, A. Jain, A. Das Sarma: Detecting Near-Duplicates for Web Crawling, WWW 2007 (one group).
J. Qin et al.: GPH: Similarity Search in Hamming Space, ICDE 2018 (a share of the radius to each part).

What it gains over comparing all with all, which takes 3.9 s for 100,000 uniform hashes, a hundred times that for a
million: 100,000 within 8 bits take 0.12 s, a million within 4 bits 0.25 s, within 8 bits 2.5 s (seconds of one core of
an EPYC of 2.6 GHz). One group for all, words one after the other in their buckets, took 0.16 s, 0.33 s and 4.4 s, and
13.4 s instead of 8.7 s for the phash of a million blends of photographs within 8 bits, where ten million pairs are.
`python -m benchmarks.near_pairs` has the rest, and the memory.

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
Buffers = tuple[Words, npt.NDArray[np.uint8], npt.NDArray[np.bool_]]
FoundPart = tuple[Indices, Indices, Indices]  # both ends of pairs, in any order, and their distances

SAMPLE = 1 << 17  # pairs to judge bands by, or a quarter of the words: 0.03 s of a million's 0.25 s (radius 4)
MOST_GROUPS, MOST_AGREE = 3, 5  # that are considered: of up to three groups all three were chosen
CHOICE, BUCKETING, COMPARING = 200_000.0, 17.0, 1.5  # nanoseconds a choice, a word and a pair, of one core of an EPYC
SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplied by it, all bits bear upon the highest ones
WORDS = 1 << 17  # pairs of words at a time: their 1 MB stays near the core
BLOCK = 1 << 16  # words that are compared at a time
KEPT = (1 << 25) - (1 << 13)  # bytes: the largest array that glibc learns from


class Plan(NamedTuple):
    """Groups of masks that share out the 64 bits, and how many of one agree in every pair within the radius."""

    groups: tuple[Words, ...]
    agree: int


class Choice(NamedTuple):
    """Bands that agree in the pairs of this choice, and what holds of those that no earlier choice has given."""

    mask: np.uint64
    differing: Words  # bands of its group, in each of which they differ
    earlier: tuple[Words, ...]  # groups, in each of which fewer bands agree than the plan has
    agree: int

    def is_first(self, differs: Words) -> npt.NDArray[np.bool_]:
        """Which pairs are this choice's, by the bits in which they differ."""
        first = (differs & self.mask) == 0
        for band in self.differing:
            first &= (differs & band) != 0
        for bands in self.earlier:
            first &= _agreeing(differs, bands) < self.agree
        return first


ALL_WITH_ALL = Plan((np.empty(0, np.uint64),), 0)


def near(words: Words, radius: int) -> Iterator[FoundPart]:
    """Pairs of these distinct words within `radius` bits, each once, in no order, a part at a time.

    A pair is given by the first choice of bands in which it agrees, so that none comes twice.
    """
    if len(words) < 2:
        return
    _keep_memory()
    room = WORDS + max(BLOCK, len(words))
    buffers = np.empty(room, np.uint64), np.empty(room, np.uint8), np.empty(room, bool)
    for choice in _choices(_plan(words, radius)):
        word, index, sizes = _buckets(words, choice.mask)
        for first, second in _batches(_neighbours(word, sizes, radius, choice, buffers)):
            yield index[first], index[second], np.bitwise_count(word[first] ^ word[second])


def _keep_memory() -> None:
    """Have glibc keep what is freed for the next array: to fault a page in costs more than to fill it.

    It takes the size of the largest block that was freed for its threshold (mallopt(3), M_MMAP_THRESHOLD); one that is
    never touched costs nothing. Ten thousand phashes within 8 bits take 0.017 s instead of 0.021 s in a new process.
    `manifests.memory` keeps more than this, for workers; a million hashes have to do with little.
    """
    np.empty(KEPT, np.uint8)


def _choices(plan: Plan) -> Iterator[Choice]:
    """All choices of so many bands of one group."""
    for number, bands in enumerate(plan.groups):
        for chosen in combinations(range(len(bands)), plan.agree):
            differing = [band for band in range(max(chosen, default=0)) if band not in chosen]
            mask = np.bitwise_or.reduce(bands[list(chosen)])
            yield Choice(mask, bands[differing], plan.groups[:number], plan.agree)


def _plan(words: Words, radius: int) -> Plan:
    """The bands with the least work, judged by random pairs of the words: first how many, then which bits.

    The hashes of photographs are skewed and neighbouring bits go together: what serves uniform hashes best serves
    these badly, and shuffled bits make bands that agree less often (dhash of a million blends of photographs, radius 4:
    1.4 s; 2.2 s in the bits' own order).
    """
    generator = np.random.default_rng(0)
    one = generator.integers(0, len(words), min(len(words) // 4 + 1, SAMPLE))
    other = (one + generator.integers(1, len(words), len(one))) % len(words)
    differs = words[one] ^ words[other]
    orders = [np.arange(64), *(generator.permutation(64) for _ in range(8))]

    def work(plan: Plan) -> float:
        return _work(plan, differs, len(words))

    most = min(MOST_GROUPS, radius + 1)
    plans = [_shared(orders[-1], radius, 1 + n, k) for n in range(most) for k in range(1, MOST_AGREE + 1)]
    best = min([ALL_WITH_ALL, *plans], key=work)
    if best.agree == 0:
        return best
    return min([best, *(_shared(order, radius, len(best.groups), best.agree) for order in orders[:-1])], key=work)


def _shared(order: Indices, radius: int, groups: int, agree: int) -> Plan:
    """The 64 bits in this order shared out among bands of as equal sizes as can be, and these among groups.

    The groups' shares of the radius add up to radius + 1 - groups: a pair that goes beyond all of them is too far.
    """
    counts = [(radius + 1 + group) // groups - 1 + agree for group in range(groups)]
    edges = np.linspace(0, 64, sum(counts) + 1).round().astype(int)
    bits = np.left_shift(np.uint64(1), order.astype(np.uint64))
    bands = np.array([np.bitwise_or.reduce(bits[start:stop]) for start, stop in pairwise(edges.tolist())])
    return Plan(tuple(np.split(bands, np.cumsum(counts)[:-1])), agree)


def _work(plan: Plan, differs: Words, count: int) -> float:
    """Nanoseconds, roughly: for every choice of bands, its buckets, and for the pairs that meet in them."""
    if plan.agree == 0:
        return count * count / 2 * COMPARING
    choices = [np.array([math.comb(n, plan.agree) for n in range(len(bands) + 1)]) for bands in plan.groups]
    meet = sum(float(each[_agreeing(differs, bands)].mean()) for each, bands in zip(choices, plan.groups, strict=True))
    several = sum(int(each[-1]) for each in choices)
    return several * (CHOICE + count * BUCKETING) + count * count / 2 * meet * COMPARING


def _agreeing(differs: Words, bands: Words) -> npt.NDArray[np.int8]:
    """How many of these bands agree in each pair."""
    count = np.zeros(len(differs), np.int8)
    for band in bands:
        count += (differs & band) == 0
    return count


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


def _neighbours(word: Words, sizes: Indices, radius: int, choice: Choice, buffers: Buffers) -> Iterator[Indices]:
    """Places (2, n) of words within the radius that lie in one bucket and are this choice's.

    Of as many buckets as go into a block, the first words make its first row, the second ones its second, and so on;
    the row of the n-th words is as wide as there are buckets with so many, the others come first.
    Each row is compared with all above it, as far as it is wide: stretches of memory, and no pair of words for nothing.
    """
    starts = np.cumsum(sizes) - sizes
    left = 0
    while left < len(sizes):
        some = slice(left, left + max(1, BLOCK // int(sizes[left])))
        rows = np.arange(int(sizes[left]))
        widths = np.searchsorted(-sizes[some], -rows)
        block = word.take(starts[some] + rows[:, None], mode="clip")  # what lies beyond a bucket is never compared
        for part in parts(rows * widths, WORDS):
            above, row, column = _compared(block, rows[part], widths[part], radius, choice, buffers)
            if len(row):
                yield starts[some][column] + [above, row]
        left = some.stop


def _compared(
    block: Words, rows: Indices, widths: Indices, radius: int, choice: Choice, buffers: Buffers
) -> tuple[Indices, Indices, Indices]:
    """Two rows and a column of the words of these rows and those above that are near and this choice's.

    Many rows go into one buffer before bits are counted: ten thousand phashes within 8 bits take 0.017 s,
    and 0.077 s where each row is searched by itself.
    """
    ends = np.cumsum(rows * widths)
    starts = ends - rows * widths
    count = int(ends[-1])
    differs, bits, close = buffers[0][:count], buffers[1][:count], buffers[2][:count]
    for row, width, start, end in np.stack([rows, widths, starts, ends], axis=1).tolist():
        np.bitwise_xor(block[:row, :width], block[row, :width], out=differs[start:end].reshape(row, width))
    np.bitwise_count(differs, out=bits)
    found = np.less_equal(bits, radius, out=close).nonzero()[0]
    found = found[choice.is_first(differs[found])]
    which = np.searchsorted(ends, found, side="right")
    above, column = np.divmod(found - starts[which], widths[which])
    return above, rows[which], column


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
