"""A whole split on the device, as stored: copied there once, its batches indexed there."""

from collections.abc import Generator, Iterable

import numpy as np
import torch

from training.mapped import Batch, Mapped
from training.turns import NOTHING, Numbers

CHUNK = 256  # rows copied at once when a split is put on the device


class Resident:
    """The whole split on the device as stored; a batch is indexed there into one buffer."""

    def __init__(self, mapped: Mapped, largest: int, device: torch.device) -> None:
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
