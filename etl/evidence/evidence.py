"""What one curation left behind, as the sections ask for it: their only input."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from etl.evidence.thumbnails import Thumbnails
from etl.funnel import COPIES, LATE, STEPS, step_of
from manifests.recipe import DEDUPE_BITS, SPLITS, Curate

SAID = [
    "path",
    "sha256",
    "class",
    "source_split",
    "split",
    "bytes",
    "width",
    "height",
    "format",
    "problem",
    "decided",
    "cluster",
    "bits",
    "like",
    "like_bits",
    "kind",
    "details",
]  # what is said of an image


@dataclass(frozen=True)
class Evidence:
    """A marked image table, and what is known of it."""

    name: str  # of the data set
    table: pl.LazyFrame  # EXTRACTED and CURATED: each section reads the columns and rows that it shows
    classes: list[str]  # in the order that shards keep
    counts: dict[str, Any]  # etl.curate.funnel
    settings: Curate
    thumbnails: Thumbnails
    digests: Mapping[str, str] | None = None

    @cached_property
    def rows(self) -> pl.LazyFrame:
        """The table with `kind` and `details` of each reason."""
        parts = pl.col("rejected").str.splitn(": ", 2).struct
        return self.table.with_columns(kind=parts.field("field_0"), details=parts.field("field_1"))

    @cached_property
    def clustered(self) -> pl.DataFrame:
        """The images of every cluster of more than one, with `size`, `is_copy`, `astride` (of given splits) and
        `conflict` (of classes). In a cluster the kept image comes first, then the others from near to far.

        What an earlier rule took out was never compared, so it is of no cluster, whatever its bytes are.
        """
        kinds = list(self.counts["rejected"])
        never = [kind for kind in kinds if STEPS.index(step_of(kind)) < LATE]
        copies = [kind for kind in kinds if step_of(kind) == COPIES]
        compared = self.rows.filter(pl.col("cluster").is_not_null() & ~_among("kind", never))
        several = compared.select(several=pl.col("cluster").hash().is_duplicated()).collect()  # 64 bits: a sieve
        found = pl.concat([compared.select(SAID), several.lazy()], how="horizontal").filter("several").collect()
        together = found.drop("several").with_columns(size=pl.len().over("cluster")).filter(pl.col("size") > 1)
        return together.with_columns(
            is_copy=_among("kind", copies),
            astride=pl.col("source_split").drop_nulls().n_unique().over("cluster") > 1,
            conflict=pl.col("class").n_unique().over("cluster") > 1,
            is_centre=pl.col("sha256") == pl.col("cluster"),
        ).sort("cluster", "is_copy", ~pl.col("is_centre"), "bits", "path")

    @cached_property
    def placed(self) -> dict[str, int]:
        """Split → images kept in it."""
        return {split: sum(row[split] for row in self.counts["per_class"]) for split in SPLITS}

    @property
    def kept_of(self) -> dict[str, int]:
        """Class → images kept of it."""
        return {row["class"]: sum(row[split] for split in SPLITS) for row in self.counts["per_class"]}

    @property
    def bits(self) -> int:
        """How many bits of two images are compared; 0 where only whole files are."""
        return DEDUPE_BITS.get(self.settings.dedupe.partition(":")[0], 0)

    @property
    def radius(self) -> int:
        """Bits up to which two images are copies."""
        return int(self.settings.dedupe.partition(":")[2] or 0)


def _among(column: str, values: list[str]) -> pl.Expr:
    return pl.col(column).is_in(values).fill_null(value=False)
