"""Whether its probabilities can be taken at their word: how sure it was against how often it was right."""

import math
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from manifests.pages.charts import Scale
from manifests.pages.fragments import THIN, images, missing, percent
from training.folders import CALIBRATION
from training.report.evidence import Evidence
from training.report.numbers import numbers_of
from training.report.templates import fragment

ORDER = 45
TITLE = "Calibration"
LEFT, RIGHT, TOP, SIDE = 66, 22, 10, 340  # of the square; the counts stand below it
GAP, TALL = 14, 70  # between square and counts, and height of the longest count
Z = 1.959964  # of a 95 % range


@dataclass(frozen=True)
class Dot:
    """The images of one bin, as fractions and as places."""

    images: int
    confidence: float
    accuracy: float
    reach: str  # 95 % range of the accuracy, `66 to 94 %`
    x: float
    y: float
    whisker: tuple[float, float]  # its ends, the upper one first
    bar: tuple[float, float, float]  # left edge, width and height of its count
    said: str  # `80 to 87 %`
    tip: str


def render(evidence: Evidence) -> Markup:
    figures = evidence.evaluation
    if figures is None:
        return missing("Not evaluated yet: alacena evaluate finds out how far its probabilities can be trusted.")
    if "calibration" not in figures:
        return missing("This evaluation is of an earlier version that did not ask: run alacena evaluate again.")
    filled = [part for part in figures["calibration"] if part["images"]]
    return fragment(
        "calibration.html",
        error=figures["calibration_error"],
        bins=len(figures["calibration"]),
        images=figures["images"],
        accuracy=figures["accuracy"],
        confidence=(sure := mean_confidence(filled)),
        verdict=verdict(sure, figures["accuracy"], tuple(figures["interval"])),
        dots=dots(filled),
        most=max(part["images"] for part in filled),
        frame=(LEFT, TOP, LEFT + SIDE, TOP + SIDE),
        foot=TOP + SIDE + GAP + TALL,
        size=(LEFT + SIDE + RIGHT, TOP + SIDE + GAP + TALL + 42),
        marks=[
            (mark, round(LEFT + SIDE * mark, 2), round(TOP + SIDE * (1 - mark), 2)) for mark in (0, 0.25, 0.5, 0.75, 1)
        ],
        numbers=numbers_of(evidence, CALIBRATION),
    )


def mean_confidence(filled: list[dict[str, Any]]) -> float:
    """Mean probability of the predicted class over all images."""
    return sum(part["images"] * part["confidence"] for part in filled) / sum(part["images"] for part in filled)


def verdict(confidence: float, accuracy: float, interval: tuple[float, float]) -> str:
    """In words: does it promise too much, too little, or what it holds, as far as so many images can tell?"""
    if interval[0] <= confidence <= interval[1]:
        return "on the whole as sure as it is right, as far as so many images can tell"
    return "surer than it should be" if confidence > accuracy else "less sure than it could be"


def dots(filled: list[dict[str, Any]]) -> list[Dot]:
    """Bins with images → what is drawn and listed of them."""
    x, y = Scale(0, 1, LEFT, LEFT + SIDE), Scale(0, 1, TOP + SIDE, TOP)
    most = max(part["images"] for part in filled)

    def dot(part: dict[str, Any]) -> Dot:
        sure, right, found = part["confidence"], part["accuracy"], part["images"]
        low, high = wilson(right, found)
        left, width = x(part["low"]) + 1, x(part["high"]) - x(part["low"]) - 2
        said = f"{100 * part['low']:.0f} to {percent(part['high'], 0)}"
        tip = f"{said} sure: {images(found)}, {percent(sure)} sure on average, {percent(right)} right"
        reach = said_range(low, high)
        tip += f" (95 % range {reach})"
        bar = (round(left, 2), round(width, 2), round(max(TALL * found / most, 1), 2))
        return Dot(found, sure, right, reach, x(sure), y(right), (y(high), y(low)), bar, said, tip)

    return [dot(part) for part in filled]


def said_range(low: float, high: float) -> str:
    """`66 to 94 %`; one figure where both read the same."""
    ends = percent(low, 0), percent(high, 0)
    return ends[1] if ends[0] == ends[1] else f"{ends[0].removesuffix(THIN + '%')} to {ends[1]}"


def wilson(fraction: float, count: int) -> tuple[float, float]:
    """95 % range of a fraction of so many, count ≥ 1. Wilson, Probable Inference, JASA 22, 1927."""
    centre, spread = (
        fraction + Z * Z / (2 * count),
        Z * math.sqrt((fraction * (1 - fraction) + Z * Z / (4 * count)) / count),
    )
    scale = 1 + Z * Z / count
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
