"""Geometry of the comparison's plots: every place is per cent of the plot's width. Templates draw; no colour here."""

from collections.abc import Iterable
from dataclasses import dataclass

from manifests.pages.charts import Scale, ticks
from manifests.pages.fragments import THIN
from training.paired import MINUS, Contrast, Verdict

KINDS: dict[Verdict, str] = {"better": "better", "worse": "worse", "not distinguishable": "same"}  # style classes


@dataclass(frozen=True)
class Axis:
    """Where numbers lie, in per cent of the width, and the marks with their words."""

    scale: Scale
    marks: list[tuple[float, str]]

    def __call__(self, value: float) -> float:
        return self.scale(value)


def axis(values: Iterable[float], *, unit: str = "%", sign: bool = False, most: int = 5) -> Axis:
    """An axis that covers fractions, marked in hundredths of them: per cent, or signed points."""
    values = list(values)
    low, high = min(values), max(values)
    if low == high:  # all the same: some room around it
        low, high = low - 0.01, high + 0.01
    marks = ticks(100 * low, 100 * high, most)
    scale = Scale(marks[0] / 100, marks[-1] / 100, 0, 100)
    return Axis(scale, [(scale(mark / 100), _label(mark, unit, sign)) for mark in marks])


def _label(mark: float, unit: str, sign: bool) -> str:
    before = MINUS if mark < 0 else "+" if sign and mark > 0 else ""
    return f"{before}{abs(mark):g}{THIN + unit if unit else ''}"


def difference_axis(pairs: Iterable[Contrast]) -> Axis:
    """Covers all intervals and zero, in points."""
    return axis([0.0, *(value for pair in pairs for value in (*pair.interval, pair.difference))], unit="", sign=True)


def kind(pair: Contrast) -> str:
    return KINDS[pair.verdict]
