"""Shard set → batches on the device, at the speed of copying memory.

Nothing is allocated in a step: rows are gathered from the mapped shards into a ring of buffers that are reused, by a
background thread while the step computes; on CUDA the ring is pinned and a copy stream carries it over. Where a split
fits on the CUDA device it is put there once, as stored, and indexed there. What the rows mean is `manifests.shards`;
who normalises them is `training.models`.

**A batch's memory belongs to the caller until it asks for the next one.** Clone what must live longer.

Measured on 2 cores (AMD EPYC, torch 2.15 on CPU, otherwise idle; n = 3,072 made-up rows of 224×224×3 uint8 in three
shards, median of nine shuffled epochs), against a gather of the same rows from one tensor in memory into a buffer that
exists: batches of 32 at 0.98·10⁵–1.22·10⁵ images/s, 0.8–0.9 of the gather on one core and 0.6 of that on both; batches
of 256 at 0.8·10⁵–0.9·10⁵, 0.8–0.9 and 0.65. With the cores shared (load 4) the gather on both falls behind by a factor
of 2 to 19, because its threads wait for each other; this one does not.
Command: python -m benchmarks.feeding, which now measures on photographs
"""

import queue
import threading
import weakref
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from manifests.errors import Exit, UserError
from manifests.shards import damaged, open_rows, read_index
from training.turns import Numbers, Turns

RING = 3  # buffers: one is the caller's, one is full, one is being filled
RESIDENT_SHARE = 0.5  # of the free device memory that splits may take; the rest is for the model and its activations
CHUNK = 256  # rows copied at once when a split is put on the device
DTYPES = {"uint8": torch.uint8, "float16": torch.float16, "uint16": torch.bfloat16, "float32": torch.float32}

NOTHING: Numbers = np.empty(0, np.int64)
Batch = tuple[Tensor, Tensor]  # images (B, *shape) as stored, labels (B,) int64


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
    `resident` None: where the split fits by itself (`fit`); True or False forces it, on any device. `images`, the image
    of each row, lets views take turns (`Turns`): then an epoch has as many rows as there are images. Needs a seed.
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
        images: Numbers | None = None,
    ) -> None:
        mapped = _Mapped(shards, split)
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
        self._source = (_Resident if resident else _Ring)(mapped, largest, device)
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


