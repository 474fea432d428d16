"""Geometry of the drawings: readable ticks, lines over epochs. Templates draw them; no colour here.

Colours are classes that the page's style sheet defines for light and dark.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeGuard

from markupsafe import Markup

from manifests.pages.charts import Scale, log_ticks, ticks
from manifests.pages.fragments import THIN
from training.report.templates import fragment

Values = Sequence[float | None]  # one an epoch; None or not finite where there is none


@dataclass(frozen=True)
class Line:
    """One line of a chart: its style class, and a value an epoch."""

    kind: str  # train or val
    values: Values


WIDTH, HEIGHT = 440, 260  # of a chart, in its own units; it scales with the page
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 26, 42  # margins


def line_chart(title: str, unit: str, epochs: Sequence[int], lines: Sequence[Line], best: int | None) -> Markup:
    """Lines over epochs, the best epoch marked. `unit` is % (values are fractions) or empty.

    Values that span more than a factor of thirty are drawn on a log scale: else one bad epoch flattens all others.
    """
    values = numbers([value for line in lines for value in line.values])
    low, high = min(values), max(values)
    log = unit != "%" and low > 0 and high / low > 30
    marks = log_ticks(low, high) if log else ticks(*((0.0, 1.0) if unit == "%" and low == high else (low, high)))
    alone = len(epochs) == 1  # then it stands in the middle
    x = Scale(epochs[0] - alone, epochs[-1] + alone, LEFT, WIDTH - RIGHT)
    y = Scale(marks[0], marks[-1], HEIGHT - BOTTOM, TOP, log)
    return fragment(
        "line_chart.html",
        title=title + (", log scale" if log else ""),
        size=(WIDTH, HEIGHT),
        frame=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        x_marks=[(x(epoch), epoch) for epoch in epoch_marks(epochs)],
        y_marks=[(y(mark), text) for mark, text in zip(marks, labels(marks, unit), strict=True)],
        paths=[(line.kind, path(epochs, line.values, x, y)) for line in lines],
        dots=[
            (line.kind, x(epoch), y(value))
            for line in lines
            for epoch, value in zip(epochs, line.values, strict=True)
            if is_number(value) and (epoch == best or alone)
        ],
        best=None if best is None else (x(best), best),
        hovers=list(_hovers(epochs, lines, x, unit)),
    )


def _hovers(epochs: Sequence[int], lines: Sequence[Line], x: Scale, unit: str) -> Iterator[tuple[float, float, str]]:
    """Left edge, width and text of each epoch's tooltip; one ends halfway to where the next begins."""
    edges = [LEFT, *(round((x(a) + x(b)) / 2, 2) for a, b in pairwise(epochs)), WIDTH - RIGHT]
    for at, epoch in enumerate(epochs):
        said = [f"{line.kind} {label(v, unit, 4)}" for line in lines if is_number(v := line.values[at])]
        yield edges[at], round(edges[at + 1] - edges[at], 2), f"epoch {epoch}: {', '.join(said)}"


def label(value: float, unit: str, digits: int = 6) -> str:
    """0.25 as 25 % or 0.25, without zeros that say nothing."""
    return f"{100 * value:.{digits}g}{THIN}%" if unit == "%" else f"{value:.{digits}g}"


def labels(marks: Sequence[float], unit: str) -> list[str]:
    """Labels of an axis: all with as many decimals as the one that needs most; of a log scale, each as it is."""
    texts = [f"{mark * (100 if unit == '%' else 1):.6g}" for mark in marks]
    decimals = max(len(text.partition(".")[2]) for text in texts)
    even = len(marks) < 3 or math.isclose(marks[1] - marks[0], marks[2] - marks[1], rel_tol=1e-6)
    texts = [f"{float(text):.{decimals}f}" for text in texts] if even and "e" not in "".join(texts) else texts
    return [f"{text}{THIN}%" if unit == "%" else text for text in texts]


def epoch_marks(epochs: Sequence[int], most: int = 8) -> list[int]:
    """The first epoch and round ones: at most `most` + 1."""
    step = next(n for power in range(9) for n in (10**power, 2 * 10**power, 5 * 10**power) if len(epochs) <= n * most)
    return [epoch for epoch in epochs if epoch % step == 0 or epoch == epochs[0]]


def path(epochs: Sequence[int], values: Values, x: Scale, y: Scale) -> str:
    """An SVG path through the values, interrupted where there is none."""
    points = list(zip(epochs, values, strict=True))
    runs = [list(run) for there, run in groupby(points, lambda point: is_number(point[1])) if there]
    return "".join("M" + "L".join(f"{x(n)} {y(v)}" for n, v in run if v is not None) for run in runs)


def is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def numbers(values: Values) -> list[float]:
    """Those that can be drawn."""
    return [value for value in values if is_number(value)]
