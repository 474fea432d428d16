"""The image table: a row per file found under the source. Stages add columns and mark rows; none deletes one."""

import hashlib
import io
from pathlib import Path

import numpy as np
import polars as pl

EXTRACTED = pl.Schema(
    {
        "path": pl.String,  # relative to the source, "/"-separated, Unicode as found
        "sha256": pl.String,  # of the file's bytes: the image's identity everywhere; null where it could not be read
        "label": pl.String,  # class as the source says, or null
        "source_split": pl.String,  # train, val or test as the source says, or null
        "sampled": pl.Boolean,  # false where the source asked for a random sample and this file is not in it
        "bytes": pl.Int64,  # of the file; null where a label names a file that is not there
        "width": pl.Int32,  # pixels, after EXIF rotation
        "height": pl.Int32,  # pixels, after EXIF rotation
        "format": pl.String,  # as the decoder names it: JPEG, PNG, …
        "mode": pl.String,  # the decoder's pixel mode before conversion: RGB, L, P, CMYK, I;16, …
        "orientation": pl.Int8,  # EXIF orientation, 1 to 8; 1 is upright
        "phash": pl.UInt64,  # imagehash.phash, 8×8 bits; the first bit is the highest
        "dhash": pl.UInt64,  # imagehash.dhash, 8×8 bits; the first bit is the highest
        "phash256": pl.String,  # imagehash.phash with hash_size 16: 64 hex digits
        "dhash256": pl.String,  # imagehash.dhash with hash_size 16: 64 hex digits
        "turned": pl.String,  # phash256 + dhash256 of the seven turned and mirrored images; null where not asked for
        "pixels": pl.String,  # sha256 of all pixels of an image that says nothing: it is like no other; else null
        "luma_mean": pl.Float32,  # of the 64×64 grey image, 0 to 255
        "luma_std": pl.Float32,  # of the 64×64 grey image: under 4 an image says nothing
        "luma_low": pl.Float32,  # 5th percentile of the 64×64 grey image, 0 to 255: high where even the dark is bright
        "luma_high": pl.Float32,  # 99th percentile: low where even the bright is dark
        "sharpness": pl.Float32,  # variance of the Laplacian of the grey image at 96×96; low where it is blurred
        "chroma": pl.Float32,  # largest distance of Cb or Cr from grey at 16×16, 0 to 128; 0 in a grey image
        "animated": pl.Boolean,  # several frames; the first one is used
        "problem": pl.String,  # why it cannot be used, or null
    }
)
CURATED = pl.Schema(
    {
        "class": pl.String,  # after renaming and merging, or null
        "decided": pl.String,  # what a person decided of it, in words; null where nobody did
        "rejected": pl.String,  # the first reason that left it out; null while it is kept
        "cluster": pl.String,  # sha256 of the cluster's kept image; the image's own where it has no duplicate
        "bits": pl.Int16,  # hash bits that differ from the cluster's kept image; 0 for itself
        "group": pl.String,  # smallest sha256 of all images connected by duplicates: a group shares one split
        "split": pl.String,  # train, val, test; null where rejected
        "like": pl.String,  # sha256 of a kept image that it resembles without being a copy: for a person to look at
        "like_bits": pl.Int16,  # hash bits that differ from that one
    }
)
VIEWS = pl.Schema(
    {
        "path": pl.String,  # where the image is
        "sha256": pl.String,  # which image it is
        "view": pl.Int32,  # 0 as it is, 1…K augmented
        "parameters": pl.String,  # JSON list of [operation, parameter…]; "[]" for view 0
        "class": pl.String,
        "split": pl.String,
    }
)


SLICE = 100_000  # rows that are turned into text, or into values of Python, at a time


