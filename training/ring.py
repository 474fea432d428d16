"""A ring of reused buffers, filled ahead of the step by a thread; for a GPU pinned, with a copy stream.

While the GPU computes on one buffer, the next is on its way to it and the one after is being gathered. On the CPU the
step needs the cores itself: there `training.direct` gathers when it is asked.
"""

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from training.mapped import Batch, Mapped
from training.turns import Numbers

RING = 3  # buffers: one is the caller's, one is full, one is being filled


@dataclass
class Slot:
    """One place of the ring: host memory, and on CUDA device memory with the events that order its use."""

    words: Tensor
    host: Batch
    batch: Batch  # what the caller sees; on CPU the host memory itself
    copied: torch.cuda.Event | None = None  # the device has this slot's content
    released: torch.cuda.Event | None = None  # the caller's work on it is done
    count: int = 0


class Ring:
    """Buffers that go round between a thread that fills them and the caller that uses them."""

    def __init__(self, mapped: Mapped, largest: int, device: torch.device) -> None:
        self._mapped = mapped
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._slots = [self._slot(largest) for _ in range(RING)]
        if self._stream is not None:  # their memory may have been another tensor's, with work on it still to be done
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def _slot(self, rows: int) -> Slot:
        words, images, labels = self._mapped.buffer(rows, torch.device("cpu"), pinned=self._stream is not None)
        if self._stream is None:
            return Slot(words, (images, labels), (images, labels))
        _, *there = self._mapped.buffer(rows, self._device)
        return Slot(words, (images, labels), (there[0], there[1]), torch.cuda.Event(), torch.cuda.Event())

    def batches(self, plan: Iterable[Numbers]) -> Generator[Batch]:
        free: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        full: queue.SimpleQueue[Slot | BaseException | None] = queue.SimpleQueue()
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
        free: "queue.SimpleQueue[Slot | None]",
        full: "queue.SimpleQueue[Slot | BaseException | None]",
        is_over: threading.Event,
    ) -> None:
        try:
            for rows in self._mapped.read_ahead(plan):
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

    def _send(self, slot: Slot) -> None:
        if self._stream is not None and slot.copied is not None and slot.released is not None:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(slot.released)
                for here, there in zip(slot.host, slot.batch, strict=True):
                    there[: slot.count].copy_(here[: slot.count], non_blocking=True)
                slot.copied.record(self._stream)

    def _receive(self, slot: Slot) -> Batch:
        if slot.copied is not None:
            torch.cuda.current_stream(self._device).wait_event(slot.copied)
        return slot.batch[0][: slot.count], slot.batch[1][: slot.count]

    def _release(self, slot: Slot) -> None:
        if slot.released is not None:
            slot.released.record(torch.cuda.current_stream(self._device))
