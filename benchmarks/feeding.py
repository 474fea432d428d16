"""Feeding the trainer: alacena's batches against the limit, a gather in memory, and against torch's own loaders.

    python -m benchmarks.feeding [ROUNDS] [--quick]

The limit gathers the rows of a shuffled epoch from one tensor in memory into a buffer that exists already: no
allocation, no page fault, with all of torch's threads and with one. Then the same for float32 batches (the input of a
model), from a cold page cache against reading the files, and what a split takes of the process's own memory. About a
minute and a half; FFCV and its like are in `benchmarks.peers`.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.measure import arguments, machine, photographs, report, rounds
from etl.pipeline import bring
from etl.steps import Site
from manifests.memory import keep_freed_memory
from manifests.pixels import normalisation
from manifests.recipe import Curate, Extract, Recipe, Transform
from manifests.shards import open_rows
from manifests.store import DatasetStore
from training.batches import Batches, permutation
from training.models import Normalise

SLOW_IMAGES = 640  # of the rivals that need minutes for an epoch
WORKERS = 2
READ = 1 << 20  # bytes of a plain read


def main(count: int, is_quick: bool) -> None:
    source = photographs()
    keep_freed_memory()  # as every command that trains does
    with tempfile.TemporaryDirectory() as place:
        shards = built(source, Path(place))
        images, labels = in_memory(shards)
        for size in (32, 256):
            levels(source, shards, images, labels, size, count, with_loaders=not is_quick)
            floats(shards, images, size, count)
        cold(shards, count)
        own_memory(shards)


def built(source: Path, store: Path) -> Path:
    """The shards of the photographs at 224×224."""
    recipe = Recipe(
        dataset="clothing",
        extract=Extract.model_validate({"source": str(source)}),
        curate=Curate(dedupe="off"),
        transform=Transform(size=(224, 224)),
    )
    dataset = DatasetStore(store / recipe.dataset)
    return dataset.folder("transform", bring(recipe, Site(dataset, WORKERS))["transform"].key)


def in_memory(shards: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The train split in tensors of torch's own, which begin on a cache line."""
    parts = [open_rows(file) for file in sorted(shards.glob("train-*.safetensors"))]
    images = torch.empty((sum(len(part.images) for part in parts), *parts[0].images.shape[1:]), dtype=torch.uint8)
    np.concatenate([part.images for part in parts], out=images.numpy())
    return images, torch.from_numpy(np.concatenate([part.labels for part in parts]))


class Limit:
    """A gather in memory into a buffer that exists already."""

    def __init__(self, images: torch.Tensor, size: int) -> None:
        self.words = images.reshape(len(images), -1).view(torch.int64)  # rows are a multiple of 8 bytes
        self.size, self.epoch = size, 0
        self.buffer = torch.zeros((size, self.words.shape[1]), dtype=torch.int64)
        self.pixels = self.buffer.view(torch.uint8).view(size, *images.shape[1:])

    def gather(self, threads: int, then: Callable[[], object] = lambda: None) -> None:
        self.epoch += 1
        order = torch.from_numpy(permutation(len(self.words), 0, self.epoch))
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        for first in range(0, len(self.words) - self.size + 1, self.size):
            torch.index_select(self.words, 0, order[first : first + self.size], out=self.buffer)
            then()
        torch.set_num_threads(before)


def levels(
    source: Path, shards: Path, images: torch.Tensor, labels: torch.Tensor, size: int, count: int, *, with_loaders: bool
) -> None:
    """uint8 batches, as shards hold them."""
    limit, epochs, total = Limit(images, size), iter(range(1, 10_000)), len(images)
    against, ours = f"gather in memory, {WORKERS} threads", "alacena, from mapped shards"
    with (
        Batches(shards, "train", size, "cpu", seed=0) as batches,
        Batches(shards, "train", size, "cpu", seed=0, ahead=True) as ahead,
    ):
        rivals: dict[str, Callable[[], object]] = {
            "gather in memory, one thread": lambda: limit.gather(1),
            against: lambda: limit.gather(WORKERS),
            ours: lambda: [None for _ in batches.epoch(next(epochs))],
            "the same, gathered ahead by a thread": lambda: [None for _ in ahead.epoch(next(epochs))],
        }
        for run in rivals.values():
            run()  # once uncounted: pages and threads are there afterwards
        seconds, amounts = rounds(rivals, max(count, 5)), dict.fromkeys(rivals, total)
        report(f"feeding uint8 batches of {size} at 224×224", seconds, amounts, "images/s", against, {ours: 0.85})
        if with_loaders:
            loaders, amounts = _loaders(source, images, labels, size)
            seconds = rounds({ours: rivals[ours], **loaders}, count)
            asked = dict(zip(loaders, (1 / 10, 1 / 50), strict=True))
            title = f"the same against loaders of torch and torchvision, batches of {size}"
            report(title, seconds, {ours: total, **amounts}, "images/s", ours)
            print(f"  asked: at most {', '.join(f'{name} {ratio:.2f}' for name, ratio in asked.items())}")


