"""Which images stay, as which class, in which split: decisions over the image table. No image is opened here.

Each rule marks rows with its reason and leaves the rest alone; the first reason stands. A reason is `kind: details`,
and the kinds are what the summary counts. To add a rule: a setting in `manifests.recipe.Curate`, a function here, its
place in RULES, and its test.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from etl import duplicates
from etl.rejections import matched, read_rejections
from etl.splits import given_split, is_given, with_splits
from etl.steps import Site, Step
from manifests.digests import digest, rank
from manifests.errors import UserError, known
from manifests.recipe import DEDUPE_BITS, SPLITS, Curate
from manifests.store import Stage
from manifests.table import kept, read_table, reject, table_digest, write_table

SILENT = 4.0  # luma deviation (0 to 255) under which an image says nothing: its hash would match any other such image
LOSSLESS = ["PNG", "BMP", "TIFF"]
KEEP_FIRST = {"test": 0, "val": 1, "train": 2}  # of two copies, the one in a split that judges is kept


def curate(table: pl.DataFrame, settings: Curate, by_hand: dict[str, str] | None = None) -> pl.DataFrame:
    """The image table with class, cluster, group, rejected and split. `by_hand`: path → reason.

    Raises UserError for a class that nothing has, a class under the least size, or when nothing is left.
    """
    table = _begin(table, settings, by_hand or {})
    for rule in RULES:
        table = rule(table, settings)
    left = set(kept(table)["class"])
    if left and (gone := sorted(asked_for(settings) - left)) and not settings.drop_small_classes:
        why = _reasons(table.filter(pl.col("class").is_in(gone)))
        raise UserError(
            f"curate.classes: no image is left of {', '.join(gone)}: {why}; "
            "loosen the settings, or leave such classes out with --drop-small-classes."
        )
    if not left:
        raise UserError(f"curate: nothing is left of {table.height} files: {_reasons(table)}. Loosen the settings.")
    return with_splits(table.drop("by_hand"), settings)


def class_order(table: pl.DataFrame, settings: Curate) -> list[str]:
    """The classes in the order that shards, checkpoints and exports keep: as asked for, else by name."""
    there = set(kept(table)["class"])
    asked = dict.fromkeys(settings.rename.get(name, name) for name in settings.classes)
    return [name for name in asked if name in there] or sorted(there)


def _begin(table: pl.DataFrame, settings: Curate, by_hand: dict[str, str]) -> pl.DataFrame:
    """Classes renamed; nothing rejected yet. Names that the source does not have are errors, with the nearest."""
    labels = set(table["label"].drop_nulls())
    for name in settings.rename:
        if name not in labels:
            raise UserError(f"curate.rename: the source has no class {name!r}. {known(name, sorted(labels))}")
    classes = labels | set(settings.rename.values())
    for name in settings.classes:
        if name not in classes:
            raise UserError(f"curate.classes: the source has no class {name!r}. {known(name, sorted(classes))}")
    return table.with_columns(
        pl.col("label").replace(settings.rename).alias("class"),
        cluster=pl.col("sha256"),
        group=pl.col("sha256"),
        rejected=pl.lit(None, pl.String),
        by_hand=pl.col("path").replace_strict(by_hand, default=None, return_dtype=pl.String),
    )


def unusable(table: pl.DataFrame, _: Curate) -> pl.DataFrame:
    return reject(table, pl.col("problem").is_not_null(), pl.format("unusable: {}", "problem"))


def rejected_by_hand(table: pl.DataFrame, _: Curate) -> pl.DataFrame:
    return reject(table, pl.col("by_hand").is_not_null(), pl.format("by hand: {}", "by_hand"))


def not_asked_for(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """`classes` names classes as they are called after renaming, or as the source calls them."""
    if not settings.classes:
        return table
    return reject(
        table, ~pl.col("class").is_in(list(asked_for(settings))), pl.format("class not asked for: {}", "class")
    )


def not_sampled(table: pl.DataFrame, _: Curate) -> pl.DataFrame:
    return reject(table, ~pl.col("sampled"), "not in the random sample")


def too_small(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Images that the transform would have to enlarge: upscaling adds blur, not detail."""
    side = pl.min_horizontal("width", "height")
    if settings.min_side is None:
        return table
    return reject(
        table, side < settings.min_side, pl.format(f"too small: shorter side {{}} px, under {settings.min_side}", side)
    )


