"""Tiny shard sets, written with the same functions as real ones."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from manifests.pixels import Channels, Dtype, Normalise, PixelContract, normalisation
from manifests.shards import Index, Shard, create, describe, open_rows, write_index
from manifests.store import DatasetStore, Stage, stage_key

CLASSES = ("red", "green", "blue")


def contract(size: int = 8, *, channels: Channels = "rgb", dtype: Dtype = "uint8") -> PixelContract:
    normalise: Normalise | None = None if dtype == "uint8" else "imagenet"
    mean, deviation = normalisation("imagenet", 3 if channels == "rgb" else 1)
    return PixelContract(
        height=size, width=size, resize="crop", interpolation="bilinear", channels=channels, dtype=dtype,
        normalise=normalise, mean=mean if normalise else None, deviation=deviation if normalise else None,
        decoder="made up",
    )  # fmt: skip


def pixels(labels: npt.NDArray[np.int64], shape: tuple[int, int, int], seed: int) -> npt.NDArray[np.uint8]:
    """Noise with a brighter channel (or, in grey, a brighter band) that says the class: learnable, not trivial."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 160, (len(labels), *shape), dtype=np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        if shape[2] == 3:
            image[:, :, label] += 80
        else:
            image[label * shape[0] // 3 : (label + 1) * shape[0] // 3] += 80
    return images


def stored(images: npt.NDArray[np.uint8], dtype: Dtype) -> npt.NDArray[Any]:
    """As a shard of that type keeps it: floats in about [-1, 1], bfloat16 as its bits."""
    if dtype == "uint8":
        return images
    values = images.astype(np.float32) / 128 - 1
    if dtype == "bfloat16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(dtype)


def shard_set(
    folder: Path,
    *,
    rows: dict[str, tuple[int, ...]] | None = None,
    size: int = 8,
    channels: Channels = "rgb",
    dtype: Dtype = "uint8",
    seed: int = 0,
) -> Index:
    """Write a shard set: split → rows of each of its shards. Labels go round the classes."""
    rows = rows or {"train": (13, 7, 10), "val": (6, 5)}
    pixel = contract(size, channels=channels, dtype=dtype)
    splits: dict[str, tuple[Shard, ...]] = {}
    for split, counts in rows.items():
        shards: list[Shard] = []
        for number, count in enumerate(counts):
            file = folder / f"{split}-{number:05d}.safetensors"
            create(file, count, pixel.shape, dtype)
            labels = (np.arange(count, dtype=np.int64) + number) % len(CLASSES)
            mapped = open_rows(file, writable=True)
            mapped.labels[:] = labels
            salt = 1000 * seed + 100 * list(rows).index(split) + number
            mapped.images[:] = stored(pixels(labels, pixel.shape, salt), dtype)
            shards.append(describe(file, count))
        splits[split] = tuple(shards)
    depth = pixel.shape[2]
    index = Index(
        dataset="made-up", classes=CLASSES, contract=pixel, mean=(0.4,) * depth, deviation=(0.2,) * depth, splits=splits
    )
    write_index(index, folder)
    return index


def dataset(root: Path, **kind: Any) -> tuple[DatasetStore, str]:
    """A data set whose transform stage is published, and the key of that stage."""
    store = DatasetStore(root / "made-up")
    key = stage_key("transform", {name: str(value) for name, value in kind.items()}, {})
    with store.publish(Stage("transform", key, {}, {})) as (folder, finish):
        finish(shard_set(folder, **kind).digest, {})
    return store, key


def everything(folder: Path, split: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """All rows of a split in memory, read the plain way."""
    files = sorted(folder.glob(f"{split}-*.safetensors"))
    opened = [open_rows(file) for file in files]
    return np.concatenate([part.images for part in opened]), np.concatenate([part.labels for part in opened])


@contextmanager
def full_disk(most: int) -> Generator[None]:
    """No file can grow over so many bytes: the operating system refuses as it does on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def squeezenet(folder: Path) -> str:
    """A file of random weights of squeezenet1_1, the same in every test."""
    import safetensors.torch
    import torch
    from torchvision import models

    torch.manual_seed(0)
    file = folder / "squeezenet.safetensors"
    safetensors.torch.save_file(models.get_model("squeezenet1_1", weights=None).state_dict(), file)
    return str(file)
