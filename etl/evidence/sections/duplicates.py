"""Copies: clusters side by side, the kept image first, and how far off the others are."""

from collections.abc import Iterator

import polars as pl
from markupsafe import Markup

from etl.evidence.clusters import chosen, drawn
from etl.evidence.evidence import Evidence
from etl.evidence.histograms import Column, histogram
from etl.evidence.templates import fragment
from manifests.pages.charts import ticks
from manifests.pages.fragments import count
from manifests.recipe import SPLITS

ORDER = 30
TITLE = "Duplicates"
LARGEST, FURTHEST, SHOWN = 4, 5, 14  # clusters: the largest, those that reach furthest, in all
BIN = 4  # bits of one column
FEW_PAIRS = 8  # so many tell nothing as a histogram


def render(evidence: Evidence) -> Markup:
    clusters = evidence.clustered.filter(~pl.col("conflict"))
    copies = clusters.filter("is_copy")
    names = chosen(clusters, LARGEST, FURTHEST, SHOWN)
    return fragment(
        "duplicates.html",
        evidence=evidence,
        clusters=drawn(evidence, clusters, names),
        number=clusters["cluster"].n_unique(),
        in_conflict=evidence.clustered.height > clusters.height,
        copies=copies.height,
        same=_identical(copies, clusters),
        largest=clusters["size"].max(),
        across=(shared := across(evidence.clustered)),
        astride=sum(clusters for _, clusters in shared),
        kept=clusters.filter(pl.col("kind").is_null() & (pl.col("sha256") != pl.col("cluster"))).height,
        method=evidence.settings.dedupe.partition(":")[0],
        distances=distances(evidence),
        alike=evidence.counts["waiting"],
    )


def _identical(copies: pl.DataFrame, clusters: pl.DataFrame) -> int:
    """Copies whose file is that of another image of their cluster, byte for byte."""
    repeated = clusters.filter(pl.len().over("sha256") > 1)
    return copies.join(repeated, on="path", how="semi").height


def across(clustered: pl.DataFrame) -> list[tuple[str, int]]:
    """Given splits that share an image → clusters that do."""
    place = pl.col("source_split").replace_strict({split: n for n, split in enumerate(SPLITS)}, default=len(SPLITS))
    splits = pl.col("source_split").drop_nulls().unique(maintain_order=True).str.join(" and ")
    shared = clustered.filter("astride").sort("cluster", place).group_by("cluster", maintain_order=True).agg(splits)
    pairs = shared.group_by("source_split").len().sort("len", "source_split", descending=[True, False])
    return pairs.rows()


def distances(evidence: Evidence) -> Markup | None:
    """How far copies lie from what they copy, and look-alikes from what they are like; None where few can tell."""
    others = evidence.clustered.filter(pl.col("sha256") != pl.col("cluster")).unique("sha256", maintain_order=True)
    copies = others["bits"].drop_nulls()
    alike = evidence.rows.select(pl.col("like_bits").drop_nulls()).collect().to_series()
    if not evidence.bits or len(copies) + len(alike) < FEW_PAIRS:
        return None
    reach = max(evidence.radius + BIN, *pl.concat([copies, alike]).top_k(1))
    columns = list(_columns(copies, alike, reach))
    marks = [(mark, count(round(mark))) for mark in ticks(0, reach, 5)]
    title = "Bits that differ: copies, and those only alike"
    return histogram(title, f"of {evidence.bits} bits", columns, marks, [(evidence.radius + 0.5, "threshold")])


def _columns(copies: pl.Series, alike: pl.Series, reach: int) -> Iterator[Column]:
    for low in range(0, reach + 1, BIN):
        here, there = (int(each.is_between(low, low + BIN - 1).sum()) for each in (copies, alike))
        yield Column(low, low + BIN, here, there, f"{low} to {low + BIN - 1} bits: {here} copies, {there} alike")
