"""Feeding the trainer: alacena's batches against the limit, a gather in memory, and against torch's own loaders.

    python -m benchmarks.feeding [ROUNDS]

The limit gathers the rows of a shuffled epoch from one tensor in memory into a buffer that exists already: no
allocation, no page fault, once with all threads and once with one. Takes about two minutes.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.measure import photographs, report, rounds
from etl.pipeline import bring
from etl.steps import Site
from manifests.recipe import Curate, Extract, Recipe, Transform
from manifests.shards import open_rows
from manifests.store import DatasetStore
from training.batches import Batches, permutation

SLOW_IMAGES = 640  # of the rivals that need minutes for an epoch
WORKERS = 2


def main(count: int) -> None:
    source = photographs()
    with tempfile.TemporaryDirectory() as place:
        shards = built(source, Path(place))
        parts = [open_rows(file) for file in sorted(shards.glob("train-*.safetensors"))]
        images = torch.from_numpy(np.concatenate([part.images for part in parts]))
        labels = torch.from_numpy(np.concatenate([part.labels for part in parts]))
        for size in (32, 256):
            compare(source, shards, images, labels, size, count)


def built(source: Path, store: Path) -> Path:
    recipe = Recipe(
        dataset="clothing",
        extract=Extract.model_validate({"source": str(source)}),
        curate=Curate(dedupe="off"),
        transform=Transform(size=(224, 224)),
    )
    dataset = DatasetStore(store / recipe.dataset)
    return dataset.folder("transform", bring(recipe, Site(dataset, WORKERS))["transform"].key)


def compare(source: Path, shards: Path, images: torch.Tensor, labels: torch.Tensor, size: int, count: int) -> None:
    total, epochs = len(images), iter(range(1, 10_000))
    words = images.reshape(total, -1).view(torch.int64)  # rows are a multiple of 8 bytes
    buffer = torch.zeros((size, words.shape[1]), dtype=torch.int64)

    def limit(threads: int) -> None:
        order = torch.from_numpy(permutation(total, 0, next(epochs)))
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        for first in range(0, total - size + 1, size):
            torch.index_select(words, 0, order[first : first + size], out=buffer)
        torch.set_num_threads(before)

    tensors = DataLoader(
        TensorDataset(images[:SLOW_IMAGES], labels[:SLOW_IMAGES]), size, shuffle=True, num_workers=WORKERS
    )
    steps = v2.Compose([v2.Resize(224), v2.CenterCrop(224), v2.PILToTensor()])
    folder = torch.utils.data.Subset(
        ImageFolder(str(source / "train"), steps), range(0, total, max(1, total // SLOW_IMAGES))
    )
    files = DataLoader(folder, size, shuffle=True, num_workers=WORKERS)
    with Batches(shards, "train", size, "cpu", seed=0) as batches:
        rivals: dict[str, Callable[[], object]] = {
            "gather in memory, one thread": lambda: limit(1),
            f"gather in memory, {WORKERS} threads": lambda: limit(WORKERS),
            "alacena, from mapped shards": lambda: [None for _ in batches.epoch(next(epochs))],
            "tensors in memory, DataLoader, 2 workers": lambda: [None for _ in tensors],
            "ImageFolder, DataLoader, 2 workers": lambda: [None for _ in files],
        }
        for run in list(rivals.values())[:3]:
            run()  # once uncounted: pages and threads are there afterwards
        seconds = rounds(rivals, count)
    amounts = dict.fromkeys(rivals, total) | {
        "tensors in memory, DataLoader, 2 workers": SLOW_IMAGES,
        "ImageFolder, DataLoader, 2 workers": len(folder),
    }
    report(f"feeding uint8 batches of {size} at 224×224", seconds, amounts, "images/s", "gather in memory, one thread")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
