"""Label conflicts: images that show the same under different classes, side by side."""

import polars as pl
from markupsafe import Markup

from etl.evidence.clusters import chosen, drawn
from etl.evidence.evidence import Evidence
from etl.evidence.templates import fragment
from manifests.pages.fragments import missing

ORDER = 40
TITLE = "Label conflicts"
SHOWN = 10  # clusters with pictures
LISTED = 500  # images named


def render(evidence: Evidence) -> Markup:
    clusters = evidence.clustered.filter("conflict")
    if clusters.is_empty():
        return missing("No image stands under two classes.")
    names = chosen(clusters, 2, SHOWN, SHOWN)
    listed = evidence.counts["conflicts"]
    return fragment(
        "conflicts.html",
        clusters=drawn(evidence, clusters, names),
        number=clusters["cluster"].n_unique(),
        images=clusters.height,
        kept=clusters.filter(pl.col("kind").is_null()).height,
        pairs=pairs(clusters),
        listed=listed[:LISTED],
        more=max(0, len(listed) - LISTED),
    )


def pairs(clusters: pl.DataFrame) -> list[tuple[str, int]]:
    """Classes that share images → clusters in which they do, the most frequent first."""
    named = clusters.group_by("cluster").agg(pl.col("class").unique().sort()).select(pl.col("class").list.join(" and "))
    return named.group_by("class").len().sort("len", "class", descending=[True, False]).head(12).rows()
