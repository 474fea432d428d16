"""How many images a class may have: the rules of `etl.curate` that look at each class, after its copies are gone."""

import numpy as np
import polars as pl

from etl.splits import given_split, is_given
from manifests.errors import UserError
from manifests.recipe import Curate
from manifests.table import in_order, kept, places, reject, spread


def small_classes(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Classes too small to learn: an error that names them, or left out if that was asked for."""
    if settings.min_per_class is None:
        return table
    there = kept(table.select("class", "rejected")).group_by("class").len()
    sizes = dict.fromkeys(class_names(table, settings), 0) | dict(there.iter_rows())
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


def class_names(table: pl.DataFrame | pl.LazyFrame, settings: Curate) -> list[str]:
    """Every class that could be kept, whether an image is left of it or not."""
    return sorted(
        asked_for(settings) or table.lazy().select(pl.col("class").drop_nulls().unique()).collect().to_series()
    )


def asked_for(settings: Curate) -> set[str]:
    """The classes named, as they are called after renaming; empty where all are meant."""
    return {settings.rename.get(name, name) for name in settings.classes}


def over_the_cap(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """The images that a shuffle by seed and image puts last; of each given split by itself, so that none is thinned
    because another is large. What a person pinned comes first. Adding one image changes at most one other."""
    if settings.max_per_class is None:
        return table
    over = _over(table, settings, settings.max_per_class)
    marked = np.zeros(table.height, bool)
    marked[over["row"].to_numpy()] = True
    why = {size: f"over the cap: {settings.max_per_class} of {size} kept" for size in over["of"].unique()}
    table = table.with_columns(of=spread(over["of"], pl.Series(marked)))
    reason = pl.col("of").replace_strict(why, default=None, return_dtype=pl.String)
    return reject(table, pl.Series(marked), reason).drop("of")


def _over(table: pl.DataFrame, settings: Curate, most: int) -> pl.DataFrame:
    """`row`, in order, of the images over the cap, and `of`, how many there are where it holds."""
    is_by_split = is_given(kept(table.select("source_split", "rejected")), settings)
    within = pl.concat_str("class", pl.lit("/"), given_split(settings)) if is_by_split else pl.col("class")
    rows = table.with_row_index("row").select("row", "path", "sha256", "pinned", "rejected", within=within)
    rows = kept(rows).with_columns(of=pl.len().over("within")).filter(pl.col("of") > most)
    rows = in_order(rows).select("row", "sha256", "pinned", "within", "of", pins=pl.col("pinned").sum().over("within"))
    free = rows.filter(~pl.col("pinned"))
    number = pl.col("place").rank("ordinal").over("within")  # of equal ones by path
    free = free.with_columns(place=places(free["sha256"], settings.seed, "cap"))
    return free.filter(number + pl.col("pins") > most).select("row", "of").sort("row")
