"""The data's story: how the images came to be what they are, and what was made of those that are learned from.

The first half is drawn by the curation's own page and handed in (`Evidence.story`); the second is read from the shards.
"""

import json
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from training.folders import DATA
from training.report.evidence import Evidence
from training.report.numbers import numbers_in
from training.report.templates import fragment
from training.report.thumbnails import thumbnail

ORDER = 15
TITLE = "Data"
IMAGES = 4  # of the augmentation sheet, each of another class where there are so many
VIEWS = 5  # augmented views of one image that are shown


@dataclass(frozen=True)
class View:
    """One picture of the sheet."""

    picture: str  # data:…
    drawn: str  # what was drawn for it, in words; of the image as it is, nothing


@dataclass(frozen=True)
class Strip:
    """An image as it is, and its augmented views."""

    name: str  # of its class
    path: str
    views: list[View]
    more: int  # views that are not shown


def render(evidence: Evidence) -> Markup:
    train = evidence.rows.filter(pl.col("split") == "train")
    copies = train.filter(pl.col("view") > 0)
    return fragment(
        "data.html",
        story=evidence.story,
        numbers=numbers_in(evidence, evidence.run / DATA),
        images=train.height - copies.height,
        tensors=train.height,
        most=int(train["view"].max() or 0) if train.height else 0,  # pyright: ignore[reportArgumentType] whole numbers
        operations=operations(copies),
        strips=[strip(evidence, train.filter(pl.col("path") == path)) for path in chosen(copies)],
    )


def chosen(copies: pl.DataFrame) -> list[str]:
    """Paths of some images with augmented views: of each class the first, then the second, as their digests fall."""
    images = copies.unique("path").sort("sha256", "path").with_columns(turn=pl.int_range(pl.len()).over("class"))
    return images.sort("turn", "class", "path")["path"].head(IMAGES).to_list()


def strip(evidence: Evidence, rows: pl.DataFrame) -> Strip:
    """The rows of one image, whatever shards they lie in."""
    views = list(rows.sort("view").iter_rows(named=True))
    shown = [
        View(thumbnail(evidence.shards, row["shard"], row["row"], evidence.index.contract), said(row))
        for row in views[: 1 + VIEWS]
    ]
    return Strip(views[0]["class"], views[0]["path"], shown, len(views) - len(shown))


def operations(copies: pl.DataFrame) -> list[str]:
    """Names of what is drawn for the views, in their order; none where the shards do not say."""
    every = copies["parameters"].unique(maintain_order=True) if "parameters" in copies.columns else []
    return list(dict.fromkeys(name for text in every for name, *_ in json.loads(text)))


def said(row: dict[str, Any]) -> str:
    """`rotate -7.9, scale 1.02`; what was drawn so that it changes nothing (all zeros) is left out."""
    drawn = json.loads(row.get("parameters") or "[]")
    return ", ".join(f"{name} {' '.join(f'{v:.3g}' for v in values)}" for name, *values in drawn if any(values))
