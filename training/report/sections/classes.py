"""Precision, recall, F1 and support of each class, the worst first."""

from typing import Any

from markupsafe import Markup

from manifests.pages.fragments import missing
from training.report.evidence import Evidence
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
        largest=max(score["support"] for score in scores),
        absent=len(scores) - len(present),
        figures=evidence.evaluation,
    )


def worst_first(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By F1; of equal ones the larger class first. Classes without an image here say nothing and come last."""
    return sorted(scores, key=lambda score: (not score["support"], score["f1"], -score["support"]))
