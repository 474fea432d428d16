"""Which views each training image gets: decisions over a table. The pixels are made by the transform.

A view's parameters are drawn from (seed, sha256, view) alone, so they do not change with what stands beside the image.
"""

import json
from random import Random
from typing import Any

import polars as pl

from etl.augmentations import drawn, policy
from etl.steps import Site, Step
from manifests.digests import digest, rank
from manifests.errors import Exit, UserError, known
from manifests.recipe import SPLITS, Augment
from manifests.store import Stage
from manifests.table import SLICE, VIEWS, in_order, kept, places, read_table, spread, table_digest, write_table


def make(step: Step, done: dict[str, Stage], site: Site) -> Stage:
    """Publish the view table of these settings."""
    assert isinstance(step.settings, Augment)
    curated = done["curate"]
    classes = curated.counts["classes"]
    table = read_table(site.dataset.folder("curate", curated.key) / "images.parquet", READ)
    views = augment(table, step.settings)
    with site.dataset.publish(step.begun) as (folder, finish):
        write_table(views, folder / "views.parquet")
        per_split = {(name, split): size for name, split, size in views.group_by("class", "split").len().iter_rows()}
        rows = [{"class": name, **{split: per_split.get((name, split), 0) for split in SPLITS}} for name in classes]
        counts = {
            "views": views.height,
            "augmented": views.select(pl.col("view") > 0).to_series().sum(),
            "per_class": rows,
            "classes": classes,
        }
        return finish(digest([table_digest(views), classes]), counts)


READ = ["path", "sha256", "class", "split", "rejected"]  # of a curated table


def augment(table: pl.DataFrame, settings: Augment) -> pl.DataFrame:
    """The view table of a curated image table: view 0 of every kept row, views 1…K of train rows only."""
    images = in_order(kept(table.select(READ))).drop("rejected")
    names = sorted(images["class"].unique())
    if unknown := sorted(set(settings.classes) - set(names)):
        raise UserError(f"augment.classes: no class {unknown[0]!r} is kept. {known(unknown[0], names)}", Exit.RECIPE)
    count = pl.int_ranges(0, _copies(images, settings) + 1, dtype=pl.Int32)
    views = images.with_columns(view=count).explode("view").with_columns(parameters=pl.lit("[]"))
    is_drawn = views["view"] > 0
    words = spread(_parameters(views.filter(is_drawn), settings), is_drawn)
    return views.with_columns(parameters=pl.when(is_drawn).then(words).otherwise("parameters")).select(*VIEWS)


def _copies(images: pl.DataFrame, settings: Augment) -> pl.Series:
    """How many copies each image gets, of train only: those asked for, or so many that its class has `balance_to`
    views."""
    own = {name: each.copies for name, each in settings.classes.items() if each.copies is not None}
    copies = pl.col("class").replace_strict(own, default=settings.copies, return_dtype=pl.Int64)
    rows = images.select("class", "sha256", copies=copies, is_train=pl.col("split") == "train").with_row_index()
    train = rows.filter("is_train").with_columns(size=pl.len().over("class").cast(pl.Int64))
    missing = (settings.balance_to or 0) - pl.col("size") * (1 + pl.col("copies"))
    short = train.filter(missing > 0).with_columns(missing=missing)
    place = pl.col("place").rank("ordinal").over("class")  # of equal ones by path
    short = short.with_columns(place=places(short["sha256"], settings.seed, "balance"))
    more = short.select("index", more=missing // pl.col("size") + (place <= missing % pl.col("size")))
    counts = rows.select(pl.when("is_train").then("copies").otherwise(0)).to_series().to_numpy(writable=True)
    counts[more["index"].to_numpy()] += more["more"].to_numpy()
    return pl.Series(counts)


def _parameters(views: pl.DataFrame, settings: Augment) -> pl.Series:
    """What is drawn for each of these views, as JSON."""
    own = {name: each.policy for name, each in settings.classes.items() if each.policy is not None}
    stated = {name: policy(asked, "augment.policy") for name, asked in own.items()}
    general = policy(settings.policy, "augment.policy")
    found: list[pl.Series] = []
    for some in views.select("class", "sha256", "view").iter_slices(SLICE):
        rows = some.iter_rows()
        texts = [_drawn(stated.get(name, general), sha256, view, settings.seed) for name, sha256, view in rows]
        found.append(pl.Series(texts, dtype=pl.String))
    return pl.concat(found) if found else pl.Series([], dtype=pl.String)


def _drawn(stated: dict[str, Any], sha256: str, view: int, seed: int) -> str:
    return json.dumps(drawn(stated, Random(rank(seed, sha256, view))), separators=(",", ":"))
