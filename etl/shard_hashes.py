"""Hashes of what lies in shards, from their pixels alone: of shard sets of ours, and of safetensors made elsewhere.

Elsewhere means files named after their split (`train*.safetensors`, or any name in a folder `train`) that hold `images`
(N, H, W, C), (N, C, H, W) or (N, H, W), whole numbers of 8 bits or floats, and perhaps `labels` (N,). Files are mapped
and read a few rows at a time. Format: https://github.com/huggingface/safetensors#format
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from etl import engine
from etl.measures import Hashes, brightness, hashes, small_grey
from manifests.errors import Exit, UserError
from manifests.progress import Progress, silent, told
from manifests.shards import HEADER_LIMIT, Index, read_index
from manifests.table import read_table

ROWS = 32  # a task's
SAMPLED = 256  # rows of each file that tell the range of its floats
STORED: dict[str, npt.DTypeLike] = {
    "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16, "I32": np.int32, "U32": np.uint32,
    "I64": np.int64, "U64": np.uint64, "F16": np.float16, "BF16": np.uint16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip
SPLIT = re.compile(r"(train|val|dev|test)(ing|id|idation)?(?![a-z])", re.IGNORECASE)
CALLED = {"dev": "val"}
RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))  # what floats usually lie in
HASHED = pl.Schema(
    {
        "place": pl.String,  # FILE row N, after the image where that is known
        "split": pl.String,
        "class": pl.String,  # or the number of the label; null where there are no labels
        "sha256": pl.String,  # of the row's bytes
        "pixels": pl.String,  # the same
        "phash": pl.UInt64,
        "dhash": pl.UInt64,
        "phash256": pl.String,
        "dhash256": pl.String,
        "luma_std": pl.Float32,
    }
)
Levels = tuple[tuple[float, ...], tuple[float, ...]]  # per channel, what is black and what is white


class Part(NamedTuple):
    """One file of a split, with the levels of its floats; None where it has bytes."""

    file: Path
    split: str
    levels: Levels | None


class Job(NamedTuple):
    """Some rows of a file."""

    part: Part
    start: int
    stop: int


class Seen(NamedTuple):
    """What is taken from one row."""

    label: int | None
    sha256: str
    hashes: Hashes
    luma_std: float


class Tensors(NamedTuple):
    """A file's tensors, mapped: images (N, …) as they are stored, their type's tag, labels (N,) or None."""

    images: npt.NDArray[Any]
    tag: str
    labels: npt.NDArray[Any] | None


def hashed(folder: Path, *, workers: int, progress: Progress = silent) -> pl.DataFrame:
    """A row for each row of the shards, in HASHED. Raises UserError where there is nothing to compare."""
    index = _index(folder)
    parts = _ours(folder, index) if index else _elsewhere(folder)
    jobs = [
        Job(part, start, min(start + ROWS, rows))
        for part in parts
        for rows in [len(tensors(part.file).images)]
        for start in range(0, rows, ROWS)
    ]
    results = engine.ordered_map(engine.each(_look), jobs, workers=workers, lost=_lost)
    rows: list[tuple[Any, ...]] = []
    for job, seen in zip(jobs, told(results, progress, "hashing shards", len(jobs)), strict=True):
        name = job.part.file.relative_to(folder).as_posix()
        rows += (
            (name, number, job.part.split, _class(each.label, index), each.sha256, each.sha256, *each.hashes, std)
            for number, each in enumerate(seen, job.start)
            for std in [each.luma_std]
        )
    if len({row[2] for row in rows}) < 2:
        raise UserError(f"{folder}: only one split has rows; there is nothing to compare it with.", Exit.USAGE)
    named = _named(folder) if index else {}
    placed = [(_place(name, number, named.get((name, number))), *rest) for name, number, *rest in rows]
    return pl.DataFrame(placed, schema=HASHED, orient="row")


def _index(folder: Path) -> Index | None:
    """Of a shard set of ours; None for shards of another make."""
    if not (folder / "index.json").is_file():
        return None
    try:
        return read_index(folder)
    except UserError:
        raise UserError(
            f"{folder}/index.json: not an index of ours; move it away to judge the shards by their names.", Exit.USAGE
        ) from None


def _ours(folder: Path, index: Index) -> list[Part]:
    levels = None
    if index.contract.mean and index.contract.deviation and index.contract.dtype != "uint8":
        pairs = list(zip(index.contract.mean, index.contract.deviation, strict=True))
        levels = tuple(-mean / deviation for mean, deviation in pairs), tuple((1 - m) / d for m, d in pairs)
    return [Part(folder / shard.file, split, levels) for split, shards in index.splits.items() for shard in shards]


def _elsewhere(folder: Path) -> list[Part]:
    every = {file: _split(file, folder) for file in sorted(folder.rglob("*.safetensors"))}
    files = {file: split for file, split in every.items() if split}
    if len(set(files.values())) < 2:
        what = f"files of {files[next(iter(files))]} only" if files else "no file of a split"
        raise UserError(
            f"{folder}: {what}; expected an index.json, or files named train*.safetensors and val* or test*.",
            Exit.USAGE,
        )
    if odd := [file for file, split in every.items() if not split]:
        raise UserError(
            f"{odd[0]}: of no split, by its name; call it train*, val* or test*, or move it out of {folder}.",
            Exit.USAGE,
        )
    levels = _levels(list(files))
    return [Part(file, split, levels) for file, split in files.items()]


def _split(file: Path, folder: Path) -> str | None:
    """The split that a file's name begins with, or that its folder is called after."""
    names = [file.name, *(parent.name for parent in file.relative_to(folder).parents)]
    found = next((match[1].lower() for name in names if (match := SPLIT.match(name))), None)
    return CALLED.get(found, found) if found else None


