"""Which split an image belongs to: stratified by class, decided by seed and image, a duplicate group never astride."""

from collections import Counter, deque

import polars as pl

from manifests.digests import rank
from manifests.errors import UserError
from manifests.recipe import SPLITS, Curate, fractions

AUTO = "0.8,0.2"  # where the source gives no splits


def with_splits(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Fill `split` of the kept rows. Raises UserError where an image stands in two given splits."""
    rows = table.filter(pl.col("rejected").is_null())
    if not is_given(rows, settings):
        parts = fractions(AUTO if settings.split == "auto" else settings.split)
        shares: dict[str, float] = dict(zip(SPLITS, parts, strict=False))
        return _join(table, divide(rows, shares, settings.seed))
    given = rows.with_columns(split=given_split(settings))
    _refuse_leaks(given)
    if "val" not in given["split"]:  # the test split is never used for validation: val is carved from train
        train = given.filter(pl.col("split") == "train")
        shares = {"train": 1 - settings.val_fraction, "val": settings.val_fraction}
        carved = divide(train, shares, settings.seed)
        given = given.filter(pl.col("split") != "train").select("path", "split").vstack(carved)
    return _join(table, given.select("path", "split"))


def is_given(rows: pl.DataFrame, settings: Curate) -> bool:
    """Whether the source's own splits are kept."""
    if settings.split == "auto":
        return rows["source_split"].is_not_null().any()
    return settings.split == "given"


def given_split(settings: Curate) -> pl.Expr:
    """The source's split under the name it is used as."""
    return pl.col("source_split").replace(settings.given_as)


def divide(rows: pl.DataFrame, shares: dict[str, float], seed: int) -> pl.DataFrame:
    """path → split. Each class by its shares, to the nearest image or the group that passes it.

    A class with as many groups as there are splits stands in each of them. Groups come in an order drawn from the seed
    and their smallest sha256, so what one class or one image does changes nothing in the rest.
    """
    placed: dict[str, str] = {}
    for (_,), members in rows.sort("class").group_by("class", maintain_order=True):
        sizes = Counter(members["group"])
        free = deque(sorted((g for g in sizes if g not in placed), key=lambda group: rank(seed, "split", group)))
        names = list(shares)
        for place, split in reversed(list(enumerate(names))[1:]):  # the last first; train takes what is left
            there = {placed.get(group) for group in sizes}
            spared = sum(name not in there for name in names[:place]) if len(sizes) >= len(names) else 0
            wanted = max(round(shares[split] * members.height), min(1, len(sizes) // len(shares)))
            has = sum(sizes[group] for group in sizes if placed.get(group) == split)
            while len(free) > spared and has < wanted:
                group = free.popleft()
                placed[group] = split
                has += sizes[group]
        placed |= dict.fromkeys(free, next(iter(shares)))
    return rows.select("path", split=pl.col("group").replace_strict(placed, return_dtype=pl.String))


def _refuse_leaks(given: pl.DataFrame) -> None:
    """An identical image in two given splits is a leak: with duplicates removed there is none."""
    astride = given.group_by("sha256").agg("path", "split").filter(pl.col("split").list.n_unique() > 1).sort("sha256")
    if astride.height:
        example = sorted(zip(astride["split"][0], astride["path"][0], strict=True))
        where = " and ".join(f"{path} ({split})" for split, path in example[:2])
        count = f"{astride.height} identical images stand" if astride.height > 1 else "an identical image stands"
        raise UserError(f"curate.split = given: {count} in two splits, such as {where}; use --dedupe exact or near.")


def _join(table: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    return table.drop("split", strict=False).join(splits, on="path", how="left", maintain_order="left")
