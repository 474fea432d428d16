"""Is an image of one split in another one, whatever was done to prevent it? By the table, the views, or the pixels.

`audit_table` searches the kept rows anew, by their hashes, whatever the curation compared; `audit_views` holds the rows
of a shard set against the table; `audit_shards` hashes the pixels in shards, of ours or made elsewhere. Each gives an
Audit: what was compared, what was found, and what that cannot prove. A finding is no error here: who asks decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from etl import duplicates
from etl.decisions import NOTHING, Decided
from etl.likeness import LOOK
from etl.measures import SILENT
from etl.shard_hashes import hashed
from manifests.console import plain
from manifests.progress import Progress, silent
from manifests.recipe import SPLITS
from manifests.table import kept

RADIUS = 64  # of 512 bits: what `curate` calls a duplicate
SHOWN = 12  # findings of each kind on screen; JSON has all
KINDS = {  # in the order in which they are shown
    "leak": "The same image in two splits",
    "conflict": "The same image under two classes",
    "group": "Images that belong together, in two splits",
    "untrained": "Classes without an image in train",
    "astride": "Images with views in two splits",
    "augmented": "Augmented views outside train",
    "disagrees": "Rows that are not as the curation says",
    "absent": "Kept images without a row",
    "alike": "For a person to look at: images in two splits that are less alike than copies",
    "touching": "Images in two given splits that both resemble a third one, which was left out",
    "unjudged": "Classes without an image in val or test",
}
REMARKS = {"alike", "touching", "unjudged"}  # worth knowing, and no reason to refuse the data
JUDGES = {split: place for place, split in enumerate(reversed(SPLITS))}  # of a pair, the side that is named first


@dataclass(frozen=True)
class Audit:
    """What an audit compared and found: for each kind of KINDS a table of which the column `said` is the sentence."""

    compared: str
    findings: dict[str, pl.DataFrame]  # without the kinds of which there is nothing
    limits: str = ""  # what it cannot prove

    @property
    def is_refused(self) -> bool:
        return bool(set(self.findings) - REMARKS)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        found = {kind: rows.drop("said").to_dicts() for kind, rows in self.findings.items()}
        return {"refused": self.is_refused, "compared": self.compared, "findings": found, "limits": self.limits}


def audit_table(
    table: pl.DataFrame, radius: int = RADIUS, decided: Decided = NOTHING, *, is_given: bool = False
) -> Audit:
    """Of a curated table: leaks, conflicts, groups astride splits, classes that are missing.

    `decided`: pairs that a person told apart are no copies. `is_given`: the splits are the source's own, so images that
    merely resemble a third one may lie in two of them.
    """
    rows = kept(table).drop("bits", strict=False).with_columns(place="path")
    found = _copies(rows, radius, decided) | {"touching" if is_given else "group": _groups(rows)} | _classes(rows)
    return Audit(f"{rows.height:,} kept images, {_how(rows, radius)}", _only(found), _limits(rows, radius))


def audit_shards(folder: Path, radius: int = RADIUS, *, workers: int = 0, progress: Progress = silent) -> Audit:
    """Of shards, from their pixels: leaks, conflicts, missing classes. Augmented views are rows like others.

    Measured: 300 photographs of val and test among 3,781 of clothing, of which train was given copies (64 to 400 px,
    JPEG or WebP of quality 30 to 90). In shards of 96 px 298 of the copies lie within 64 bits, all within 88; of 32 px
    297, and all within 88; no other pair of two splits lies within 96. Of 2,062 hand signs, shards of 96 px with a
    fifth as val, the nearest two of two splits are 73 bits apart.
    """
    rows = hashed(folder, workers=workers, progress=progress)
    sizes = ", ".join(f"{size:,} of {split}" for split, size in rows.group_by("split").len().sort("split").iter_rows())
    found = _copies(rows, radius, NOTHING) | _classes(rows)
    return Audit(
        f"the pixels of {rows.height:,} rows ({sizes}), {_how(rows, radius)}", _only(found), _limits(rows, radius)
    )


def audit_views(rows: pl.DataFrame, table: pl.DataFrame) -> Audit:
    """Of a shard set's rows.parquet and the curated table: every view in its image's split, augmented ones in train."""
    place = pl.format("{} row {} ({}, view {})", "shard", "row", "path", "view")
    rows = rows.with_columns(place=place)
    return Audit(
        f"{rows.height:,} rows of the shards with {kept(table).height:,} kept images",
        _only({"astride": _astride(rows), "augmented": _augmented(rows), **_against(rows, table)}),
    )


def _only(found: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    return {kind: found[kind] for kind in KINDS if kind in found and found[kind].height}


def _is_exact(rows: pl.DataFrame) -> bool:
    return rows.height <= duplicates.EXACT


def _how(rows: pl.DataFrame, radius: int) -> str:
    return f"{'each with all others' if _is_exact(rows) else 'likely pairs'}, within {radius} of 512 bits"


def _limits(rows: pl.DataFrame, radius: int) -> str:
    """What no finding does not prove."""
    some = "" if _is_exact(rows) else f" Of more than {duplicates.EXACT:,} only those alike in 64 bits were compared."
    return (
        f"What this cannot find: copies that differ in more than {int(radius * LOOK)} bits, such as mirrored or turned "
        f"ones, and those that are cut by more than a few per cent.{some}"
    )


def _copies(rows: pl.DataFrame, radius: int, decided: Decided) -> dict[str, pl.DataFrame]:
    """Leaks and conflicts among rows of place, split, class, sha256, pixels, luma_std and the hashes.

    One row for each image and each other split (class) that has the like of it, with the nearest there; of two splits
    the image is the one of that which judges.
    """
    rows = _at_points(rows, decided)
    pairs = _pairs(rows, int(radius * LOOK))
    judge = pl.col("split").replace_strict(JUDGES, default=len(JUDGES), return_dtype=pl.Int8)
    across = _nearest(rows.with_columns(side=judge), pairs, decided)
    labelled = rows.filter(pl.col("class").is_not_null()).with_columns(side="class")
    return {
        "leak": across.filter(pl.col("bits") <= radius),
        "alike": across.filter(pl.col("bits") > radius),
        "conflict": _nearest(labelled, pairs.filter(pl.col("bits") <= radius), decided),
    }


def _at_points(rows: pl.DataFrame, decided: Decided) -> pl.DataFrame:
    """With `point`: the same for images of equal hashes or, where they say nothing, of equal pixels; and with `apart`:
    the sha256 of an image that a person told apart from another one, else empty."""
    speaks = pl.col("luma_std") >= SILENT
    words = pl.when(speaks).then(pl.concat_str("phash256", "dhash256"))
    apart = sorted({sha256 for pair in decided.unlike for sha256 in pair} | decided.like_none)
    return rows.with_columns(words=words).with_columns(
        point=pl.coalesce("words", pl.format("pixels {}", pl.coalesce("pixels", "sha256")))
        .rank("dense")
        .cast(pl.Int64),
        apart=pl.when(pl.col("sha256").is_in(apart)).then("sha256").otherwise(pl.lit("")),
    )


def _pairs(rows: pl.DataFrame, radius: int) -> pl.DataFrame:
    """point, point_other, bits: both ways, and each point with itself."""
    own = rows.select("point", point_other="point", bits=pl.lit(0, pl.Int64)).unique()
    loud = rows.filter(pl.col("words").is_not_null()).unique("point").sort("point")
    if loud.is_empty():
        return own
    words = duplicates.of_hex(loud["words"])
    found = duplicates.pairs(words, radius, hints=(loud["phash"].to_numpy(), loud["dhash"].to_numpy()))
    point = loud["point"].to_numpy()
    one, other, bits = point[found.first], point[found.second], found.bits.astype(np.int64)
    ends = {"point": np.concatenate([one, other]), "point_other": np.concatenate([other, one])}
    return pl.concat([own, pl.DataFrame(ends | {"bits": np.concatenate([bits, bits])}, schema=own.schema)])


SAME = {"place": "place", "sha256": "sha256", "split": "split", "class": "class"}


def _nearest(rows: pl.DataFrame, pairs: pl.DataFrame, decided: Decided) -> pl.DataFrame:
    """Each image with the nearest of each other `side` that comes after its own, identical ones first."""
    unit = ["point", "apart", "side"]
    units = rows.sort("place").unique(unit, keep="first", maintain_order=True).select(*unit, *SAME)
    near = (
        units.select(unit)
        .join(pairs, on="point")
        .join(units, left_on="point_other", right_on="point", suffix="_other")
        .filter(pl.col("side") < pl.col("side_other"))
        .filter(~_told_apart(decided))
        .sort("bits", "place")
        .unique([*unit, "side_other"], keep="first", maintain_order=True)
        .select(*unit, "side_other", "bits", *(pl.col(name).alias(f"{name}_other") for name in SAME))
    )
    found = rows.join(near, on=unit)
    twins = rows.sort("place").unique(["sha256", "side"], keep="first", maintain_order=True)
    twins = twins.select("sha256", side_other="side", **{f"twin_{name}": name for name in SAME})
    found = found.join(twins, on=["sha256", "side_other"], how="left")
    is_twin = pl.col("twin_place").is_not_null()
    other = {f"{name}_other": pl.when(is_twin).then(f"twin_{name}").otherwise(f"{name}_other") for name in SAME}
    found = found.with_columns(**other, bits=pl.when(is_twin).then(0).otherwise("bits"))
    wanted = ["place", "split", "class", "place_other", "split_other", "class_other", "bits"]
    return found.select(*wanted, identical=is_twin, said=_sentence(is_twin)).sort("place", "place_other")


def _told_apart(decided: Decided) -> pl.Expr:
    """Of two units of which a person told the images apart."""
    one, other = pl.col("apart"), pl.col("apart_other")
    pair = pl.concat_str(pl.min_horizontal(one, other), pl.max_horizontal(one, other), separator=" ")
    unlike, alone = [" ".join(pair) for pair in sorted(decided.unlike)], sorted(decided.like_none)
    is_another = one.ne(other) | (one == "")
    return pair.is_in(unlike) | (is_another & (one.is_in(alone) | other.is_in(alone)))


def _sentence(is_twin: pl.Expr) -> pl.Expr:
    how = pl.when(is_twin).then(pl.lit("identical to")).otherwise(pl.format("{} of 512 bits from", "bits"))
    ends = [
        pl.format("{} ({}{})", f"place{end}", f"split{end}", pl.format(", {}", f"class{end}").fill_null(""))
        for end in ("", "_other")
    ]
    return pl.format("{}: {} {}", ends[0], how, ends[1])


def _groups(rows: pl.DataFrame) -> pl.DataFrame:
    """Groups with images in several splits: an image of each, and how many there are."""
    astride = rows.group_by("group").agg(pl.col("split").n_unique().alias("n")).filter(pl.col("n") > 1)
    firsts = rows.join(astride, on="group", how="semi").sort("place").unique(["group", "split"], keep="first")
    sizes = rows.group_by("group").len("images")
    named = (
        firsts.sort("group", "place")
        .group_by("group", maintain_order=True)
        .agg(pl.format("{} ({})", "place", "split").alias("examples"))
    )
    said = pl.format("{} of {} images", pl.col("examples").list.join(", "), "images")
    return named.join(sizes, on="group", maintain_order="left").with_columns(said=said)


def _classes(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Classes that a split which has images has none of."""
    rows = rows.filter(pl.col("class").is_not_null())
    every = rows.select("class").unique().join(rows.select("split").unique(), how="cross")
    missing = every.join(rows, on=["class", "split"], how="anti").sort("class", "split")
    missing = missing.with_columns(said=pl.format("{} has none in {}", "class", "split"))
    of_train = pl.col("split") == "train"
    return {"untrained": missing.filter(of_train), "unjudged": missing.filter(~of_train)}


