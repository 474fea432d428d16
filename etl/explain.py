"""What curation would do with these settings, before it does: `curate --explain`. Nothing is published."""

from typing import Any, NamedTuple

import polars as pl

from etl import faults
from etl.curate import curate, sieved
from etl.decisions import laid_over, read_decisions
from manifests.errors import UserError
from manifests.recipe import Curate
from manifests.store import DatasetStore, Stage
from manifests.table import read_table


class Ruled(NamedTuple):
    """What one kind of reason would take away."""

    kind: str
    rejects: int
    example: str  # the first path, with the whole reason


class Explanation(NamedTuple):
    """The rules as they are asked for, in the order of what they take, and every fault, asked for or not."""

    found: int
    kept: int
    rules: list[Ruled]
    faults: list[faults.Explained]
    refused: str  # why curate would stop with an error; empty where it would not

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {
            "rules": [each._asdict() for each in self.rules],
            "faults": [each._asdict() for each in self.faults],
        }


def explained(dataset: DatasetStore, extracted: Stage, settings: Curate) -> Explanation:
    table = read_table(dataset.folder("extract", extracted.key) / "images.parquet")
    return explain(table, settings)


def explain(table: pl.DataFrame, settings: Curate) -> Explanation:
    """Of an extracted table. Each fault is counted by itself, among the images that nothing but faults rejects."""
    decided = laid_over(table, read_decisions(settings.reject))
    of_faults = faults.explain(sieved(table, settings.model_copy(update={"faults": {}}), decided), settings)
    try:
        marked = curate(table, settings, decided)
    except UserError as refused:
        return Explanation(table.height, 0, [], of_faults, str(refused))
    gone = marked.filter(pl.col("rejected").is_not_null()).sort("path")
    kind = pl.col("rejected").str.splitn(": ", 2).struct.field("field_0").alias("kind")
    rules = gone.group_by(kind).agg(
        pl.len().alias("rejects"), pl.format("{}: {}", "path", "rejected").first().alias("example")
    )
    rows = [Ruled(*row) for row in rules.sort("rejects", "kind", descending=[True, False]).rows()]
    return Explanation(table.height, table.height - gone.height, rows, of_faults, "")
