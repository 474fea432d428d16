"""What earlier shard sets hold of the rows of a new one: whole shards are linked, other rows copied, none is decoded.

Only sets of the same pixel contract count, the newest first; a shard that is damaged since it was written does not.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.pixels import PixelContract
from manifests.shards import Index, Shard, Target, is_sound, read_index
from manifests.store import DatasetStore, verify
from manifests.table import read_table

Numbers = npt.NDArray[np.int64]
TABLES = ("index.json", "rows.parquet")
VIEW = ["sha256", "view", "parameters"]  # what a row's pixels are made of, under one contract


class _Set:
    """An earlier shard set: its folder, its index, and its rows (VIEW, class, sums, shard, row)."""

    def __init__(self, folder: Path, index: Index, background: Executor) -> None:
        self.folder, self.index, self._background = folder, index, background
        self.rows = read_table(folder / "rows.parquet").select(*VIEW, "class", "sums", "shard", "row")
        self._shards = {shard.file: shard for part in index.splits.values() for shard in part}

    def keep(self, wanted: pl.DataFrame) -> None:
        """Forget the rows of other views: there may be many sets, each with as many rows as ours."""
        self.rows = self.rows.join(wanted, on=VIEW, how="semi", maintain_order="left")

    def sound(self, files: Iterable[str]) -> dict[str, Shard]:
        """Those of these shards that still are what the index says."""
        wanted = [self._shards[file] for file in files]
        checks = self._background.map(partial(is_sound, self.folder), wanted)
        return {shard.file: shard for shard, is_whole in zip(wanted, checks, strict=True) if is_whole}


class Earlier:
    """The earlier shard sets of a data set under one contract. Each is read when it is asked, and no sooner."""

    def __init__(self, dataset: DatasetStore, contract: PixelContract, background: Executor) -> None:
        self._dataset, self._contract, self._background = dataset, contract, background
        self._stages = iter(dataset.published("transform"))
        self._read: list[_Set] = []

    def _sets(self) -> Iterator[_Set]:
        yield from list(self._read)
        for stage in self._stages:
            folder = self._dataset.folder("transform", stage.key)
            tables = {name: stage.files.get(name, "none") for name in TABLES}
            if verify(folder, replace(stage, files=tables)):
                continue
            index = read_index(folder)
            if index.contract.digest == self._contract.digest:
                self._read.append(_Set(folder, index, self._background))
                yield self._read[-1]

    def link(self, rows: pl.DataFrame, classes: list[str], sums: Numbers, folder: Path) -> dict[str, Shard]:
        """Link the shards of these rows that an earlier set has with the same views and labels, in the same order.

        Their rows' sums are written down. One image more leaves all shards but its own as they were.
        """
        left = {
            str(name): part
            for (name,), part in rows.with_row_index("number").partition_by("shard", as_dict=True).items()
        }
        linked: dict[str, Shard] = {}
        for old in self._sets():
            twins = _twins(left, old.rows) if old.index.classes == tuple(classes) else {}
            sound = old.sound(twin["shard"][0] for twin in twins.values())
            for name, twin in twins.items():
                if shard := sound.get(twin["shard"][0]):
                    _link(old.folder / shard.file, folder / name)
                    linked[name] = shard.model_copy(update={"file": name})
                    sums[left.pop(name)["number"].to_numpy()] = _sums(twin, sums)
            if not left:
                break
            old.keep(pl.concat(left.values()))
        return linked

    def copy(self, missing: pl.DataFrame, sums: Numbers, folder: Path) -> pl.DataFrame:
        """Copy the numbered rows that an earlier set holds into their shards, with their sums → those that are left."""
        for old in self._sets():
            if missing.is_empty():
                break
            held = old.rows.join(missing, on=VIEW, how="semi", maintain_order="left")
            held = held.select(*VIEW, "sums", old_shard="shard", old_row="row")
            same = missing.join(held.unique(VIEW, keep="first", maintain_order=True), on=VIEW)
            same = same.filter(pl.col("old_shard").is_in(list(old.sound(same["old_shard"].unique()))))
            for (file, origin), members in same.sort("shard", "row").group_by(
                "shard", "old_shard", maintain_order=True
            ):
                Target(folder / str(file)).copy(old.folder / str(origin), _runs(members))
            sums[same["number"].to_numpy()] = _sums(same, sums)
            missing = missing.join(same, on="number", how="anti", maintain_order="left")
        return missing


def _twins(parts: dict[str, pl.DataFrame], old: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Name → the rows of the old shard that holds the same views under the same classes, row by row."""
    same = [*VIEW, "class"]
    candidates = {_ends(part): part for part in old.partition_by("shard")}
    found = {name: candidates.get(_ends(part)) for name, part in parts.items()}
    return {
        name: twin
        for name, twin in found.items()
        if twin is not None and twin.select(same).equals(parts[name].select(same))
    }


def _ends(part: pl.DataFrame) -> tuple[str, str, int]:
    return part["sha256"][0], part["sha256"][-1], part.height


def _sums(rows: pl.DataFrame, like: Numbers) -> Numbers:
    return rows["sums"].list.to_array(like.shape[1]).to_numpy().reshape(-1, like.shape[1])


def _link(origin: Path, place: Path) -> None:
    try:
        os.link(origin, place)
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(origin, place)


def _runs(members: pl.DataFrame) -> Iterator[tuple[int, int, int]]:
    """First row, first old row and number of rows of each run that follows one another here and there."""
    row, old = members["row"].to_numpy(), members["old_row"].to_numpy()
    ends = [0, *(np.flatnonzero((np.diff(row) != 1) | (np.diff(old) != 1)) + 1).tolist(), len(row)]
    return ((int(row[a]), int(old[a]), b - a) for a, b in pairwise(ends))