def reject(table: pl.DataFrame, condition: pl.Expr | pl.Series, reason: str | pl.Expr) -> pl.DataFrame:
    """Mark the rows for which the condition holds, unless an earlier reason has already rejected them.

    The reason is worded for those rows alone: words for each of ten million rows would be a gigabyte a rule.
    """
    holds = pl.lit(condition) if isinstance(condition, pl.Series) else condition
    marked = table.select(marked=pl.col("rejected").is_null() & holds.fill_null(value=False)).to_series()
    if not marked.any():
        return table
    why = pl.lit(reason) if isinstance(reason, str) else reason
    words = table.select({"rejected", *why.meta.root_names()}).filter(marked).with_columns(why=why)["why"]
    return table.with_columns(rejected=pl.when(marked).then(spread(words, marked)).otherwise("rejected"))


def kept(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("rejected").is_null())


def spread(values: pl.Series, marked: pl.Series) -> pl.Series:
    """The values laid over the rows that are marked, in order; null on the others."""
    place = pl.when(marked).then(marked.cast(pl.UInt32).cum_sum() - 1)
    return values.gather(pl.select(place).to_series())


def repeated(values: pl.Series) -> pl.Series:
    """Whether a value stands there more than once; now and then true of one that does not, as only 64 bits are asked.

    A sieve for text: to compare ten million sha256 whole takes 10 s and 1.4 GB, their hashes 2 s and 0.4 GB.
    """
    return values.hash().is_duplicated()


def numbered(values: pl.Series) -> pl.Series:
    """For each row the first row of the same value (UInt32); a null is like no other."""
    first = pl.int_range(values.len(), dtype=pl.UInt32, eager=True)
    again = repeated(values) & values.is_not_null()
    some = pl.DataFrame({"value": values.filter(again), "first": first.filter(again)})
    same = some.select(pl.col("first").first().over("value")).to_series()
    return pl.select(pl.coalesce(spread(same, again), first)).to_series()


def places(sha256: pl.Series, seed: int, word: str) -> pl.Series:
    """The first 64 bits of `manifests.digests.rank(seed, word, sha256)` (UInt64): where each is in a shuffled order."""
    head = f"{seed}\0{word}\0".encode()
    found = np.empty(sha256.len(), np.uint64)
    for start in range(0, len(found), SLICE):  # ten million digests as values of Python would be 0.7 GB
        texts = sha256.slice(start, SLICE).cast(pl.Binary)
        digests = b"".join([hashlib.sha256(head + text).digest() for text in texts])
        found[start : start + SLICE] = np.frombuffer(digests, ">u8")[::4]
    return pl.Series(found, dtype=pl.UInt64)


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sorted by path, as extract leaves them: to sort ten million again takes 40 s, to see that they are takes one."""
    return rows if rows["path"].is_sorted() else rows.sort("path")


def table_digest(table: pl.DataFrame | pl.LazyFrame) -> str:
    """Sha256 over names, types and values, whatever the parquet encoder of the day makes of them."""
    rows = table.lazy()
    hasher = hashlib.sha256(repr([(name, str(kind)) for name, kind in rows.collect_schema().items()]).encode())
    height = rows.select(pl.len()).collect().item()
    for start in range(0, height, SLICE):  # bounded memory for tables of millions of rows
        text = io.BytesIO()
        rows.slice(start, SLICE).collect().write_csv(text, include_header=False)
        hasher.update(text.getbuffer())
    return hasher.hexdigest()


def write_table(table: pl.DataFrame | pl.LazyFrame, file: Path) -> None:
    """A lazy table is never in memory whole."""
    if isinstance(table, pl.LazyFrame):
        table.sink_parquet(file, compression="zstd", statistics=False, row_group_size=SLICE)
    else:
        table.write_parquet(file, compression="zstd", statistics=False, row_group_size=SLICE)


def read_table(file: Path, columns: list[str] | None = None) -> pl.DataFrame:
    return pl.read_parquet(file, columns=columns, memory_map=False, glob=False)


def scan_table(file: Path) -> pl.LazyFrame:
    """The table of a file, to be read as far as it is asked for."""
    return pl.scan_parquet(file, glob=False)
