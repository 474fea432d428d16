"""The answer first: how good, on how many images, how sure, beside what no learning at all would score."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from manifests.pages.charts import Scale
from manifests.pages.fragments import THIN
from training.report.evidence import Evidence
from training.report.templates import fragment

ORDER = 10
TITLE = "Result"


@dataclass(frozen=True)
class Split:
    """What of the data was used for what."""

    name: str
    images: int
    views: int  # tensors: the images, and their augmented copies


def render(evidence: Evidence) -> Markup:
    return fragment(
        "answer.html",
        evidence=evidence,
        figures=evidence.evaluation,
        others=list(evidence.evaluations.values())[1:],
        baseline=baseline(evidence.evaluation) if evidence.evaluation else None,
        x=Scale(0, 1, 0, 100),
        splits=splits(evidence),
        time=time_per_image(evidence.evaluation or {}),
        seconds=sum(evidence.epochs["seconds"].drop_nulls()),
        frozen=frozen(evidence.facts["settings"]),
        turn=evidence.facts["settings"].get("unfreeze_after"),
    )


def time_per_image(evaluation: dict[str, Any]) -> str | None:
    """`4.25 ms`; None where nobody measured it."""
    milliseconds = evaluation.get("milliseconds_per_image")
    if milliseconds is None:
        return None
    return f"{milliseconds:.0f}{THIN}ms" if milliseconds >= 100 else f"{milliseconds:.3g}{THIN}ms"


def baseline(evaluation: dict[str, Any]) -> tuple[str, float]:
    """The most frequent class, and the accuracy of always answering it."""
    largest = max(evaluation["classes"], key=lambda score: score["support"])
    return largest["name"], largest["support"] / evaluation["images"]


def frozen(settings: dict[str, Any]) -> str:
    """What was held back at the start, in words; empty where all learned."""
    asked = settings["freeze"]
    if asked == "none":
        return ""
    if asked == "backbone":
        return "the backbone"
    return f"the first {asked} blocks" if asked > 0 else f"all but the last {-asked} blocks"


def splits(evidence: Evidence) -> list[Split]:
    index = evidence.index
    originals = dict(evidence.rows.filter(evidence.rows["view"] == 0).group_by("split").len().iter_rows())
    return [Split(name, originals.get(name, 0), index.rows(name)) for name in index.splits if index.rows(name)]
