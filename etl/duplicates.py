"""Clusters of near-identical images, from their hashes alone: exact at every radius, whatever the order of the files.

`pairs` finds all pairs of hashes within a radius, `clusters` makes stars of them: each member is within the radius of
the image that is kept, so a cluster is never a chain of images that grow less and less alike.
The search for pairs among hashes of 64 bits lies in `bands`; that among wider ones is here.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from etl import bands
from etl.bands import FoundPart, Indices, Words

Hashes = npt.NDArray[np.uint64]  # (N, W): W words of 64 bits
Hints = tuple[Words, Words]  # phash and dhash, (N,) each
Found = Iterable[FoundPart]

MOST = 1 << 27  # hashes at a time: their indices, and what is counted of them, in half a gigabyte
BLOCK = 1 << 21  # hash comparisons at a time: their 16 MB of distances stay in a shared cache
EXACT = 50_000  # images up to which wide hashes are all compared: 6 s on one core
HINTED = (8, 4)  # bits of phash and of dhash within which two images of more are compared whole


class Pairs(NamedTuple):
    """Pairs first < second within the radius, each once, sorted; and how many bits differ."""

    first: Indices
    second: Indices
    bits: Indices


NO_PAIRS = Pairs(*(np.empty(0, np.int64) for _ in Pairs._fields))


class Stars(NamedTuple):
    """For each image: the image its cluster is kept as, the distance to it, and its group."""

    centre: Indices  # own index where it has no duplicate, or is the one kept
    bits: Indices  # 0 for the centre itself
    group: Indices  # smallest index that it is connected to by any pairs: groups share one split


def of_hex(texts: Iterable[str]) -> Hashes:
    """Hashes of hex digits, 16 a word; all of the same length."""
    rows = list(texts)
    words = np.frombuffer(bytes.fromhex("".join(rows)), ">u8").astype(np.uint64)
    return words.reshape(len(rows), len(rows[0]) // 16 if rows else 1)


def points(hashes: Hashes) -> tuple[Hashes, Indices]:
    """The distinct hashes, and which of them each image has: a hundred thousand equal ones cost what one costs.

    As np.unique(axis=0) gives them; of a million hashes of one word in 0.13 s instead of 0.93 s.
    """
    order = np.lexsort(hashes.T[::-1])
    ordered = hashes[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    point = np.empty(len(hashes), np.int64)
    point[order] = np.cumsum(new) - 1
    return ordered[new], point


def clusters(point: Indices, found: Pairs, preference: Indices) -> Stars:
    """Stars of images, each at a point, from the pairs among points; `preference` ranks each image, lowest kept first.

    Images at one point are alike, whatever else there is.
    """
    count = int(point.max(initial=-1)) + 1
    order = np.lexsort((preference, point))
    best = order[np.searchsorted(point[order], np.arange(count))]  # the image most worth keeping of each point
    smallest = np.full(count, len(point))
    np.minimum.at(smallest, point, np.arange(len(point)))
    of_points = stars(count, found, np.argsort(preference[best]))
    group = np.full(count, len(point))
    np.minimum.at(group, of_points.group, smallest)
    return Stars(best[of_points.centre[point]], of_points.bits[point], group[of_points.group[point]])


def pairs(hashes: Hashes, radius: int, turned: Sequence[Hashes] = (), hints: Hints | None = None) -> Pairs:
    """All pairs of these distinct hashes within `radius` bits: 64-bit ones by bands, wider ones compared in blocks.

    At most MOST hashes, of at most 1,023 bits.

    `turned` holds the same images' hashes mirrored or turned: a pair is then as near as it gets in any of them.
    `hints` gives each image's phash and dhash of 64 bits: of more than EXACT images only those are compared whole that
    are near in one of them. What that may miss is measured by `benchmarks.duplicates`.
    """
    if len(hashes) > MOST:
        raise ValueError(f"{len(hashes):,} hashes; at most {MOST:,} at a time")
    if len(hashes) < 2:
        return NO_PAIRS
    if hashes.shape[1] == 1:
        searches = [bands.near(hashes[:, 0], radius)]
    elif hints is not None and len(hashes) > EXACT:
        searches = [_verified(hashes, radius, hints)]
    else:
        searches = [_blocked(hashes, hashes, radius)]
    searches += [_blocked(hashes, each, radius) for each in turned]
    return _sorted(chain.from_iterable(searches))


def _sorted(found: Found) -> Pairs:
    """Each pair once, first < second, at its smallest distance.

    By second and then by first, both sorted by counting in scipy's conversions, which leave what is equal in its order:
    ten million pairs in 0.4 s, where sorting both ends and the distance as one number took 1.0 s.
    """
    parts = [part for part in found if len(part[0])]
    if not parts:
        return NO_PAIRS
    one, other, bits = (np.concatenate(column) for column in zip(*parts, strict=True))
    del parts
    size = int(max(one.max(), other.max())) + 1
    places = np.maximum(one, other).astype(np.int32), np.minimum(one, other).astype(np.int32)
    table: Any = coo_array((bits.astype(np.uint16), places), shape=(size, size))
    table.has_canonical_format = True  # what comes twice is for `_nearest`
    del one, other, bits, places
    ordered = table.tocsr().tocsc()
    first = np.repeat(np.arange(size, dtype=np.int32), np.diff(ordered.indptr))
    return _nearest(Pairs(first, ordered.indices, ordered.data))


def _nearest(ordered: Pairs) -> Pairs:
    """Of pairs that come several times one after the other, one at the smallest distance."""
    new = np.append(True, (np.diff(ordered.first) != 0) | (np.diff(ordered.second) != 0))
    if new.all():
        return ordered
    bits = np.minimum.reduceat(ordered.bits, np.flatnonzero(new))
    return Pairs(ordered.first[new], ordered.second[new], bits)


def distance(one: Hashes, other: Hashes) -> Indices:
    """Bits in which two hashes differ, row by row."""
    return np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64)


def _blocked(hashes: Hashes, others: Hashes, radius: int) -> Found:
    """Pairs of wide hashes, each with all `others` behind it: half of the words decides most, the rest the few left."""
    half = max(1, hashes.shape[1] // 2)
    left, right = (np.ascontiguousarray(each[:, :half].T) for each in (hashes, others))
    rows = max(1, BLOCK // len(hashes))
    for start in range(0, len(hashes), rows):
        block = left[:, start : start + rows, None]
        distance = np.zeros((block.shape[1], len(hashes) - start), np.uint16)
        for one, all_others in zip(block, right[:, None, start:], strict=True):
            distance += np.bitwise_count(one ^ all_others)
        first, second = np.nonzero(distance <= radius)
        first, second = first + start, second + start
        ahead = first < second
        yield _close(hashes, others, first[ahead], second[ahead], radius)


def _close(hashes: Hashes, others: Hashes, first: Indices, second: Indices, radius: int) -> FoundPart:
    """Those of these pairs that are within the radius, and their distances."""
    bits = distance(hashes[first], others[second])
    close = bits <= radius
    return first[close], second[close], bits[close]


def _verified(hashes: Hashes, radius: int, hints: Hints) -> Found:
    """Pairs of wide hashes among those that are near in phash or in dhash."""
    for values, near in zip(hints, HINTED, strict=True):
        for first, second in _candidates(values, near):
            yield _close(hashes, hashes, first, second, radius)


def _candidates(values: Words, radius: int) -> Iterator[tuple[Indices, Indices]]:
    """Images whose 64-bit hashes are equal or within the radius, each pair once, some millions at a time."""
    distinct, value = points(values.reshape(-1, 1))
    order = np.argsort(value, kind="stable")
    sizes = np.bincount(value)
    starts = np.cumsum(sizes) - sizes
    shared = np.flatnonzero(sizes > 1)
    near = ((one, other) for one, other, _ in bands.near(distinct[:, 0], radius))
    for one, other in chain([(shared, shared)], near):
        pieces = _pieces(starts[one], sizes[one], starts[other], sizes[other])
        for part in bands.parts(pieces[1] * pieces[3], BLOCK):
            left, right = products(*(each[part] for each in pieces))
            first, second = order[left], order[right]
            ahead = first < second if one is other else np.ones(len(first), bool)
            yield first[ahead], second[ahead]


def _pieces(left: Indices, lefts: Indices, right: Indices, rights: Indices) -> tuple[Indices, ...]:
    """The same pairs of ranges, those with over two million pairs cut into several."""
    cuts = np.minimum(lefts, -(-lefts * rights // BLOCK))
    which = np.repeat(np.arange(len(cuts)), cuts)
    step = -(-lefts // np.maximum(cuts, 1))[which]
    before = step * (np.arange(len(which)) - np.repeat(np.cumsum(cuts) - cuts, cuts))
    return left[which] + before, np.clip(lefts[which] - before, 0, step), right[which], rights[which]


def products(left: Indices, lefts: Indices, right: Indices, rights: Indices) -> tuple[Indices, Indices]:
    """All pairs of the ranges left…left+lefts and right…right+rights, range pair by range pair."""
    total = lefts * rights
    which = np.repeat(np.arange(len(total)), total)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(total) - total, total)
    return left[which] + offset // rights[which], right[which] + offset % rights[which]


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
    return Stars(centre, distance, components(count, found.first, found.second))


def components(count: int, first: Indices, second: Indices) -> Indices:
    """For each point the smallest that it is connected to."""
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    smallest = np.full(label.max(initial=-1) + 1, count)
    np.minimum.at(smallest, label, np.arange(count))
    return smallest[label]
