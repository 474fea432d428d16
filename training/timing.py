"""How long a model takes for an image: the forward pass alone, on the device it lies on.

The same way for every model, whatever the evaluation around it read or kept, so that runs can be laid side by side.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor

    from training.models import Classifier

BATCH = 32  # images at once, or the split's where it has fewer
PASSES = 5  # that are measured, after one that is not


@dataclass(frozen=True)
class Timing:
    """The time that a forward pass takes: normalisation, backbone and head; no reading, no copy to the device."""

    milliseconds_per_image: float  # median of PASSES passes of one batch, over its images
    timed_batch_size: int


def time_per_image(model: "Classifier", shards: Path, split: str, rows: int) -> Timing:
    """Time the model on the first images of a split of so many rows, ≥ 1, where the model lies."""
    import torch

    from training.batches import Batches

    size, device = min(BATCH, rows), model.normalise.scale.device
    with Batches(shards, split, size, device, resident=False) as batches, torch.inference_mode():
        images, _ = next(iter(batches.epoch()))
        milliseconds = 1000 * statistics.median(_passes(model, images)) / size
    return Timing(round(milliseconds, 4), size)


def _passes(model: "Classifier", images: "Tensor") -> Iterator[float]:
    """Seconds of each measured pass. The first pass of all warms up: memory is taken, kernels are chosen."""
    import torch

    def now() -> float:
        if images.is_cuda:  # a kernel that was only launched has not run
            torch.cuda.synchronize(images.device)
        return time.perf_counter()

    model(images)
    for _ in range(PASSES):
        before = now()
        model(images)
        yield now() - before
