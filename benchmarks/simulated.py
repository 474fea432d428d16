"""Image tables of any size without an image: what extract would write down of so many photographs, drawn from a seed.

Sorted by path, a hundred classes of uneven size. Of a thousand images thirty are copies of one before them: nine of
these the same file, the others some bits off; one copy in ten stands under another class. One image in a thousand is
damaged. Bits of a hash are set in 3, 4 or 5 of 8 images, as those of photographs are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.table import EXTRACTED, write_table

PART = 250_000  # rows drawn at a time, for the memory; each from a seed of its own
CLASSES = 100
COPIES, SAME, ASTRAY, DAMAGED = 0.03, 0.3, 0.1, 0.001  # shares: of all; of copies; of copies; of all
NEAR = 50  # a copy lies at most so many rows behind what it copies
OF_PICTURE = ["width", "height", "format", "mode", "orientation", "phash", "dhash", "phash256", "dhash256"]

Integers = npt.NDArray[Any]


def simulated(count: int, folder: Path) -> pl.LazyFrame:
    """The table of EXTRACTED of so many images, in files in the folder."""
    shares = np.cumsum(1 / np.arange(1, CLASSES + 1))
    ends = np.rint(shares / shares[-1] * count).astype(np.int64)
    for start, size in parts(count):
        labels = np.searchsorted(ends, np.arange(start, start + size), side="right")
        write_table(part(start, labels), folder / f"{start:09}.parquet")
    return pl.scan_parquet(sorted(folder.glob("*.parquet")), glob=False)


def parts(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, PART):
        yield start, min(PART, count - start)


def part(start: int, labels: Integers) -> pl.DataFrame:
    """Rows from `start` on, of these classes."""
    generator = np.random.default_rng(start)
    own = np.arange(len(labels))
    source = np.maximum(0, own - generator.integers(1, NEAR, len(own)))
    astray = generator.random(len(own)) < ASTRAY
    is_copy = (generator.random(len(own)) < COPIES) & (astray | (labels == labels[source]))
    is_copy &= ~is_copy[source] & (own > 0)  # of an image that is no copy itself
    source = np.where(is_copy, source, own)
    file = np.where(generator.random(len(own)) < SAME, source, own)  # whose bytes it has
    name = pl.Series(labels).cast(pl.String).str.zfill(3)
    number = pl.Series(own + start).cast(pl.String).str.zfill(10)
    figures: dict[str, Any] = {
        "path": pl.select(pl.format("photographs/class-{}/2026-11-21/IMG_{}.jpeg", name, number)).to_series(),
        "sha256": digits(generator, len(own)),
        "label": pl.select(pl.format("class-{}", name)).to_series(),
        "sampled": np.ones(len(own), bool),
        "bytes": generator.integers(20_000, 400_000, len(own)),
        "width": generator.integers(300, 1600, len(own)),
        "height": generator.integers(300, 1600, len(own)),
        "format": ["JPEG"] * len(own),
        "mode": ["RGB"] * len(own),
        "orientation": np.ones(len(own), np.int8),
        "phash": bits(generator, source),
        "dhash": bits(generator, source),
        "phash256": wide(digits(generator, len(own)), source),
        "dhash256": wide(digits(generator, len(own)), source),
        "animated": np.zeros(len(own), bool),
    }
    for figure in ("luma_mean", "luma_std", "luma_low", "luma_high", "sharpness", "chroma"):
        figures[figure] = generator.uniform(10, 200, len(own)).astype(np.float32)
    table = pl.DataFrame(figures)[file].with_columns(path=figures["path"], label=figures["label"])
    damaged = pl.Series(generator.random(len(own)) < DAMAGED)
    missing = {name: pl.lit(None, kind) for name, kind in EXTRACTED.items() if name not in table.columns}
    return (
        table.with_columns(**missing)
        .with_columns(problem=pl.when(damaged).then(pl.lit("truncated: the file ends before its picture")))
        .with_columns(pl.when(~damaged).then(name).name.keep() for name in OF_PICTURE)
        .select(pl.col(name).cast(kind) for name, kind in EXTRACTED.items())
    )


def digits(generator: np.random.Generator, count: int) -> pl.Series:
    """So many texts of 64 hex digits."""
    text = generator.bytes(32 * count).hex()
    return pl.Series([text[at : at + 64] for at in range(0, len(text), 64)], dtype=pl.String)


def bits(generator: np.random.Generator, source: Integers) -> Integers:
    """64-bit hashes: those of `source`, a copy's up to three bits off."""
    one, other, third = generator.integers(0, 2**64, (3, len(source)), np.uint64)
    rare, common = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0F0F0F0F0F0F0F0F)  # which bits are seldom set, or often
    drawn = one & (other | third | ~rare) | (common & ~one & other & third)
    found = drawn[source]
    for _ in range(3):
        bit = np.uint64(1) << generator.integers(0, 64, len(source), np.uint64)
        found = np.where(source != np.arange(len(source)), found ^ bit, found)
    return found


def wide(texts: pl.Series, source: Integers) -> pl.Series:
    """Those of `source`, a copy's with its last digits another."""
    found = texts.gather(source)
    copied = pl.Series(source != np.arange(len(source)))
    return pl.select(pl.when(copied).then(pl.concat_str(found.str.head(62), pl.lit("a5"))).otherwise(found)).to_series()