def _astride(rows: pl.DataFrame) -> pl.DataFrame:
    """Images, by their bytes, that have rows in several splits."""
    astride = rows.group_by("sha256").agg(pl.col("split").n_unique().alias("n")).filter(pl.col("n") > 1)
    firsts = rows.join(astride, on="sha256", how="semi").sort("place").unique(["sha256", "split"], keep="first")
    named = firsts.sort("sha256", "place").group_by("sha256", maintain_order=True)
    return named.agg(rows=pl.format("{} in {}", "place", "split")).with_columns(said=pl.col("rows").list.join(", "))


def _augmented(rows: pl.DataFrame) -> pl.DataFrame:
    wrong = rows.filter((pl.col("view") > 0) & (pl.col("split") != "train")).sort("place")
    return wrong.select("place", "split", said=pl.format("{} in {}", "place", "split"))


def _against(rows: pl.DataFrame, table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Rows whose image is not kept, or as another class or in another split; kept images of which there is no row."""
    known = kept(table).select("path", "sha256", "class", "split", is_kept=pl.lit(value=True))
    both = rows.join(known, on=["path", "sha256"], how="left", suffix="_kept")
    what = (
        pl.when(pl.col("is_kept").is_null())
        .then(pl.lit("its image is not kept"))
        .when(pl.col("class").ne_missing(pl.col("class_kept")))
        .then(pl.format("is {}, curated as {}", "class", "class_kept"))
        .when(pl.col("split").ne_missing(pl.col("split_kept")))
        .then(pl.format("in {}, curated for {}", "split", "split_kept"))
    )
    wrong = both.with_columns(what=what).filter(pl.col("what").is_not_null()).sort("place")
    as_it_is = rows.filter(pl.col("view") == 0)
    absent = known.join(as_it_is, on=["path", "sha256"], how="anti").sort("path")
    return {
        "disagrees": wrong.select("place", "what", said=pl.format("{}: {}", "place", "what")),
        "absent": absent.select("path", "split", said=pl.format("{} ({})", "path", "split")),
    }


def shown(audit: Audit) -> Iterable[str]:
    """For a terminal: what was compared, each kind of finding with examples, and what this cannot prove."""
    yield f"Compared {plain(audit.compared)}"
    for kind, rows in audit.findings.items():
        yield f"\n[bold]{KINDS[kind]}: {rows.height:,}[/bold]"
        yield from (f"  {plain(line)}" for line in rows["said"].head(SHOWN))
        yield from [f"  … and {rows.height - SHOWN:,} more"] if rows.height > SHOWN else []
    if not audit.findings:
        yield "Nothing found."
    if audit.limits:
        yield audit.limits
