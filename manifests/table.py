"""The image table: a row per file found under the source. Stages add columns and mark rows; none deletes one."""

import hashlib
import io
from pathlib import Path

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
        "sharpness": pl.Float32,  # variance of the Laplacian of the grey image at 128×128; low where it is blurred
        "chroma": pl.Float32,  # largest distance of Cb or Cr from grey at 16×16, 0 to 128; 0 in a grey image
        "animated": pl.Boolean,  # several frames; the first one is used
        "problem": pl.String,  # why it cannot be used, or null
    }
)
CURATED = pl.Schema(
    {
        "class": pl.String,  # after renaming and merging, or null
        "decided": pl.String,  # what a person decided of it, in words; null where nobody did
        "cluster": pl.String,  # sha256 of the cluster's kept image; the image's own where it has no duplicate
        "bits": pl.Int16,  # hash bits that differ from the cluster's kept image; 0 for itself
        "group": pl.String,  # smallest sha256 of all images connected by duplicates: a group shares one split
        "rejected": pl.String,  # the first reason that left it out; null while it is kept
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


def reject(table: pl.DataFrame, condition: pl.Expr | pl.Series, reason: str | pl.Expr) -> pl.DataFrame:
    """Mark the rows for which the condition holds, unless an earlier reason has already rejected them."""
    holds = pl.lit(condition) if isinstance(condition, pl.Series) else condition
    why = pl.lit(reason) if isinstance(reason, str) else reason
    marked = pl.col("rejected").is_null() & holds.fill_null(value=False)
    return table.with_columns(rejected=pl.when(marked).then(why).otherwise(pl.col("rejected")))


def kept(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("rejected").is_null())


def table_digest(table: pl.DataFrame) -> str:
    """Sha256 over names, types and values, whatever the parquet encoder of the day makes of them."""
    hasher = hashlib.sha256(repr([(name, str(kind)) for name, kind in table.schema.items()]).encode())
    for start in range(0, table.height, 100_000):  # bounded memory for tables of millions of rows
        text = io.BytesIO()
        table.slice(start, 100_000).write_csv(text, include_header=False)
        hasher.update(text.getbuffer())
    return hasher.hexdigest()


def write_table(table: pl.DataFrame, file: Path) -> None:
    table.write_parquet(file, compression="zstd", statistics=False)


def read_table(file: Path) -> pl.DataFrame:
    return pl.read_parquet(file, memory_map=False, glob=False)
