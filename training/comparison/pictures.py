"""The compared images as pictures: from the shards of the run that saw them largest, of those that are still there."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from manifests.errors import UserError
from manifests.shards import Index, read_index
from manifests.table import read_table
from training.compare import Comparison
from training.entrants import IMAGE
from training.report.thumbnails import thumbnail


@dataclass(frozen=True)
class Pictures:
    """Shards that hold the compared images, and where in them each one lies."""

    shards: Path
    index: Index
    places: dict[tuple[str, str, int], tuple[str, int]]  # path, sha256, view → shard, row

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.index.contract.shape

    def picture(self, image: tuple[str, str, int]) -> str:
        """A `data:` address."""
        shard, row = self.places[image]
        return thumbnail(self.shards, shard, row, self.index.contract)


def pictures(comparison: Comparison) -> Pictures | None:
    """None where no shard set of these runs is there any more."""
    found = {one.shards: index for one in comparison.entrants if (index := _index(one.shards))}
    if not found:
        return None
    shards = max(found, key=lambda folder: found[folder].contract.height * found[folder].contract.width)
    rows = read_table(shards / "rows.parquet").filter(pl.col("split") == comparison.split)
    numbered = rows.with_columns(view=pl.int_range(pl.len()).over("path", "sha256"))
    lines = numbered.select(*IMAGE, "shard", "row").iter_rows()
    return Pictures(shards, found[shards], {(path, sha, view): (shard, row) for path, sha, view, shard, row in lines})


def _index(shards: Path) -> Index | None:
    try:
        return read_index(shards)
    except UserError:  # pruned, or moved away: the figures stand without it
        return None
