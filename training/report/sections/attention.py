"""What the model looks at: of some examples of each kind, which places spoke for what it said, and for the truth."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from manifests.pages.fragments import missing
from training.attention import SHOWN, Attention, Look, read_attention
from training.report.evidence import Evidence
from training.report.sections.examples import chosen
from training.report.templates import fragment
from training.report.thumbnails import RAMP, overlaid, thumbnail

ORDER = 60
TITLE = "What it looks at"
KINDS = ("Surest and wrong", "Least sure", "Surest and right")


@dataclass(frozen=True)
class Overlay:
    """The image under the map of one class."""

    picture: str
    name: str  # of the class
    probability: float
    is_wrong: bool
    is_empty: bool  # nothing speaks for the class


@dataclass(frozen=True)
class Example:
    """One image with its maps."""

    name: str  # of its class
    path: str
    picture: str
    overlays: list[Overlay]


def render(evidence: Evidence) -> Markup:
    if evidence.evaluation is None:
        return missing("Not evaluated yet: alacena evaluate finds the images that are worth a look.")
    found = read_attention(evidence.run, str(evidence.split), evidence.evaluation["weights"])
    if found is None:
        return missing("Not looked at yet, or with other weights: alacena evaluate does.")
    if not found.maps:
        return missing(f"There is no map to show: {found.why}.")
    tables = chosen(evidence.predictions.with_row_index("number"))
    kinds = {kind: examples(evidence, found, table) for kind, table in zip(KINDS, tables, strict=True)}
    return fragment(
        "attention.html",
        kinds={kind: shown for kind, shown in kinds.items() if shown},
        shape=next(iter(found.maps.values())).shape,
        layer=found.layer,
        ramp=[f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in RAMP],
    )


def examples(evidence: Evidence, found: Attention, table: pl.DataFrame) -> list[Example]:
    """The first of a kind, those that were looked at."""
    return [
        Example(image["class"], image["path"], picture(evidence, image), overlays)
        for image in table.head(SHOWN).iter_rows(named=True)
        if (overlays := overlays_of(evidence, found, image))
    ]


def picture(evidence: Evidence, image: dict[str, Any]) -> str:
    return thumbnail(evidence.shards, image["shard"], image["row"], evidence.index.contract)


def overlays_of(evidence: Evidence, found: Attention, image: dict[str, Any]) -> list[Overlay]:
    """One for what was said and, where that is wrong, one for the truth."""
    said = [("predicted", "probability"), ("class", "probability_of_class")][: 1 if image["correct"] else 2]
    return [
        Overlay(
            overlaid(evidence.shards, image["shard"], image["row"], evidence.index.contract, places),
            image[name],
            image[probability],
            is_wrong=image[name] != image["class"],
            is_empty=not places.any(),
        )
        for name, probability in said
        if (places := found.maps.get(Look(image["number"], evidence.index.classes.index(image[name])))) is not None
    ]
