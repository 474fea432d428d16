"""Which split an image belongs to: stratified by class, decided by seed and image, a duplicate group never astride."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.errors import UserError
from manifests.recipe import SPLITS, Curate, fractions
from manifests.table import kept, numbered, places, repeated, spread

Integers = npt.NDArray[np.integer[Any]]

AUTO = "0.8,0.2"  # where the source gives no splits
FREE = -1  # of a group that has no split yet


def with_splits(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Fill `split` of the kept rows. Raises UserError where an image stands in two given splits."""
    rows = kept(table.select("path", "sha256", "class", "group", "source_split", "rejected"))
    return table.with_columns(split=spread(_splits(rows, settings), table["rejected"].is_null()))


def _splits(rows: pl.DataFrame, settings: Curate) -> pl.Series:
    if not is_given(rows, settings):
        parts = fractions(AUTO if settings.split == "auto" else settings.split)
        return divide(rows, dict(zip(SPLITS, parts, strict=False)), settings.seed)
    given = rows.with_columns(split=given_split(settings))
    _refuse_leaks(given)
    if "val" in given["split"]:
        return given["split"]
    train = given["split"] == "train"  # the test split is never used for validation: val is carved from train
    shares = {"train": 1 - settings.val_fraction, "val": settings.val_fraction}
    carved = spread(divide(rows.filter(train), shares, settings.seed), train)
    return given.select(pl.when(train).then(carved).otherwise("split")).to_series()


def is_given(rows: pl.DataFrame, settings: Curate) -> bool:
    """Whether the source's own splits are kept."""
    if settings.split == "auto":
        return rows["source_split"].is_not_null().any()
    return settings.split == "given"


def given_split(settings: Curate) -> pl.Expr:
    """The source's split under the name it is used as."""
    return pl.col("source_split").replace(settings.given_as)


def divide(rows: pl.DataFrame, shares: dict[str, float], seed: int) -> pl.Series:
    """The split of each row. Each class by its shares, to the nearest image or the group that passes it.

    Rows have `class`, `group` and `sha256`, which stands for the group where that is null.

    A class with as many groups as there are splits stands in each of them. Groups come in an order drawn from the seed
    and their smallest sha256, so what one class or one image does changes nothing in the rest.
    """
    number = numbered(rows["group"])
    groups = _groups(rows, number, seed)
    of = groups["number"].to_numpy()
    sizes = groups["size"].to_numpy()
    shared = groups["number"].is_duplicated().to_numpy()  # by several classes: the first one of them decides
    placed = np.full(rows.height, FREE, np.int8)  # by number of the group
    start = 0
    for members in groups["class"].rle().struct.field("len"):
        here = slice(start, start := start + members)
        standing = np.where(shared[here], placed[of[here]], FREE)
        placed[of[here]] = _placed(sizes[here], standing, list(shares.values()))
    return pl.Series("split", list(shares), dtype=pl.String).gather(placed[number.to_numpy()])


def _groups(rows: pl.DataFrame, number: pl.Series, seed: int) -> pl.DataFrame:
    """Class, number and size of each group of each class: the classes by name, their groups in the order drawn."""
    every = rows.select("class", number=number)
    alone = ~number.is_duplicated()  # nearly all of them: only the others have to be counted
    counted = every.filter(~alone).group_by("class", "number").agg(size=pl.len())
    groups = pl.concat([every.filter(alone).with_columns(size=pl.lit(1, pl.UInt32)), counted])
    names = rows.select(pl.coalesce("group", "sha256").gather(groups["number"])).to_series()
    return groups.with_columns(place=places(names, seed, "split")).sort("class", "place").drop("place")


def _placed(sizes: Integers, standing: Integers, shares: list[float]) -> Integers:
    """The split of each group of one class, in their order. `standing` says where those are that have a place."""
    found = standing.copy()
    free = np.flatnonzero(standing == FREE)
    for split in reversed(range(1, len(shares))):  # the last first; the first takes what is left
        there = set(found.tolist())
        spared = sum(other not in there for other in range(split)) if len(sizes) >= len(shares) else 0
        wanted = max(round(shares[split] * int(sizes.sum())), min(1, len(sizes) // len(shares)))
        has = int(sizes[standing == split].sum())
        taken = 0 if has >= wanted else int(np.searchsorted(has + np.cumsum(sizes[free]), wanted)) + 1
        taken = min(taken, max(0, len(free) - spared))
        found[free[:taken]] = split
        free = free[taken:]
    found[free] = 0
    return found


def _refuse_leaks(given: pl.DataFrame) -> None:
    """An identical image in two given splits is a leak: with duplicates removed there is none."""
    given = given.filter(repeated(given["sha256"]))
    astride = given.group_by("sha256").agg("path", "split").filter(pl.col("split").list.n_unique() > 1).sort("sha256")
    if astride.height:
        example = sorted(zip(astride["split"][0], astride["path"][0], strict=True))
        where = " and ".join(f"{path} ({split})" for split, path in example[:2])
        count = f"{astride.height} identical images stand" if astride.height > 1 else "an identical image stands"
        raise UserError(f"curate.split = given: {count} in two splits, such as {where}; use --dedupe exact or near.")
