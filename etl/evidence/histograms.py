"""Columns over an axis, kept below and left out on top. `histogram.html` draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from etl.evidence.templates import fragment
from manifests.pages.charts import Scale, ticks
from manifests.pages.fragments import count

WIDTH, HEIGHT = 440, 244  # of a drawing, in its own units; it scales with the page
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 44, 42  # margins
LEAST = 1.0  # height of a column that stands for anything at all


@dataclass(frozen=True)
class Column:
    """From `low` to below `high`: so many kept, so many left out, and what is said of them."""

    low: float
    high: float
    kept: int
    gone: int
    tip: str


def histogram(
    title: str,
    axis: str,
    columns: Sequence[Column],
    x_marks: Sequence[tuple[float, str]],
    lines: Sequence[tuple[float, str]] = (),
    *,
    log: bool = False,
) -> Markup:
    """The drawing. `lines` are places that matter, each with its name; the columns lie side by side without gaps."""
    x = Scale(columns[0].low, columns[-1].high, LEFT, WIDTH - RIGHT, log)
    marks = [mark for mark in ticks(0, max(1, *(c.kept + c.gone for c in columns)), 4) if mark == round(mark)]
    up = Scale(0, marks[-1], 0, HEIGHT - BOTTOM - TOP)
    return fragment(
        "histogram.html",
        title=title,
        axis=axis,
        size=(WIDTH, HEIGHT),
        frame=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        kept=_path(columns, x, up, of_kept=True),
        gone=_path(columns, x, up, of_kept=False),
        x_marks=[(x(at), text) for at, text in x_marks if columns[0].low <= at <= columns[-1].high],
        y_marks=[(round(HEIGHT - BOTTOM - up(mark), 2), count(round(mark))) for mark in marks],
        lines=[(x(at), text) for at, text in lines if columns[0].low <= at <= columns[-1].high],
        hovers=[(x(c.low), round(x(c.high) - x(c.low), 2), c.tip) for c in columns if c.kept or c.gone],
    )


def _path(columns: Sequence[Column], x: Scale, up: Scale, *, of_kept: bool) -> str:
    """All columns of one kind as one path. What is there is seen, however few it is."""
    path: list[str] = []
    for column in columns:
        low = 0 if of_kept else _height(up, column.kept)
        high = _height(up, column.kept if of_kept else column.gone)
        if high:
            left, right = x(column.low), x(column.high)
            wide = round(max(right - left - 0.8, 0.4), 2)
            path.append(f"M{left} {round(HEIGHT - BOTTOM - low, 2)}h{wide}v{-high}h{-wide}z")
    return "".join(path)


def _height(up: Scale, number: int) -> float:
    return max(up(number), LEAST) if number else 0


def bins(low: float, high: float, each: float) -> list[float]:
    """Edges of log bins that cover [low, high]: powers of `each`, so that 1 lies in the middle of its bin."""
    first = math.floor(math.log(low, each) + 0.5 + 1e-9)
    last = math.floor(math.log(high, each) + 0.5 + 1e-9)
    return [each ** (n - 0.5) for n in range(first, last + 2)]
