"""A small image table with one of everything a curation may find, and its page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from etl.curate import class_names, class_order, curate, funnel
from etl.evidence import write_curation
from etl.evidence.evidence import Evidence
from etl.evidence.thumbnails import Thumbnails
from manifests.recipe import Curate
from tests.makers import digits, jpeg_bytes, rows

Read = Callable[[str], bytes]


def flipped(text: str, bits: int) -> str:
    """Hex digits with so many of their bits turned over."""
    return f"{int(text, 16) ^ ((1 << bits) - 1):0{len(text)}x}"


def planted(hostile: str = "b") -> pl.DataFrame:
    """30 images in given splits; `hostile` is the name of a class and stands in some paths.

    00 to 02 are copies of one another, across train and test, the smallest in test; 03 and 04 are one file under two
    classes; 06 resembles 05 at 80 bits; 07 cannot be used; 08 is too small; the rest are like no others.
    """
    names = [f"train/{'a' if n % 2 else hostile}/{n:02}.jpg" for n in range(30)]
    shas = [digits(name) for name in names]
    shas[4] = shas[3]
    hashes = [digits(f"q{sha}") for sha in shas]
    hashes[1], hashes[2], hashes[6] = flipped(hashes[0], 10), flipped(hashes[0], 30), flipped(hashes[5], 80)
    fine = [digits(f"d{sha}") for sha in shas]
    fine[1], fine[2], fine[6] = fine[0], fine[0], fine[5]
    return rows(
        path=names,
        sha256=shas,
        label=["a" if n % 2 or n in {0, 2, 6} else hostile for n in range(30)],
        source_split=["test" if n % 9 == 2 else "train" for n in range(30)],
        width=[40 if n == 2 else 20 if n == 8 else None if n == 7 else 64 for n in range(30)],
        height=[30 if n == 2 else 20 if n == 8 else None if n == 7 else 48 for n in range(30)],
        format=[None if n == 7 else "JPEG" for n in range(30)],
        phash256=hashes,
        dhash256=fine,
        problem=["truncated" if n == 7 else None for n in range(30)],
    )


def evidence(
    table: pl.DataFrame, read: Read | None = None, unmatched: tuple[str, ...] = (), **settings: Any
) -> Evidence:
    asked = Curate(**settings)
    marked = curate(table, asked)
    classes = class_order(marked, asked)
    more = [name for name in class_names(marked, asked) if name not in classes]
    counts = {**funnel(marked, [*classes, *more]), "classes": classes, "unmatched": list(unmatched)}
    return Evidence("made", marked.lazy(), classes, counts, asked, Thumbnails(read))


def write(folder: Path, known: Evidence, name: str = "made") -> str:
    """The page of this evidence, as it was written."""
    write_curation(folder, known.table, known.classes, known.counts, known.settings, known.thumbnails.read, name=name)
    return (folder / "curation.html").read_text("utf-8")


def photo(path: str) -> bytes:
    """A picture for a path: each its own."""
    return jpeg_bytes(64, 48, seed=int(digits(path, 6), 16))