def copies(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Duplicates, and label conflicts: copies under different classes, of which none can be believed."""
    rows = kept(table).select(
        "path", "sha256", "class", "source_split", "width", "height", "format", "bytes", *HASHES, "luma_std"
    )
    if rows.is_empty():
        return table
    found = _clustered(rows, settings)
    table = table.drop("cluster", "group").join(found, on="path", how="left", maintain_order="left")
    table = table.with_columns(
        pl.coalesce("cluster", "sha256").alias("cluster"), pl.coalesce("group", "sha256").alias("group")
    )
    table = reject(table, pl.col("conflict").is_not_null(), pl.col("conflict"))
    if settings.dedupe != "off":
        table = reject(table, pl.col("copy").is_not_null(), pl.col("copy"))
    return table.drop("conflict", "copy")


HASHES = ["phash", "phash256", "dhash256"]


def _clustered(rows: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """path → cluster, group, `copy` (why it is a copy) and `conflict` (why its label cannot be believed)."""
    method, _, radius = settings.dedupe.partition(":")
    rows = rows.sort(_preference(settings)).with_row_index("order")
    images = rows.unique("sha256", keep="first", maintain_order=True)
    star = _stars(images, method, int(radius or 0))
    sha256, path = images["sha256"], images["path"]
    centre = pl.Series(star.centre)
    images = images.select(
        "sha256",
        cluster=sha256[centre],
        keeper=path[centre],
        bits=pl.Series(star.bits),
        group=pl.Series(star.group).replace_strict(*_smallest(star.group, sha256), return_dtype=pl.String),
    )
    rows = rows.join(images, on="sha256", how="left", maintain_order="left")
    near = pl.format(f"near duplicate: {{}} of {DEDUPE_BITS.get(method, 0)} bits from {{}}", "bits", "keeper")
    first = rows.unique("sha256", keep="first", maintain_order=True).select("sha256", original="path")
    rows = rows.join(first, on="sha256", how="left", maintain_order="left")
    same = pl.format("duplicate: identical to {}", "original")
    why = (
        pl.when(pl.col("path") == pl.col("keeper"))
        .then(None)
        .when(pl.col("path") != pl.col("original"))
        .then(same)
        .otherwise(near)
    )
    return (
        rows.with_columns(copy=why)
        .join(_conflicts(rows), on="path", how="left")
        .select("path", "cluster", "group", "copy", "conflict")
    )


def _preference(settings: Curate) -> list[pl.Expr]:
    """What is kept of a cluster: the preferred split, more pixels, lossless, more bytes a pixel, the first path."""
    area = pl.col("width").cast(pl.Int64) * pl.col("height")
    return [
        given_split(settings).replace_strict(KEEP_FIRST, default=2, return_dtype=pl.Int8),
        -area,
        ~pl.col("format").is_in(LOSSLESS),
        -(pl.col("bytes") / area),
        pl.col("path"),
    ]


def _stars(images: pl.DataFrame, method: str, radius: int) -> duplicates.Stars:
    """Clusters of distinct images, given in order of preference. An image that says nothing is like no other."""
    own = np.arange(images.height)
    alone = duplicates.Stars(own, np.zeros_like(own), own.copy())
    if method not in DEDUPE_BITS:
        return alone
    speaking = (images["luma_std"] >= SILENT).to_numpy().nonzero()[0]
    found = duplicates.clusters(_words(images, method)[speaking], radius, np.arange(len(speaking)))
    alone.centre[speaking], alone.bits[speaking] = speaking[found.centre], found.bits
    alone.group[speaking] = speaking[found.group]
    return alone


def _words(images: pl.DataFrame, method: str) -> duplicates.Hashes:
    """(N, W) uint64: the hash of this method, 64 bits a word."""
    if method == "phash":
        return images["phash"].to_numpy().reshape(-1, 1)
    columns = ["phash256", "dhash256"] if method == "near" else ["dhash256"]
    text = "".join(images.select(pl.concat_str(columns)).to_series())
    return np.frombuffer(bytes.fromhex(text), ">u8").astype(np.uint64).reshape(images.height, -1)


def _smallest(group: duplicates.Indices, sha256: pl.Series) -> tuple[list[int], list[str]]:
    """For each group its smallest sha256: a name that does not depend on the order of the images."""
    smallest = pl.DataFrame({"group": group, "sha256": sha256}).group_by("group").agg(pl.col("sha256").min())
    return smallest["group"].to_list(), smallest["sha256"].to_list()


def _conflicts(rows: pl.DataFrame) -> pl.DataFrame:
    """path → reason, for every image of a cluster with more than one class."""
    astride = (
        rows.group_by("cluster").agg(pl.col("class").n_unique().alias("n")).filter(pl.col("n") > 1).select("cluster")
    )
    members = rows.join(astride, on="cluster", how="semi").sort("order")
    reasons: list[tuple[str, str]] = []
    for (_,), cluster in members.group_by("cluster", maintain_order=True):
        firsts = cluster.unique("class", keep="first", maintain_order=True).rows(named=True)
        for path, sha256, name in cluster.select("path", "sha256", "class").iter_rows():
            other = next(first for first in firsts if first["class"] != name)
            likeness = "identical to" if other["sha256"] == sha256 else "near duplicate of"
            reasons.append((path, f"label conflict: {likeness} {other['path']}, which is {other['class']!r}"))
    return pl.DataFrame(reasons, schema={"path": pl.String, "conflict": pl.String}, orient="row")


def small_classes(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Classes too small to learn: an error that names them, or left out if that was asked for."""
    if settings.min_per_class is None:
        return table
    sizes = dict.fromkeys(class_names(table, settings), 0) | dict(kept(table).group_by("class").len().iter_rows())
    small = {name: size for name, size in sorted(sizes.items()) if size < settings.min_per_class}
    if small and not settings.drop_small_classes:
        listed = ", ".join(f"{name} ({size})" for name, size in small.items())
        raise UserError(
            f"curate.min_per_class = {settings.min_per_class}: {len(small)} classes have fewer images: {listed}; "
            "lower it, or leave them out with --drop-small-classes."
        )
    size = pl.col("class").replace_strict(small, default=0, return_dtype=pl.Int64)
    reason = pl.format(f"class too small: {{}} images, {settings.min_per_class} asked for", size)
    return reject(table, pl.col("class").is_in(list(small)), reason)


def class_names(table: pl.DataFrame, settings: Curate) -> list[str]:
    """Every class that could be kept, whether an image is left of it or not."""
    return sorted(asked_for(settings) or set(table["class"].drop_nulls()))


def asked_for(settings: Curate) -> set[str]:
    """The classes named, as they are called after renaming; empty where all are meant."""
    return {settings.rename.get(name, name) for name in settings.classes}


def over_the_cap(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """The images that a shuffle by seed and image puts last; of each given split by itself, so that none is thinned
    because another is large. Adding one image changes at most one other."""
    if settings.max_per_class is None:
        return table
    rows = kept(table)
    places = pl.Series([rank(settings.seed, "cap", sha256) for sha256 in rows["sha256"]], dtype=pl.String)
    within = ["class", given_split(settings).alias("part") if is_given(rows, settings) else pl.lit("").alias("part")]
    ranked = rows.with_columns(places.alias("place"), *within[1:]).sort("place", "path")
    ranked = ranked.with_columns(number=pl.int_range(pl.len()).over("class", "part"), of=pl.len().over("class", "part"))
    over = ranked.filter(pl.col("number") >= settings.max_per_class)
    sizes = dict(over.select("path", "of").iter_rows())
    reason = pl.format(
        f"over the cap: {settings.max_per_class} of {{}} kept",
        pl.col("path").replace_strict(sizes, default=0, return_dtype=pl.Int64),
    )
    return reject(table, pl.col("path").is_in(list(sizes)), reason)


def without_a_split(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    rows = kept(table)
    if not is_given(rows, settings):
        return table
    if rows.height and rows["source_split"].is_null().all():
        raise UserError("curate.split = given: the source states no splits; give fractions: --split 0.8,0.2")
    return reject(table, pl.col("source_split").is_null(), "no split in the source")


RULES: tuple[Callable[[pl.DataFrame, Curate], pl.DataFrame], ...] = (
    unusable,
    rejected_by_hand,
    not_asked_for,
    not_sampled,
    too_small,
    without_a_split,
    copies,
    small_classes,
    over_the_cap,
)


def _reasons(table: pl.DataFrame) -> str:
    kinds = table["rejected"].drop_nulls().str.splitn(": ", 2).struct.field("field_0").value_counts(sort=True)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.iter_rows()) or "none found"


def make(step: Step, done: dict[str, Stage], site: Site) -> Stage:
    """Publish the marked table of these settings."""
    assert isinstance(step.settings, Curate)
    extracted = done["extract"]
    table = read_table(site.dataset.folder("extract", extracted.key) / "images.parquet")
    by_hand, unmatched = matched(table, read_rejections(step.settings.reject))
    marked = curate(table, step.settings, by_hand)
    classes = class_order(marked, step.settings)
    with site.dataset.publish(step.begun) as (folder, finish):
        write_table(marked, folder / "images.parquet")
        counts = {
            **funnel(marked, [*classes, *(name for name in class_names(marked, step.settings) if name not in classes)]),
            "classes": classes,
            "unmatched": [f"{rejection.image} ({rejection.place})" for rejection in unmatched],
        }
        return finish(digest([table_digest(marked), classes]), counts)


def funnel(table: pl.DataFrame, classes: list[str]) -> dict[str, Any]:
    """What became of every file found, and of each class by split. Found = kept + all that is rejected."""
    kind = pl.col("rejected").str.splitn(": ", 2).struct.field("field_0")
    rejected = table.filter(pl.col("rejected").is_not_null()).group_by(kind.alias("kind")).len().sort("kind")
    placed = {(name, split): size for name, split, size in kept(table).group_by("class", "split").len().iter_rows()}
    found = dict(table.group_by("class").len().iter_rows())
    per_class = [
        {"class": name, "found": found[name], **{split: placed.get((name, split), 0) for split in SPLITS}}
        for name in classes
    ]
    what = pl.col("rejected").str.strip_prefix("label conflict: ")
    conflicts = table.filter(pl.col("rejected").str.starts_with("label conflict")).sort("cluster", "path")
    return {
        "found": table.height,
        "kept": kept(table).height,
        "rejected": dict(rejected.iter_rows()),
        "per_class": per_class,
        "conflicts": list(conflicts.select(pl.format("{} ({}): {}", "path", "class", what)).to_series()),
        "elsewhere": table.height
        - sum(found.get(name, 0) for name in classes),  # without a class, or of one not asked for
    }
