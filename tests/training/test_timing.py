"""How long a model takes for an image: how it is measured, never how long that is."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch

from manifests.pixels import NAMED
from manifests.recipe import Train
from tests.training.report.made import contract, made
from training.models import Classifier, build
from training.timing import BATCH, PASSES, time_per_image


class Counting(Classifier):
    """A classifier that notes the size of every batch."""

    seen: ClassVar[list[tuple[int, ...]]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(images.shape))
        return super().forward(images)


@pytest.mark.parametrize(("rows", "size"), [(5, 5), (40, BATCH)])
def test_one_pass_warms_up_and_the_measured_ones_have_the_same_images(tmp_path: Path, rows: int, size: int):
    _, shards = made(tmp_path, splits={"train": 2, "test": rows}, evaluated=())
    settings = Train(model="simple", widths=(4,))
    model = build(settings, classes=("ant", "bee"), contract=contract(), statistics=NAMED["imagenet"], load=False)
    model.__class__ = Counting
    Counting.seen = []
    timing = time_per_image(model.eval(), shards, "test", rows)
    assert model.seen == [(size, 8, 8, 3)] * (1 + PASSES)
    assert timing.timed_batch_size == size
    assert timing.milliseconds_per_image > 0
