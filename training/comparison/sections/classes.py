"""Which classes gain and which lose: recall of each class, run against run, the largest differences first."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from training.compare import Comparison
from training.comparison.charts import Axis, axis
from training.comparison.templates import fragment
from training.paired import Contrast, points

ORDER = 40
TITLE = "Classes"
SHOWN = 20  # classes drawn of a pair; the rest is folded away


@dataclass(frozen=True)
class Part:
    """A pair, with its classes that are drawn at once and those that are not."""

    pair: Contrast
    scale: Axis
    first: list[dict[str, Any]]
    folded: list[dict[str, Any]]
    same: int  # classes of equal recall


def render(comparison: Comparison) -> Markup:
    parts = [part(pair, comparison.classes) for pair in comparison.pairs]
    present = comparison.classes["class"].n_unique()
    absent = len(comparison.entrants[0].facts["classes"]) - present
    return fragment("classes.html", parts=parts, absent=absent, points=points, images=comparison.images)


def part(pair: Contrast, table: pl.DataFrame) -> Part:
    mine = table.filter((pl.col("a") == pair.a) & (pl.col("b") == pair.b)).to_dicts()
    scale = axis([0.0, *(each["difference"] for each in mine)], unit="", sign=True, most=4)
    same = sum(each["difference"] == 0 for each in mine)
    return Part(pair, scale, mine[:SHOWN], mine[SHOWN:], same)
