"""Precision, recall, F1 and support of each class, the worst first; of many classes the ends, and all as a skyline."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from manifests.pages.fragments import fixed, images, missing
from training.folders import CLASSES
from training.report.evidence import Evidence
from training.report.numbers import numbers_of
from training.report.templates import fragment

ORDER = 40
TITLE = "Classes"
FEW = 30  # up to so many are shown as one table; of more, the ends first and the rest folded away
ENDS = 10


def render(evidence: Evidence) -> Markup:
    if evidence.evaluation is None:
        return missing("Not evaluated yet: alacena evaluate gives each class its scores.")
    scores = worst_first(evidence.evaluation["classes"])
    few, present = len(scores) <= FEW, [score for score in scores if score["support"]]
    return fragment(
        "classes.html",
        whole=scores if few else [],
        worst=[] if few else present[:ENDS],
        best=[] if few else present[::-1][:ENDS],
        folded=[] if few else scores,
        skyline=None if few else skyline(present),
        absent=len(scores) - len(present),
        figures=evidence.evaluation,
        numbers=numbers_of(evidence, CLASSES),
    )


@dataclass(frozen=True)
class Tower:
    """A class in the skyline, in its own units: 1 wide, 100 high."""

    x: int
    height: float
    tip: str


def skyline(scores: list[dict[str, Any]]) -> list[Tower]:
    """A tower a class, as high as its F1; classes in the order given."""
    return [
        Tower(x, round(100 * score["f1"], 1), f"{score['name']}: F1 {fixed(score['f1'])}, {images(score['support'])}")
        for x, score in enumerate(scores)
    ]


def worst_first(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By F1; of equal ones the larger class first. Classes without an image here say nothing and come last."""
    return sorted(scores, key=lambda score: (not score["support"], score["f1"], -score["support"]))
