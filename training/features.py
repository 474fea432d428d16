"""A frozen backbone's features: each row passes it once, and they are kept as one more shard set.

Same shard files, rows, labels and order as the pixels they come from, `images` being (N, features) float32: the head
trains on them by the same `training.batches`, in the same order, to the same result. Only train and val are read.
"""

import hashlib
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn

from manifests.digests import digest
from manifests.recipe import Train
from manifests.shards import Index, Rows, Shard, create, describe, open_rows, write_index
from manifests.store import DatasetStore, Stage, stage_key
from training.batches import in_order
from training.models import Classifier

SPLITS = ("train", "val")
BATCH = 64  # rows that pass the backbone at once


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
    begun = _stage(index, model, settings)
    if dataset.find("features", begun.key) is not None:
        return dataset.folder("features", begun.key), True
    with dataset.publish(begun) as (folder, finish):
        kept = _write(folder, shards, index, model.eval(), progress)
        finish(kept.digest, {split: kept.rows(split) for split in kept.splits})
    return dataset.folder("features", begun.key), False


def find(dataset: DatasetStore, index: Index, model: Classifier, settings: Train) -> Path | None:
    """The shard set of the features as `cached` keeps them, or None."""
    key = _stage(index, model, settings).key
    return dataset.folder("features", key) if dataset.find("features", key) is not None else None


def _stage(index: Index, model: Classifier, settings: Train) -> Stage:
    asked = {
        "model": settings.model,
        "pool": settings.pool,
        "backbone": _digest(model.backbone),
        "normalise": [model.normalise.name, *model.normalise.statistics],
        "device": f"{model.normalise.scale.device.type} float32",
    }
    inputs = {"transform": index.digest, "contract": index.contract.digest}
    return Stage("features", stage_key("features", asked, inputs), asked, inputs)


def _write(
    folder: Path,
    shards: Path,
    index: Index,
    model: Classifier,
    progress: Callable[[int, int], None],
) -> Index:
    device = model.normalise.scale.device
    with torch.no_grad():
        empty = torch.zeros((1, *index.contract.shape), dtype=getattr(torch, index.contract.dtype), device=device)
        width = model.features(empty).shape[1]
    splits = {split: index.splits[split] for split in SPLITS if index.rows(split)}
    total, before = sum(index.rows(split) for split in splits), 0
    written: dict[str, tuple[Shard, ...]] = {}
    for split, parts in splits.items():
        files = [folder / part.file for part in parts]
        for file, part in zip(files, parts, strict=True):
            create(file, part.rows, (width,), "float32")
        out = [open_rows(file, writable=True) for file in files]
        done = 0
        for images, labels in in_order(shards, split, BATCH, device):
            progress(before + done, total)
            with torch.no_grad():
                _put(out, done, model.features(images), labels)
            done += len(labels)
        before += done
        written[split] = tuple(describe(file, part.rows) for file, part in zip(files, parts, strict=True))
    progress(total, total)
    kept = index.model_copy(update={"splits": written})
    write_index(kept, folder)
    return kept


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
