"""Images that resemble a kept one without being a copy of it: they stay, and wait for a person."""

from collections.abc import Iterator

import polars as pl
from markupsafe import Markup

from etl.evidence.cards import cards
from etl.evidence.clusters import Cluster
from etl.evidence.evidence import SAID, Evidence
from etl.evidence.templates import fragment
from etl.evidence.thumbnails import Row
from manifests.pages.fragments import missing
from manifests.recipe import SPLITS

ORDER = 50
TITLE = "Look-alikes"
SHOWN = 10  # pairs


def render(evidence: Evidence) -> Markup:
    alike = evidence.rows.select(SAID).filter(pl.col("like").is_not_null()).collect().sort("like_bits", "path")
    if alike.is_empty():
        return missing("No kept image resembles another one without being its copy: nothing waits for a person here.")
    return fragment(
        "lookalikes.html",
        pairs=list(_pairs(evidence, alike.head(SHOWN))),
        number=alike.height,
        bits=evidence.bits,
        low=alike["like_bits"].min(),
        high=alike["like_bits"].max(),
        shown=min(SHOWN, alike.height),
    )


def _pairs(evidence: Evidence, alike: pl.DataFrame) -> Iterator[Cluster]:
    """Each image beside the one that it is like."""
    wanted = evidence.rows.select(SAID).filter(pl.col("sha256").is_in(alike["like"].to_list())).collect()
    by_sha: dict[str, Row] = {}
    for row in wanted.sort(pl.col("kind").is_not_null(), "path").iter_rows(named=True):
        by_sha.setdefault(row["sha256"], row)
    for row in alike.iter_rows(named=True):
        both = [row, by_sha[row["like"]]] if row["like"] in by_sha else [row]
        names = list(dict.fromkeys(each["class"] or "no class" for each in both))
        splits = [split for split in SPLITS if split in {each["split"] for each in both}]
        shown = cards(evidence, both, [""] * len(both))
        yield Cluster(names, splits if len(splits) > 1 else [], shown, 0, f"{row['like_bits']} bits")