def _levels(files: list[Path]) -> Levels | None:
    """The range of floats, over rows spread through all files: a usual one, or of each channel what is there."""
    lows: list[npt.NDArray[Any]] = []
    highs: list[npt.NDArray[Any]] = []
    for file in files:
        images, tag, _ = tensors(file)
        if tag == "U8" or not len(images):
            continue
        values = _last_channels(_numbers(images[:: max(1, len(images) // SAMPLED)], tag))
        lows.append(values.min((0, 1, 2)))
        highs.append(values.max((0, 1, 2)))
    if not lows:
        return None
    low, high = np.min(lows, 0), np.max(highs, 0)
    if not np.isfinite([low, high]).all():
        raise UserError(f"{files[0].parent}: pixel values that are not finite; nothing can be said of such shards.")
    usual = next(((a, b) for a, b in RANGES if low.min() >= a and high.max() <= b), None)
    count = len(low)
    return ((usual[0],) * count, (usual[1],) * count) if usual else (tuple(low.tolist()), tuple(high.tolist()))


@lru_cache(maxsize=64)
def tensors(file: Path) -> Tensors:
    """Map a file's `images` and, where there are any, its `labels`. Raises UserError."""
    try:
        size = file.stat().st_size
        with file.open("rb") as source:
            length = struct.unpack("<Q", source.read(8))[0]
            header = json.loads(source.read(min(length, size, HEADER_LIMIT)))
        images = _map(file, header["images"], 8 + length)
        labels = _map(file, header["labels"], 8 + length) if "labels" in header else None
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise UserError(f"{file}: not safetensors with a tensor `images`: {error}.", Exit.STALE) from None
    tag = header["images"]["dtype"]
    if images.ndim not in {3, 4} or tag not in {"U8", "F16", "BF16", "F32", "F64"}:
        found = f"{tag} {tuple(images.shape)}"
        raise UserError(f"{file}: `images` is {found}; expected (N, H, W, C), (N, C, H, W) or (N, H, W), U8 or floats.")
    return Tensors(images, tag, labels if labels is not None and labels.shape == images.shape[:1] else None)


def _map(file: Path, tensor: dict[str, Any], start: int) -> npt.NDArray[Any]:
    kind, shape = STORED[tensor["dtype"]], tuple(tensor["shape"])
    if 0 in shape:
        return np.empty(shape, kind)
    return np.memmap(file, kind, "r", start + tensor["data_offsets"][0], shape)


def _look(job: Job) -> list[Seen]:
    """In a worker: hash some rows."""
    images, tag, labels = tensors(job.part.file)
    stored = np.ascontiguousarray(images[job.start : job.stop])
    smalls = [small_grey(picture) for picture in _pictures(stored, tag, job.part.levels)]
    labelled = [None] * len(smalls) if labels is None else [int(label) for label in labels[job.start : job.stop]]
    digests = [hashlib.sha256(row.data).hexdigest() for row in stored]
    deviations = [brightness(small)[1] for small in smalls]
    return list(map(Seen, labelled, digests, hashes(smalls), deviations))


def _pictures(stored: npt.NDArray[Any], tag: str, levels: Levels | None) -> Iterator[Image.Image]:
    """Each row as a grey picture."""
    values = _last_channels(_numbers(stored, tag))
    if tag != "U8" and levels is not None:
        low, high = (np.array(each, np.float32) for each in levels)
        values = np.clip((values - low) / np.where(high > low, high - low, 1) * 255, 0, 255).round().astype(np.uint8)
    for row in values:
        yield Image.fromarray(row[..., 0]) if row.shape[2] < 3 else Image.fromarray(row[..., :3].copy()).convert("L")


def _numbers(stored: npt.NDArray[Any], tag: str) -> npt.NDArray[Any]:
    """Bytes as they are, floats as float32: bfloat16 is the upper half of its bits."""
    if tag == "U8":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32) if tag == "BF16" else stored.astype(np.float32)


def _last_channels(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(N, H, W, C), whichever way they lie."""
    if values.ndim == 3:
        return values[..., None]
    return values if values.shape[3] <= 4 else values.transpose(0, 2, 3, 1)


def _lost(job: Job, why: str) -> list[Seen]:
    raise UserError(f"{job.part.file}: rows {job.start} to {job.stop - 1} cannot be hashed: {why}.")


def _class(label: int | None, index: Index | None) -> str | None:
    if label is None or index is None:
        return None if label is None else str(label)
    return index.classes[label] if 0 <= label < len(index.classes) else str(label)


def _named(folder: Path) -> dict[tuple[str, int], str]:
    """(shard, row) → which view of which image it is, where the set says so."""
    file = folder / "rows.parquet"
    if not file.is_file():
        return {}
    rows = read_table(file).select("shard", "row", "path", "view").iter_rows()
    return {(shard, row): path + (f", view {view}" if view else "") for shard, row, path, view in rows}


def _place(file: str, row: int, image: str | None) -> str:
    return f"{image}, {file} row {row}" if image else f"{file} row {row}"
