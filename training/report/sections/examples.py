"""Images to look at: where the model was sure and wrong, where it hesitated, where it was sure and right."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from manifests.pages.fragments import missing
from training.folders import PREDICTIONS
from training.report.evidence import Evidence
from training.report.numbers import numbers_of
from training.report.templates import fragment
from training.report.thumbnails import thumbnail

ORDER = 50
TITLE = "Examples"
SHOWN = 12  # images of each kind


@dataclass(frozen=True)
class Kind:
    title: str
    about: str
    none: str  # what to say where there is no such image
    images: list[dict[str, Any]]  # the predictions' columns, and the picture


def render(evidence: Evidence) -> Markup:
    if evidence.evaluation is None:
        return missing("Not evaluated yet: alacena evaluate finds the images that are worth a look.")
    wrong, unsure, right = (_pictured(evidence, table) for table in chosen(evidence.predictions))
    kinds = [
        Kind("Surest and wrong", "A wrong label often hides here.", "No image was named wrong.", wrong),
        Kind("Least sure", "Whatever it said, it had little reason to.", "No image.", unsure),
        Kind("Surest and right", "What it takes to be typical.", "No image was named right.", right),
    ]
    linked = numbers_of(evidence, PREDICTIONS)
    size = evidence.index.contract.shape
    return fragment("examples.html", kinds=kinds, size=size, split=evidence.split, numbers=linked)


def chosen(predictions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Surest wrong, least sure, surest right; of equally sure ones the first path."""
    surest = predictions.sort("probability", "path", descending=[True, False])
    return (
        surest.filter(~pl.col("correct")).head(SHOWN),
        predictions.sort("probability", "path").head(SHOWN),
        surest.filter("correct").head(SHOWN),
    )


def _pictured(evidence: Evidence, table: pl.DataFrame) -> list[dict[str, Any]]:
    contract = evidence.index.contract
    return [
        image | {"picture": thumbnail(evidence.shards, image["shard"], image["row"], contract)}
        for image in table.iter_rows(named=True)
    ]
