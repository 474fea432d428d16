from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from manifests.table import write_table
from tests.training.makers import everything, shard_set
from training.batches import Batches
from training.turns import Turns, images_of

IMAGES = st.lists(st.integers(0, 6), min_size=1, max_size=40).map(lambda each: np.array(each, np.int64))


class TestTurns:
    """Each image once an epoch, another of its views each time."""

    @given(IMAGES, st.integers(0, 99), st.integers(1, 30))
    def test_each_image_once_an_epoch(self, images: np.ndarray, seed: int, epoch: int) -> None:
        turns = Turns(images, seed)
        shown = images[turns.rows(epoch)]
        assert sorted(shown.tolist()) == sorted(set(images.tolist()))
        assert turns.count == len(shown)

    @given(IMAGES, st.integers(0, 99), st.integers(1, 30))
    def test_as_many_epochs_as_views_show_each_view_once(self, images: np.ndarray, seed: int, epoch: int) -> None:
        for image in set(images.tolist()):
            mine = np.flatnonzero(images == image)
            turns = Turns(images, seed)
            shown = [row for n in range(len(mine)) for row in turns.rows(epoch + n).tolist() if images[row] == image]
            assert sorted(shown) == mine.tolist()

    def test_not_all_images_begin_with_the_same_view(self) -> None:
        images = np.repeat(np.arange(20), 3)
        assert set((Turns(images, 0).rows(1) % 3).tolist()) == {0, 1, 2}


class TestBatches:
    """The batches of an epoch hold the rows whose turn it is, and labels go with them."""

    def test_rows_and_labels(self, tmp_path: Path) -> None:
        shard_set(tmp_path, rows={"train": (12, 6)})
        pictures, labels = everything(tmp_path, "train")
        images = np.tile(np.arange(9), 2)  # row n and row n + 9 are views of image n
        with Batches(tmp_path, "train", 5, "cpu", seed=3, images=images) as batches:
            assert (batches.rows, batches.steps) == (9, 2)
            for epoch in (1, 2, 3):
                wanted = Turns(images, 3).rows(epoch)
                seen = [
                    (image.numpy().tobytes(), int(n))
                    for part in batches.epoch(epoch)
                    for image, n in zip(*part, strict=True)
                ]
                assert sorted(seen) == sorted((pictures[row].tobytes(), int(labels[row])) for row in wanted)

    def test_an_image_is_a_path_and_its_bytes(self, tmp_path: Path) -> None:
        table = pl.DataFrame(
            {
                "split": ["train", "val", "train", "train", "train"],
                "shard": ["train-1", "val-0", "train-0", "train-0", "train-1"],
                "row": [1, 0, 1, 0, 0],
                "path": ["a", "a", "b", "a", "b"],
                "sha256": ["x", "x", "y", "x", "z"],
            }
        )
        write_table(table, tmp_path / "rows.parquet")
        first, second, third, fourth = images_of(tmp_path, "train").tolist()
        assert first == fourth  # a in train-0, and its view in train-1
        assert len({first, second, third}) == 3
