"""Shard set → batches on the device, at the speed of copying memory.

Nothing is allocated in a step: rows are gathered from the mapped shards (`training.mapped`) into buffers that are
reused. On the CPU the caller gathers a batch when it asks for it (`training.direct`); for a GPU a thread does so ahead,
into a pinned ring that a copy stream carries over (`training.ring`); and where a split fits on the GPU it is put there
once, as stored, and indexed there (`training.resident`). What the rows mean is `manifests.shards`; who normalises them
is `training.models`.

**A batch's memory belongs to the caller until it asks for the next one.** Clone what must live longer.

What it reaches of the limit, a gather in memory, is measured by: python -m benchmarks.feeding
"""

import weakref
from collections.abc import Generator, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch

from manifests.shards import read_index
from training.direct import Direct
from training.mapped import Batch, Mapped
from training.resident import Resident
from training.ring import Ring
from training.turns import Numbers, Turns

RESIDENT_SHARE = 0.5  # of the free device memory that splits may take; the rest is for the model and its activations


def in_order(shards: Path, split: str, batch_size: int, device: torch.device | str) -> Iterator[Batch]:
    """Every row of a split once, in row order; the last batch may be smaller. Memory as for every batch here."""
    with Batches(shards, split, batch_size, device, resident=False) as batches:
        yield from batches.epoch()


def fit(shards: Path, splits: Iterable[str], device: torch.device) -> bool:
    """Whether these splits, together, may lie on the device: on CUDA, within RESIDENT_SHARE of what is free there."""
    if device.type != "cuda":
        return False
    index = read_index(shards)
    size = sum(shard.bytes for split in splits for shard in index.splits.get(split, ()))
    return size <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def permutation(rows: int, seed: int, epoch: int) -> Numbers:
    """A shuffled order of 0…rows-1 from (seed, epoch) alone.

    Sorted by raw PCG64 output, the one thing that NumPy promises to keep from version to version.
    """
    keys = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(rows)
    return np.argsort(keys, kind="stable").astype(np.int64)


class Batches:
    """The batches of one split, epoch after epoch, in the same buffers. Opens no other split.

    With a seed, each epoch is a permutation of its own, and a last batch of a single row joins the one before: batch
    norm knows no deviation of one row. Without, rows come in order. Rows within a batch lie in shard order.
    `resident` None: where the split fits by itself (`fit`); True or False forces it, on any device. `ahead` True: a
    thread gathers for the CPU too, as it does for a GPU. `images`, the image of each row, lets views take turns
    (`Turns`): then an epoch has as many rows as there are images. Needs a seed.
    """

    def __init__(
        self,
        shards: Path,
        split: str,
        batch_size: int,
        device: torch.device | str,
        *,
        seed: int | None = None,
        resident: bool | None = None,
        ahead: bool = False,
        images: Numbers | None = None,
    ) -> None:
        mapped = Mapped(shards, split)
        self._turns = None if images is None or seed is None else Turns(images, seed)
        self.rows = mapped.rows if self._turns is None else self._turns.count  # of an epoch
        self.labels = mapped.labels if self._turns is None else mapped.labels[self._turns.rows(0)]  # of an epoch's rows
        self.cuts = _cuts(self.rows, batch_size, join=seed is not None)  # steps + 1 positions in the epoch's order
        self._seed = seed
        device = torch.device(device)
        if resident is None:
            resident = fit(shards, [split], device)
        self.is_resident = resident
        largest = max(b - a for a, b in pairwise(self.cuts))
        if resident:
            self._source = Resident(mapped, largest, device)
        elif ahead or device.type != "cpu":
            self._source = Ring(mapped, largest, device)
        else:
            self._source = Direct(mapped, largest)
        self._open: weakref.ref[Generator[Batch]] | None = None  # weak: a forgotten epoch ends its thread at once

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self.cuts) - 1

    def epoch(self, number: int = 1, start: int = 0) -> Generator[Batch]:
        """The batches of epoch `number`, from batch `start` on. It ends an epoch that is still open."""
        self._end()
        order = np.arange(self.rows) if self._seed is None else permutation(self.rows, self._seed, number)
        rows = order if self._turns is None else self._turns.rows(number)[order]
        batches = self._source.batches(np.sort(rows[a:b]) for a, b in list(pairwise(self.cuts))[start:])
        self._open = weakref.ref(batches)
        return batches

    def close(self) -> None:
        """End the thread and let go of buffers and maps."""
        self._end()
        self._source = _Closed()

    def _end(self) -> None:
        if self._open is not None and (batches := self._open()) is not None:
            batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cuts(rows: int, size: int, *, join: bool) -> list[int]:
    cuts = [*range(0, rows, size), rows]
    if join and size > 1 and rows > size and rows % size == 1:
        del cuts[-2]
    return cuts


class _Closed:
    def batches(self, plan: Iterable[Numbers]) -> Generator[Batch]:
        raise RuntimeError("these batches are closed")
