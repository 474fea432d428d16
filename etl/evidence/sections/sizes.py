"""How large the images are and of what shape, kept against left out, beside what networks take in."""

import math
from itertools import pairwise

import polars as pl
from markupsafe import Markup

from etl.evidence.evidence import Evidence
from etl.evidence.histograms import Column, bins, histogram
from etl.evidence.templates import fragment
from manifests.pages.charts import log_ticks
from manifests.pages.fragments import count, missing

ORDER = 70
TITLE = "Sizes"
INPUTS = (96, 224, 299)  # pixels that networks take in: MobileNetV2 at its smallest, most others, Inception
FINENESS = (16, 12, 8, 6, 4, 3, 2)  # columns to a doubling: the finest of which there are not too many
COLUMNS = 40
SHAPES = 8  # columns to a doubling of the aspect: 3:4, 2:3, 9:16 fall inside of theirs
ASPECTS = ("1:2", "3:4", "1:1", "4:3", "2:1")  # marks of the axis
FAR_ASPECTS = ("1:8", "1:4", "1:2", "1:1", "2:1", "4:1", "8:1")  # where it reaches further
FAR = 3.0
MARKS = (1, 1.5, 2, 3, 4, 6, 8)  # times powers of ten, along a short axis of sides
WIDEST = 8.0  # times as wide as high: beyond, and below its inverse, in the last column


def render(evidence: Evidence) -> Markup:
    every = evidence.rows.select("width", "height", "kind").collect()
    known = every.filter(pl.col("width").is_not_null() & pl.col("height").is_not_null())
    if known.is_empty():
        return missing("No image could be opened, so there are no sizes to compare.")
    sides = known.select(kept=pl.col("kind").is_null(), value=pl.min_horizontal("width", "height").cast(pl.Float64))
    shapes = known.select(kept=pl.col("kind").is_null(), value=pl.col("width") / pl.col("height"))
    stays = sides.filter("kept")["value"]
    return fragment(
        "sizes.html",
        charts=[side_chart(sides), aspect_chart(shapes)],
        smaller=[(pixels, int((stays < pixels).sum())) for pixels in INPUTS],
        kept=len(stays),
        gone=sides.height - len(stays),
        middle=stays.median(),
        ends=(stays.min(), stays.max()),
        unknown=every.height - known.height,
    )


def side_chart(sides: pl.DataFrame) -> Markup:
    low, high = float(sides["value"].min() or 1), float(sides["value"].max() or 1)  # pyright: ignore[reportArgumentType] a Float64 column's ends are floats
    low, high = min(low, INPUTS[0]), max(high, INPUTS[-1])
    fine = next((n for n in FINENESS if n * math.log2(high / low) < COLUMNS), FINENESS[-1])
    edges = bins(low, high, 2 ** (1 / fine))
    marks = [(mark, count(round(mark))) for mark in side_marks(edges[0], edges[-1])]
    lines = [(float(pixels), str(pixels)) for pixels in INPUTS]
    return histogram("Shorter side", "pixels, log scale", _columns(sides, edges, "px"), marks, lines, log=True)


def side_marks(low: float, high: float, most: int = 9) -> list[float]:
    """Round numbers of pixels from low to high: close together where there is room for them."""
    near = [factor * power for power in (1, 10, 100, 1000, 10_000, 100_000) for factor in MARKS]
    within = [mark for mark in near if low <= mark <= high and mark == round(mark)]
    return within if len(within) <= most else [mark for mark in log_ticks(low, high, most) if mark >= 1]


def aspect_chart(shapes: pl.DataFrame) -> Markup:
    clipped = shapes.with_columns(pl.col("value").clip(1 / WIDEST, WIDEST))
    low, high = float(clipped["value"].min() or 1), float(clipped["value"].max() or 1)  # pyright: ignore[reportArgumentType] a Float64 column's ends are floats
    reach = max(2.2, 1 / low, high)  # the same both ways, so that upright and lying mirror each other
    edges = bins(1 / reach, reach, 2 ** (1 / SHAPES))
    marks = [(_ratio(text), text) for text in (ASPECTS if reach < FAR else FAR_ASPECTS)]
    return histogram("Aspect", "width : height, log scale", _columns(clipped, edges, ""), marks, log=True)


def _ratio(text: str) -> float:
    width, height = text.split(":")
    return int(width) / int(height)


def _columns(table: pl.DataFrame, edges: list[float], unit: str) -> list[Column]:
    columns: list[Column] = []
    for low, high in pairwise(edges):
        here = table.filter((pl.col("value") >= low) & (pl.col("value") < high))
        kept = int(here["kept"].sum())
        span = f"{low:.0f} to {high:.0f} {unit}" if unit else f"{low:.2f} to {high:.2f}"
        columns.append(
            Column(low, high, kept, here.height - kept, f"{span}: {kept} kept, {here.height - kept} left out")
        )
    return columns
