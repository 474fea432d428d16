"""An order of the classes in which those that are taken for each other stand side by side, and groups of such."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Matrix = list[list[int]]  # (K, K), rows are the truth
MIXED = 0.02  # a group: on average such a share of one class is taken for another one of it, or the other way round


@dataclass(frozen=True)
class Group:
    """Classes side by side in the order that are taken for each other."""

    first: int  # place of the first one in the order
    members: tuple[int, ...]  # their numbers in class order
    images: int  # of these classes that were taken for another one of the group


@dataclass(frozen=True)
class Clustering:
    """Every class once, and the groups in that order."""

    order: tuple[int, ...]  # numbers in class order
    groups: tuple[Group, ...]  # of two classes or more; most images first


def clustered(matrix: Matrix) -> Clustering:
    """Average-linkage clustering (UPGMA) of K ≥ 2 classes, its leaves turned so that neighbours are as near as can be.

    Two classes are as near as the mean of the two shares that are taken for the other one: 1 where each is always
    called the other, 0 where they never are. The order of the leaves: Bar-Joseph, Gifford, Jaakkola, Fast optimal leaf
    ordering for hierarchical clustering, Bioinformatics 17, 2001.
    """
    from scipy.cluster import hierarchy  # pyright: ignore[reportMissingTypeStubs] scipy has none
    from scipy.spatial.distance import squareform  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    counts, scipy = np.asarray(matrix, np.int64), cast(Any, hierarchy)
    distances = 1 - nearness(counts)
    np.fill_diagonal(distances, 0)
    tree = scipy.linkage(cast(Any, squareform)(distances), "average", optimal_ordering=True)
    order = tuple(int(number) for number in scipy.leaves_list(tree))
    group_of = scipy.fcluster(tree, 1 - MIXED, "distance")
    return Clustering(order, groups(counts, order, [int(group_of[number]) for number in order]))


def nearness(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(K, K) symmetric, in [0, 1]: the mean of the shares of two classes that are taken for the other one."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return (shares + shares.T) / 2


def groups(counts: npt.NDArray[np.int64], order: tuple[int, ...], group_of: list[int]) -> tuple[Group, ...]:
    """Neighbours of one group in the order; most images first, then as they stand."""
    found: list[Group] = []
    for _, run in groupby(range(len(order)), group_of.__getitem__):
        places = list(run)
        members = tuple(order[place] for place in places)
        block = counts[np.ix_(members, members)]
        found.append(Group(places[0], members, int(block.sum() - np.trace(block))))
    return tuple(sorted((group for group in found if len(group.members) > 1), key=lambda group: -group.images))