def _loaders(
    source: Path, images: torch.Tensor, labels: torch.Tensor, size: int
) -> tuple[dict[str, Callable[[], object]], dict[str, int]]:
    """An epoch of each, of SLOW_IMAGES; and of how many images it is."""
    few = TensorDataset(images[:SLOW_IMAGES], labels[:SLOW_IMAGES])
    tensors = DataLoader(few, size, shuffle=True, num_workers=WORKERS)
    steps = v2.Compose([v2.Resize(224), v2.CenterCrop(224), v2.PILToTensor()])
    chosen = range(0, len(images), max(1, len(images) // SLOW_IMAGES))
    folder = torch.utils.data.Subset(ImageFolder(str(source / "train"), steps), chosen)
    files = DataLoader(folder, size, shuffle=True, num_workers=WORKERS)
    names = "tensors in memory, DataLoader, 2 workers", "ImageFolder, DataLoader, 2 workers"
    rivals: dict[str, Callable[[], object]] = {
        names[0]: lambda: [None for _ in tensors],
        names[1]: lambda: [None for _ in files],
    }
    return rivals, {names[0]: SLOW_IMAGES, names[1]: len(folder)}


def floats(shards: Path, images: torch.Tensor, size: int, count: int) -> None:
    """float32 batches, normalised: what a model computes with."""
    limit, epochs, statistics = Limit(images, size), iter(range(1, 10_000)), normalisation("imagenet", 3)
    normalise = Normalise("imagenet", statistics, is_stored=False)
    there = torch.zeros(limit.pixels.shape)
    first = torch.zeros((size, 3, 224, 224))
    lines, row = there.flatten(2), images.shape[2]
    scale, shift = normalise.scale.flatten().repeat(row), normalise.shift.flatten().repeat(row)
    against, ours = "gather, convert and normalise, in buffers", "alacena, from mapped shards, normalised"

    def all_in_buffers() -> None:
        there.copy_(limit.pixels)
        lines.mul_(scale).add_(shift)

    with Batches(shards, "train", size, "cpu", seed=0) as batches, torch.no_grad():
        rivals: dict[str, Callable[[], object]] = {
            "gather and convert only, in buffers": lambda: limit.gather(WORKERS, lambda: there.copy_(limit.pixels)),
            "the same, channels first": lambda: limit.gather(
                WORKERS, lambda: first.copy_(limit.pixels.permute(0, 3, 1, 2))
            ),
            against: lambda: limit.gather(WORKERS, all_in_buffers),
            ours: lambda: [normalise(each) is None for each, _ in batches.epoch(next(epochs))],
        }
        rivals[ours]()
        seconds = rounds(rivals, count)
    amounts = dict.fromkeys(rivals, len(images))
    report(f"feeding float32 batches of {size} at 224×224", seconds, amounts, "images/s", against, {ours: 0.8})


def cold(shards: Path, count: int) -> None:
    """An epoch of a split that is not in memory, against reading its files one after the other."""
    files = sorted(shards.glob("train-*.safetensors"))
    epochs, buffer = iter(range(1, 10_000)), bytearray(READ)

    def forget() -> None:
        for file in files:
            handle = os.open(file, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)

    def read() -> None:
        for file in files:
            with file.open("rb", buffering=0) as opened:
                while opened.readinto(buffer):
                    pass

    def epoch() -> None:
        with Batches(shards, "train", 32, "cpu", seed=0) as batches:
            for _ in batches.epoch(next(epochs)):
                pass

    seconds: dict[str, list[float]] = {}
    for _ in range(max(count, 5)):
        for name, run in {"read, file after file": read, "alacena, a shuffled epoch": epoch}.items():
            forget()
            seconds.setdefault(name, []).extend(rounds({name: run}, 1)[name])
    size = sum(file.stat().st_size for file in files) // 1_000_000
    amounts = dict.fromkeys(seconds, size)
    asked = {"alacena, a shuffled epoch": 0.8}
    report("from a cold page cache", seconds, amounts, "MB/s", "read, file after file", asked)


def own_memory(shards: Path) -> None:
    """What three epochs take of the process's own memory, beside the size of the split and of the buffers."""

    def own() -> int:
        status = Path("/proc/self/status").read_text("ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))

    with Batches(shards, "train", 32, "cpu", seed=0) as batches:
        before = own()
        for epoch in range(3):
            for _ in batches.epoch(epoch):
                pass
        grown = (own() - before) / 1000
        split, buffers = batches.rows * 224 * 224 * 3 / 1e6, 32 * 224 * 224 * 3 / 1e6
    facts = {"title": "own memory", "grown_mb": grown, "split_mb": split, "buffers_mb": buffers, "machine": machine()}
    print(f"\nown memory: three epochs of {split:,.0f} MB through buffers of {buffers:.1f} MB: {grown:+.1f} MB")
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*arguments(5, 3))
