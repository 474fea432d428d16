"""A frozen backbone's features: each row passes it once, and they are kept as one more shard set.

Same shard files, rows, labels and order as the pixels they come from, `images` being (N, features) float32: the head
trains on them by the same `training.batches`, in the same order, to the same result. `cached` reads only train and val;
`of_images` has one row for each image of every split, for `training.suggest`.
"""

import hashlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn

from manifests.digests import digest
from manifests.recipe import Train
from manifests.shards import Index, Rows, Shard, create, describe, open_rows, read_index, write_index
from manifests.store import DatasetStore, Stage, stage_key
from manifests.table import read_table
from training.batches import in_order
from training.models import Classifier

SPLITS = ("train", "val")
BATCH = 64  # rows that pass the backbone at once

Masks = dict[str, npt.NDArray[np.bool_]]  # split → which of its rows, in their order


def cached(
    dataset: DatasetStore,
    shards: Path,
    index: Index,
    model: Classifier,
    settings: Train,
    *,
    progress: Callable[[int, int], None],
) -> tuple[Path, bool]:
    """The shard set of the features, and whether it was there already.

    KEY is made of all that decides the numbers: the backbone's own tensors (and so the weights, however they came),
    model, pool, normalisation, pixel contract, rows, and the kind of device. `progress` hears images done and images
    in all, and may raise: then nothing is kept.
    """
    every = {split: np.ones(index.rows(split), np.bool_) for split in SPLITS if index.rows(split)}
    return _published(dataset, _stage(index, model, settings), shards, index, model, every, progress)


def of_images(
    dataset: DatasetStore,
    shards: Path,
    index: Index,
    model: Classifier,
    settings: Train,
    *,
    progress: Callable[[int, int], None],
) -> npt.NDArray[np.float32]:
    """The features (N, F) of every row that is no augmented view, in the order of `image_rows`.

    Those of train and val are taken as `cached` keeps them, and made so where no row is augmented: then a head can
    train on them. The rest is kept as a set of its own, without augmented views. `progress` as for `cached`.
    """
    images = _masks(shards)
    shared = find(dataset, index, model, settings)
    if shared is None and all(images[split].all() for split in SPLITS if split in images):
        shared, _ = cached(dataset, shards, index, model, settings, progress=progress)
    rest = {split: mask for split, mask in images.items() if shared is None or split not in SPLITS}
    own = shared
    if rest:
        begun = _stage(index, model, settings, {"splits": sorted(rest), "views": 0})
        own, _ = _published(dataset, begun, shards, index, model, rest, progress)
    parts = [_read(own, split) if split in rest else _read(shared, split)[images[split]] for split in images]
    return np.concatenate(parts)


def image_rows(shards: Path) -> pl.DataFrame:
    """The rows of `rows.parquet` that are no augmented views: by split, shard and row."""
    return read_table(shards / "rows.parquet").filter(pl.col("view") == 0).sort("split", "shard", "row")


def _masks(shards: Path) -> Masks:
    rows = read_table(shards / "rows.parquet").sort("split", "shard", "row")
    parts = rows.partition_by("split", maintain_order=True)
    return {str(part["split"][0]): (part["view"] == 0).to_numpy() for part in parts}


def _read(folder: Path | None, split: str) -> npt.NDArray[np.float32]:
    assert folder is not None
    return np.concatenate([open_rows(folder / part.file).images for part in read_index(folder).splits[split]])


def _published(
    dataset: DatasetStore,
    begun: Stage,
    shards: Path,
    index: Index,
    model: Classifier,
    wanted: Masks,
    progress: Callable[[int, int], None],
) -> tuple[Path, bool]:
    """The folder of a set of features, and whether it was there already."""
    there = dataset.find("features", begun.key) is not None
    if not there:
        with dataset.publish(begun) as (folder, finish):
            kept = _write(folder, shards, index, model.eval(), wanted, progress)
            finish(kept.digest, {split: kept.rows(split) for split in kept.splits})
    return dataset.folder("features", begun.key), there


def find(dataset: DatasetStore, index: Index, model: Classifier, settings: Train) -> Path | None:
    """The shard set of the features as `cached` keeps them, or None."""
    key = _stage(index, model, settings).key
    return dataset.folder("features", key) if dataset.find("features", key) is not None else None


def features_key(index: Index, model: Classifier, settings: Train) -> str:
    """What stands for all that decides the features' numbers."""
    return _stage(index, model, settings).key


def _stage(index: Index, model: Classifier, settings: Train, rows: dict[str, Any] | None = None) -> Stage:
    asked = {
        "model": settings.model,
        "pool": settings.pool,
        "backbone": _digest(model.backbone),
        "normalise": [model.normalise.name, *model.normalise.statistics],
        "device": f"{model.normalise.scale.device.type} float32",
    } | (rows or {})
    inputs = {"transform": index.digest, "contract": index.contract.digest}
    return Stage("features", stage_key("features", asked, inputs), asked, inputs)


def _write(
    folder: Path,
    shards: Path,
    index: Index,
    model: Classifier,
    wanted: Masks,
    progress: Callable[[int, int], None],
) -> Index:
    device = model.normalise.scale.device
    with torch.no_grad():
        empty = torch.zeros((1, *index.contract.shape), dtype=getattr(torch, index.contract.dtype), device=device)
        width = model.features(empty).shape[1]
    total, before = sum(int(mask.sum()) for mask in wanted.values()), 0
    written: dict[str, tuple[Shard, ...]] = {}
    for split, mask in wanted.items():
        rows = _rows_of(index.splits[split], mask)
        for file, count in rows.items():
            create(folder / file, count, (width,), "float32")
        out = [open_rows(folder / file, writable=True) for file in rows]
        done = seen = 0
        for images, labels in in_order(shards, split, BATCH, device):
            progress(before + done, total)
            chosen = torch.from_numpy(mask[seen : seen + len(labels)]).to(device)
            seen += len(labels)
            if chosen.any():
                with torch.no_grad():
                    _put(out, done, model.features(images if chosen.all() else images[chosen]), labels[chosen])
                done += int(chosen.sum())
        before += done
        written[split] = tuple(describe(folder / file, count) for file, count in rows.items())
    progress(total, total)
    kept = index.model_copy(update={"splits": written})
    write_index(kept, folder)
    return kept


def _rows_of(parts: tuple[Shard, ...], mask: npt.NDArray[np.bool_]) -> dict[str, int]:
    """How many of the chosen rows each shard file has; files without any are left out."""
    ends = list(accumulate(part.rows for part in parts))
    counts = {part.file: int(mask[end - part.rows : end].sum()) for part, end in zip(parts, ends, strict=True)}
    return {file: count for file, count in counts.items() if count}


def _put(out: list[Rows], first: int, features: Tensor, labels: Tensor) -> None:
    """Rows first, first + 1, … of a split into the shards that hold them."""
    values, numbers = features.float().cpu().numpy(), labels.cpu().numpy()
    for rows, end in zip(out, accumulate(len(part.labels) for part in out), strict=True):
        start = end - len(rows.labels)
        low, high = max(first, start), min(first + len(values), end)
        if low < high:
            rows.images[low - start : high - start] = values[low - first : high - first]
            rows.labels[low - start : high - start] = numbers[low - first : high - first]


def _digest(backbone: nn.Module) -> str:
    """Of every tensor's name, shape and bytes."""
    parts: list[tuple[str, list[int], str]] = []
    for name, value in backbone.state_dict().items():
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        parts.append((name, list(value.shape), hashlib.sha256(data).hexdigest()))
    return digest(parts)
