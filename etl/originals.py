"""The source pictures of a shard set once more, whole and as the contract has them: what an export is checked with."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from etl.extract import opener
from etl.images import Pixels, Unusable, array, picture, pixels, resized
from etl.opened import Stored, as_stored
from etl.opening import Opener
from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract
from manifests.recipe import SPLITS
from manifests.shards import read_index
from manifests.store import DatasetStore, Stage
from manifests.table import read_table

PLACE = ("source", "member", "bytes", "stamp", "offset")
REMEDY = "bring the source back and run extract, or leave --verify out"


class Original(NamedTuple):
    """One picture."""

    name: str  # its path in the image table
    whole: Pixels  # (H, W, 3) uint8 at its own size, upright and over the contract's background
    levels: Pixels  # (height, width, C) uint8 by the contract
    stored: Stored  # the same as the shards keep it
    in_full: Stored  # the same, of `whole`: where a JPEG was decoded at a smaller scale, these are other pixels


def originals(dataset: DatasetStore, shards: Path, count: int) -> Iterator[Original]:
    """The first pictures of the test split, then of val and train, in the order of their rows: that of their digests.

    Raises UserError (exit 5) at once where the source is not what the shards were made of, and later where a picture
    has changed since.
    """
    contract = read_index(shards).contract
    rows = read_table(shards / "rows.parquet").filter(pl.col("view") == 0)
    last = {split: number for number, split in enumerate(reversed(SPLITS))}
    wanted = rows.sort(pl.col("split").replace_strict(last), maintain_order=True).head(count).select("path", "sha256")
    reads, places = _opener(dataset, wanted)
    return (_original(dict(zip(places.columns, place, strict=True)), reads, contract) for place in places.iter_rows())


def _opener(dataset: DatasetStore, wanted: pl.DataFrame) -> tuple[Opener, pl.DataFrame]:
    """What reads the pictures, and for each its path, digest, size in pixels and place."""
    for stage in dataset.published("extract"):
        images = read_table(dataset.folder("extract", stage.key) / "images.parquet")
        found = wanted.join(
            images.select("path", "sha256", "width", "height"), on=["path", "sha256"], maintain_order="left"
        )
        if found.height == wanted.height:
            return _placed(dataset, stage, found)
    raise UserError(f"{dataset.root}: no extract holds the pictures of these shards; {REMEDY}.", Exit.STALE)


def _placed(dataset: DatasetStore, stage: Stage, found: pl.DataFrame) -> tuple[Opener, pl.DataFrame]:
    try:
        reads, places = opener(dataset, stage)
    except UserError as error:
        raise UserError(f"the pictures of these shards are away ({error}); {REMEDY}.", Exit.STALE) from None
    return reads, found.join(places.select("path", *PLACE), on="path", maintain_order="left")


def _original(row: dict[str, object], reads: Opener, contract: PixelContract) -> Original:
    name = str(row["path"])
    try:
        data = reads.read(tuple(row[column] for column in PLACE))  # pyright: ignore[reportArgumentType] # the types of files.parquet
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise Unusable("changed since extract")
        own = {"height": row["height"], "width": row["width"], "resize": "squash", "channels": "rgb"}
        whole = picture(data, contract.model_copy(update=own))  # to its own size: not resized at all
        levels = pixels(data, contract)
    except Unusable as reason:
        raise UserError(f"{name}: {reason}; {REMEDY}.", Exit.STALE) from None
    in_full = array(resized(whole if contract.channels == "rgb" else whole.convert("L"), contract), contract)
    return Original(name, np.asarray(whole), levels, as_stored(levels, contract), as_stored(in_full, contract))
