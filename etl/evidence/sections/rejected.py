"""What else was left out: of each kind of reason some images, with the reason in full."""

from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from etl.evidence.cards import Card, cards
from etl.evidence.evidence import SAID, Evidence
from etl.evidence.templates import fragment
from etl.evidence.thumbnails import Row
from etl.funnel import CONFLICTS, COPIES, flow
from manifests.pages.fragments import missing

ORDER = 60
TITLE = "Left out"
PICTURES = 60  # in all
SHOWN = 12  # of a kind, where there are few kinds
FEWEST = 3  # of a kind, where there are many
ABOVE = {COPIES: "duplicates", CONFLICTS: "conflicts"}  # step → the section that shows its images
LISTED = 12  # entries of a list that name no image


@dataclass(frozen=True)
class Kind:
    """One kind of reason."""

    name: str
    images: int
    cards: list[Card]
    link: str = ""  # the section that shows them instead


def render(evidence: Evidence) -> Markup:
    unmatched = evidence.counts["unmatched"]
    if not evidence.counts["rejected"] and not unmatched:
        return missing("Nothing was left out.")
    above: list[Kind] = []
    here: list[Kind] = []
    for left in flow(evidence.counts):
        link = ABOVE.get(left.step, "")
        kinds = [Kind(kind, images, [], link) for kind, images in left.kinds.items()]
        (above if link else here).extend(kinds)
    most = max(FEWEST, min(SHOWN, PICTURES // max(1, len(here))))
    return fragment(
        "rejected.html",
        shown_above=above,
        kinds=[_pictured(evidence, kind, most) for kind in here[: PICTURES // FEWEST]],
        found=evidence.counts["found"],
        unmatched=unmatched[:LISTED],
        more=max(0, len(unmatched) - LISTED),
    )


def _pictured(evidence: Evidence, kind: Kind, most: int) -> Kind:
    samples = sample(evidence.rows.filter(pl.col("kind") == kind.name).select(SAID), most)
    return Kind(kind.name, kind.images, cards(evidence, samples, [row["details"] or row["kind"] for row in samples]))


def sample(rows: pl.LazyFrame, most: int) -> list[Row]:
    """Some of them: first one of each wording and class, then the next; of equals as their digests fall."""
    wording = pl.col("details").str.replace_all(r"\d+", "#")  # shorter side 96 px and 97 px are one wording
    ordered = _first(rows.with_columns(wording=wording), most).sort("sha256", "path", nulls_last=True)
    turn = pl.int_range(pl.len())
    taken = ordered.with_columns(of_wording=turn.over("wording"), of_class=turn.over("class"))
    first = pl.min_horizontal("of_wording", "of_class")
    return taken.sort(first, "of_wording", "sha256", "path", nulls_last=True).head(most).rows(named=True)


def _first(rows: pl.LazyFrame, most: int) -> pl.DataFrame:
    """Of each wording and each class the rows with the lowest digests, `most` and perhaps some more: by the first 32
    bits alone, for to sort ten million digests takes 40 s."""
    start = pl.col("sha256").str.head(8).str.to_integer(base=16, strict=False).fill_null(1 << 32)
    placed = rows.select("wording", "class", start=start).collect()
    turn = pl.col("start").rank("min")
    is_first = placed.select((turn.over("wording") <= most) | (turn.over("class") <= most)).to_series()
    both = pl.concat([rows, is_first.alias("is_first").to_frame().lazy()], how="horizontal")
    return both.filter("is_first").collect()
