"""Which images resemble each other, from their hashes alone: points, and the pairs of them that are near enough.

`likeness` finds them all at once (by `etl.duplicates`), whatever a person decides of them; what follows for each image
is the affair of `etl.copies`.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from etl import duplicates
from etl.decisions import Decided
from etl.duplicates import NO_PAIRS, Hashes, Indices, Pairs
from etl.measures import SILENT, TURNS
from manifests.errors import UserError
from manifests.recipe import DEDUPE_BITS, Curate
from manifests.table import SLICE, numbered, repeated

LOOK = 1.5  # times the radius of a duplicate: what resembles a kept image that much waits for a person (`near` only)


class Likeness(NamedTuple):
    """Images as points, of which those with equal hashes are one, and all pairs of points that are near enough.

    Near enough is up to the distance at which a person should look. Images that say nothing are points by their pixels
    and near to no other.
    """

    points: pl.DataFrame  # sha256, point; a row for each file
    pairs: Pairs  # of points
    words: Hashes  # (points, W): the hash of each point; zeros where it says nothing
    radius: int  # bits up to which two images are duplicates

    def covers(self, rows: pl.DataFrame) -> bool:
        """Whether all of these rows were compared: one that a person relabelled may have come in since."""
        return bool(rows["sha256"].is_in(self.points["sha256"].implode()).all())

    def related(self, rows: pl.DataFrame, decided: Decided) -> pl.Series:
        """Which rows may have a copy or look-alike, by file, by hash or by hand: as a rule a few of ten million, and
        what is decided of copies is decided of them alone."""
        point = self.points["point"].to_numpy()
        is_near = np.bincount(point, minlength=len(self.words)) > 1
        is_near[self.pairs.first] = is_near[self.pairs.second] = True
        images = self.points["sha256"].filter(pl.Series(is_near[point], dtype=pl.Boolean)).to_list()
        named = {sha256 for pair in decided.same for sha256 in pair}
        return repeated(rows["sha256"]) | rows["sha256"].is_in([*images, *named])


def likeness(rows: pl.DataFrame, settings: Curate) -> Likeness:
    """Of rows that have hashes. Made of their hashes and the method alone, whatever a person decides."""
    method, _, bits = settings.dedupe.partition(":")
    compares = method in DEDUPE_BITS
    speaks = pl.lit(compares) & (pl.col("luma_std") >= SILENT)
    images = rows.select("sha256", "luma_std", "pixels", *hashes_of(settings))
    loud, silent = images.filter(speaks), images.filter(~speaks)
    distinct, point = duplicates.points(_words(loud, method)) if compares else (np.empty((0, 1), np.uint64), NONE)
    found = _pairs(distinct, point, loud, settings) if loud.height else NO_PAIRS
    own = silent.select(pl.coalesce("pixels", "sha256") if compares else "sha256").to_series()
    quiet = silent.select("sha256", point=numbered(own).rank("dense").cast(pl.Int64) - 1 + len(distinct))
    known = pl.concat([loud.select("sha256", point=pl.Series(point, dtype=pl.Int64)), quiet])
    blank = np.zeros((quiet["point"].n_unique(), distinct.shape[1]), np.uint64)
    return Likeness(known, found, np.concatenate([distinct, blank]), int(bits or 0))


NONE = np.empty(0, np.int64)
WIDE = {"phash": ["phash"], "dhash": ["dhash256"], "near": ["phash256", "dhash256"]}  # what each method compares


def hashes_of(settings: Curate) -> list[str]:
    """The columns of hashes that these settings ask for."""
    method = settings.dedupe.partition(":")[0]
    hints = ["phash", "dhash"] if method == "near" else []
    return [*WIDE.get(method, []), *hints, *(["turned"] if settings.turned else [])]


def _pairs(distinct: Hashes, point: Indices, images: pl.DataFrame, settings: Curate) -> Pairs:
    """Pairs of distinct hashes; `point` says which of them each image has."""
    method, _, bits = settings.dedupe.partition(":")
    if method == "phash":
        return duplicates.pairs(distinct, int(bits))
    one = _one_each(point, images)
    turned = _turned(one, method) if settings.turned else []
    if method != "near":
        return duplicates.pairs(distinct, int(bits), turned)
    hints = one["phash"].to_numpy(), one["dhash"].to_numpy()
    return duplicates.pairs(distinct, int(int(bits) * LOOK), turned, hints)


def _one_each(point: Indices, images: pl.DataFrame) -> pl.DataFrame:
    """An image of each point, in their order: of several the one whose sha256 is the smallest, whatever their order."""
    placed = images.with_columns(point=pl.Series(point, dtype=pl.Int64))
    again = pl.Series((np.bincount(point) > 1)[point], dtype=pl.Boolean)
    first = placed.filter(again).sort("sha256").unique("point", keep="first")
    return pl.concat([placed.filter(~again), first]).sort("point")


def _words(images: pl.DataFrame, method: str) -> Hashes:
    """(N, W) uint64: the hash of this method, 64 bits a word."""
    if method == "phash":
        return images["phash"].to_numpy().reshape(-1, 1)
    slices = (images.slice(start, SLICE) for start in range(0, max(1, images.height), SLICE))
    return np.concatenate([duplicates.of_hex(each.select(pl.concat_str(WIDE[method])).to_series()) for each in slices])


def _turned(images: pl.DataFrame, method: str) -> list[Hashes]:
    """The hashes of the seven mirrored and turned pictures of each image, turn by turn."""
    if images["turned"].null_count():
        raise UserError("curate.turned: the images were hashed only as they stand; run extract again with --turned.")
    words = duplicates.of_hex(images["turned"]).reshape(images.height, TURNS, -1)
    first = words.shape[2] // 2 if method == "dhash" else 0  # phash 256, then dhash 256
    return [np.ascontiguousarray(words[:, turn, first:]) for turn in range(TURNS)]