class _Mapped:
    """The mapped shards of one split, each row seen as words: of 8 bytes where its length allows."""

    def __init__(self, folder: Path, split: str) -> None:
        shards = read_index(folder).splits.get(split, ())
        if not sum(shard.rows for shard in shards):
            raise UserError(f"{folder}: the split {split} has no rows.", Exit.REFUSED)
        self.words: list[npt.NDArray[np.generic]] = []  # per shard (rows, words of a row)
        labels: list[Numbers] = []
        shapes: set[tuple[tuple[int, ...], str]] = set()
        for shard in shards:
            file = folder / shard.file
            if not file.is_file() or file.stat().st_size != shard.bytes:
                raise damaged(file, f"missing, or not the {shard.bytes} bytes that the index states")
            rows = open_rows(file)
            shapes.add((rows.images.shape[1:], rows.images.dtype.name))
            labels.append(np.array(rows.labels))
            self.words.append(_words(rows.images))
        if len(shapes) != 1:
            raise damaged(folder, f"the shards of {split} differ in shape or type: {sorted(shapes)}")
        self.shape, kind = shapes.pop()
        self.dtype = DTYPES[kind]
        self.labels = np.concatenate(labels)
        self.starts = np.cumsum([0, *(len(part) for part in labels)])[:-1]  # row number of each shard's first row
        self.rows = len(self.labels)

    def gather(self, rows: Numbers, words: Tensor, labels: Tensor) -> None:
        """Sorted rows into host buffers of exactly their number; one call a shard that holds any of them.

        `np.take` copies on one core and without the interpreter's lock: torch's `index_select` is quicker alone, but
        wakes a second team of threads that fights with the step's own for the cores.
        """
        out = words.numpy()
        cuts = [*np.searchsorted(rows, self.starts).tolist(), len(rows)]
        for shard, (a, b) in enumerate(pairwise(cuts)):
            if a < b:  # mode="clip": the default would gather into a hidden buffer first
                np.take(self.words[shard], rows[a:b] - self.starts[shard], 0, out=out[a:b], mode="clip")
        np.take(self.labels, rows, 0, out=labels.numpy(), mode="clip")

    def buffer(self, rows: int, device: torch.device, *, pinned: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Memory for so many rows: as words, the same memory as images, and labels."""
        width = self.words[0].shape[1]
        kind = torch.int64 if self.words[0].dtype == np.int64 else torch.uint8
        words = torch.empty((rows, width), dtype=kind, device=device, pin_memory=pinned)
        labels = torch.empty(rows, dtype=torch.int64, device=device, pin_memory=pinned)
        return words, words.view(self.dtype).view(rows, *self.shape), labels


def _words(images: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    flat = np.asarray(images).reshape(len(images), -1).view(np.uint8)
    return flat.view(np.int64) if flat.shape[1] % 8 == 0 else flat


class _Closed:
    def batches(self, plan: Iterable[Numbers]) -> Generator[Batch]:
        raise RuntimeError("these batches are closed")


class _Resident:
    """The whole split on the device as stored; a batch is indexed there into one buffer."""

    def __init__(self, mapped: _Mapped, largest: int, device: torch.device) -> None:
        self._device = device
        self._words, _, self._labels = mapped.buffer(mapped.rows, device)
        self._buffer = mapped.buffer(largest, device)
        words, _, labels = mapped.buffer(min(CHUNK, mapped.rows), torch.device("cpu"))
        for first in range(0, mapped.rows, CHUNK):
            rows = np.arange(first, min(first + CHUNK, mapped.rows))
            mapped.gather(rows, words[: len(rows)], labels[: len(rows)])
            self._words[first : first + len(rows)] = words[: len(rows)]
            self._labels[first : first + len(rows)] = labels[: len(rows)]

    def batches(self, plan: Iterable[Numbers]) -> Generator[Batch]:
        words, images, labels = self._buffer
        parts = list(plan)
        # The whole epoch's order at once: each copy from pageable memory waits for all that the device still has to do.
        order = torch.from_numpy(np.concatenate([NOTHING, *parts])).to(self._device)
        for wanted in order.split([len(rows) for rows in parts]):
            count = len(wanted)
            torch.index_select(self._words, 0, wanted, out=words[:count])
            torch.index_select(self._labels, 0, wanted, out=labels[:count])
            yield images[:count], labels[:count]


@dataclass
class _Slot:
    """One place of the ring: host memory, and on CUDA device memory with the events that order its use."""

    words: Tensor
    host: Batch
    batch: Batch  # what the caller sees; on CPU the host memory itself
    copied: torch.cuda.Event | None = None  # the device has this slot's content
    released: torch.cuda.Event | None = None  # the caller's work on it is done
    count: int = 0


class _Ring:
    """Buffers that go round between a thread that fills them and the caller that uses them."""

    def __init__(self, mapped: _Mapped, largest: int, device: torch.device) -> None:
        self._mapped = mapped
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._slots = [self._slot(largest) for _ in range(RING)]
        if self._stream is not None:  # their memory may have been another tensor's, with work on it still to be done
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def _slot(self, rows: int) -> _Slot:
        words, images, labels = self._mapped.buffer(rows, torch.device("cpu"), pinned=self._stream is not None)
        if self._stream is None:
            return _Slot(words, (images, labels), (images, labels))
        _, *there = self._mapped.buffer(rows, self._device)
        return _Slot(words, (images, labels), (there[0], there[1]), torch.cuda.Event(), torch.cuda.Event())

    def batches(self, plan: Iterable[Numbers]) -> Generator[Batch]:
        free: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        full: queue.SimpleQueue[_Slot | BaseException | None] = queue.SimpleQueue()
        for slot in self._slots:
            free.put(slot)
        is_over = threading.Event()
        thread = threading.Thread(target=self._fill, args=(plan, free, full, is_over), name="batches", daemon=True)
        thread.start()
        try:
            while (slot := full.get()) is not None:
                if isinstance(slot, BaseException):
                    raise slot
                try:
                    yield self._receive(slot)
                finally:
                    self._release(slot)
                free.put(slot)
        finally:
            is_over.set()
            free.put(None)
            thread.join()
            if self._stream is not None:  # who closes may free the buffers at once
                self._stream.synchronize()

    def _fill(
        self,
        plan: Iterable[Numbers],
        free: "queue.SimpleQueue[_Slot | None]",
        full: "queue.SimpleQueue[_Slot | BaseException | None]",
        is_over: threading.Event,
    ) -> None:
        try:
            for rows in plan:
                slot = free.get()
                if slot is None or is_over.is_set():
                    return
                if slot.copied is not None:
                    slot.copied.synchronize()  # the copy of what lay here before must have left the host memory
                slot.count = len(rows)
                self._mapped.gather(rows, slot.words[: slot.count], slot.host[1][: slot.count])
                self._send(slot)
                full.put(slot)
            full.put(None)
        except BaseException as error:
            full.put(error)  # it is the caller's to see

    def _send(self, slot: _Slot) -> None:
        if self._stream is not None and slot.copied is not None and slot.released is not None:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(slot.released)
                for here, there in zip(slot.host, slot.batch, strict=True):
                    there[: slot.count].copy_(here[: slot.count], non_blocking=True)
                slot.copied.record(self._stream)

    def _receive(self, slot: _Slot) -> Batch:
        if slot.copied is not None:
            torch.cuda.current_stream(self._device).wait_event(slot.copied)
        return slot.batch[0][: slot.count], slot.batch[1][: slot.count]

    def _release(self, slot: _Slot) -> None:
        if slot.released is not None:
            slot.released.record(torch.cuda.current_stream(self._device))
