"""Which of an image's augmented views an epoch shows, where the views take turns (`views = "rotate"`)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]  # row numbers in a split
NOTHING: Numbers = np.empty(0, np.int64)


class Turns:
    """Rows that are views of the same image take turns: each image once an epoch, another of its views each time.

    `images` is the image of each row (rows,). Image i of K views shows view (its own start + epoch) mod K, so that any
    K epochs in a row show each of them once; the starts come from the seed alone.
    """

    def __init__(self, images: Numbers, seed: int) -> None:
        self._rows = np.argsort(images, kind="stable").astype(np.int64)
        _, self._first, self._views = np.unique(images[self._rows], return_index=True, return_counts=True)
        starts = np.random.PCG64(np.random.SeedSequence([seed])).random_raw(len(self._first))
        self._starts = (starts % self._views.astype(np.uint64)).astype(np.int64)
        self.count = len(self._first)  # images

    def rows(self, epoch: int) -> Numbers:
        """The row that each image shows in an epoch: (images,)."""
        return self._rows[self._first + (self._starts + epoch) % self._views]


def images_of(shards: Path, split: str) -> Numbers:
    """Which image each row of a split is a view of, in row order: (rows,) numbers that mean nothing by themselves."""
    import polars as pl

    from manifests.table import read_table

    rows = read_table(shards / "rows.parquet").filter(pl.col("split") == split).sort("shard", "row")
    return rows.select(pl.struct("path", "sha256").rank("dense"))["path"].to_numpy().astype(np.int64)
