import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import safetensors.torch
import torch

from manifests.pixels import normalisation
from manifests.recipe import Train
from manifests.shards import is_sound, read_index
from manifests.store import DatasetStore
from manifests.table import write_table
from tests.training.makers import CLASSES, contract, dataset, everything, squeezenet
from training.evaluate import FROM_FEATURES, evaluate
from training.features import cached, image_rows, of_images
from training.models import Classifier, build
from training.runs import train

ROWS = {"train": (70, 20, 40), "val": (9, 4), "test": (5,)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return squeezenet(tmp_path_factory.mktemp("weights"))


def asked(weights: str, **more: Any) -> Train:
    frozen = {"model": "torchvision/squeezenet1_1", "weights": weights, "freeze": "backbone", "epochs": 3}
    return Train.model_validate(frozen | more)


def model(settings: Train, size: int = 24) -> Classifier:
    pixels = contract(size)
    return build(settings, classes=CLASSES, contract=pixels, statistics=normalisation("imagenet", 3))


def passed(store: DatasetStore, key: str, settings: Train) -> tuple[Path, bool]:
    folder = store.folder("transform", key)
    found = model(settings)
    return cached(store, folder, read_index(folder), found, settings, progress=lambda _done, _total: None)


class TestCached:
    """The features of every row, in the rows' own order and shards; made once."""

    def test_they_are_what_the_backbone_gives(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        folder, was_there = passed(store, key, asked(weights))
        assert not was_there
        assert all(is_sound(folder, shard) for files in read_index(folder).splits.values() for shard in files)
        index = read_index(folder)
        assert [part.rows for part in index.splits["train"]] == [70, 20, 40]
        for split in ("train", "val"):
            images, labels = everything(store.folder("transform", key), split)
            features, kept = everything(folder, split)
            with torch.no_grad():
                wanted = model(asked(weights)).eval().features(torch.from_numpy(images.copy())).numpy()
            assert np.allclose(wanted, features, atol=1e-5)
            assert np.array_equal(labels, kept)

    def test_test_is_never_opened(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        (store.folder("transform", key) / "test-00000.safetensors").unlink()
        folder, _ = passed(store, key, asked(weights))
        assert sorted(read_index(folder).splits) == ["train", "val"]

    def test_another_head_finds_them_and_another_backbone_does_not(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        first, _ = passed(store, key, asked(weights))
        assert passed(store, key, asked(weights, head="8", dropout=0.5, epochs=9, batch_size=3)) == (first, True)
        assert passed(store, key, asked(weights, pool="flatten"))[0] != first
        tensors = safetensors.torch.load_file(weights)
        tensors["features.0.bias"] += 1
        safetensors.torch.save_file(tensors, tmp_path / "other.safetensors")
        assert passed(store, key, asked(str(tmp_path / "other.safetensors")))[0] != first


def with_rows(store: DatasetStore, key: str, views: int = 1) -> Path:
    """The shard set with the rows that belong to it: every image with so many views in train."""
    shards = store.folder("transform", key)
    found = [
        {"split": split, "shard": f"{split}-{number:05d}.safetensors", "row": row, "sha256": f"{split}{number}-{row}"}
        for split, counts in ROWS.items()
        for number, count in enumerate(counts)
        for row in range(count)
    ]
    view = pl.when(pl.col("split") == "train").then(pl.col("row") % views).otherwise(0)
    write_table(pl.DataFrame(found).with_columns(view=view), shards / "rows.parquet")
    return shards


class TestOfImages:
    """One row of features for each image of every split, whatever augmented views there are."""

    def features(self, store: DatasetStore, key: str, settings: Train) -> npt.NDArray[np.float32]:
        folder = store.folder("transform", key)
        totals: list[int] = []
        found = of_images(
            store, folder, read_index(folder), model(settings), settings, progress=lambda _, total: totals.append(total)
        )
        self.passed = max(totals, default=0)
        return found

    def wanted(self, store: DatasetStore, key: str, settings: Train) -> npt.NDArray[np.float32]:
        """The plain way: all rows through the backbone, those of view 0 chosen afterwards."""
        folder = store.folder("transform", key)
        table = pl.read_parquet(folder / "rows.parquet")
        parts: list[npt.NDArray[np.float32]] = []
        for split in ("test", "train", "val"):
            images, _ = everything(folder, split)
            with torch.no_grad():
                found = model(settings).eval().features(torch.from_numpy(images.copy())).numpy()
            parts.append(found[(table.filter(pl.col("split") == split)["view"] == 0).to_numpy()])
        return np.concatenate(parts)

    @pytest.mark.parametrize("views", [1, 3])
    def test_they_are_what_the_backbone_gives(self, tmp_path: Path, weights: str, views: int) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        shards = with_rows(store, key, views)
        found = self.features(store, key, asked(weights))
        assert len(found) == image_rows(shards).height
        assert np.allclose(found, self.wanted(store, key, asked(weights)), atol=1e-5)
        assert np.array_equal(self.features(store, key, asked(weights)), found)
        assert self.passed == 0  # nothing went through the backbone a second time

    def test_what_a_head_learned_from_is_not_made_again(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        with_rows(store, key, 3)
        passed(store, key, asked(weights))
        found = self.features(store, key, asked(weights))
        assert self.passed == sum(ROWS["test"])
        assert np.allclose(found, self.wanted(store, key, asked(weights)), atol=1e-5)

    def test_augmented_views_never_pass(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        shards = with_rows(store, key, 3)
        self.features(store, key, asked(weights))
        assert self.passed == image_rows(shards).height < sum(map(sum, ROWS.values()))

    def test_without_augmented_views_a_head_finds_them(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        with_rows(store, key)
        self.features(store, key, asked(weights))
        assert passed(store, key, asked(weights))[1]


class TestSameResult:
    """A head that learns from kept features ends where one behind the backbone ends."""

    def test_to_floating_point_tolerance(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        settings = asked(weights, head="8", dropout=0.3, learning_rate=0.01)
        runs = [
            train(store, key, settings.model_copy(update={"run": name}), feature_cache=name == "kept")
            for name in ("kept", "plain")
        ]
        ours, theirs = (safetensors.torch.load_file(run / "last.safetensors") for run in runs)
        start = model(settings).backbone.state_dict()
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=1e-4)
        for run in (ours, theirs):  # and the backbone has not moved, nor its statistics
            assert all(torch.equal(value, run[f"model.backbone.{name}"]) for name, value in start.items())

    def test_an_evaluation_takes_them_where_they_are_kept(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        shards = store.folder("transform", key)
        names = [f"{split}/{row}" for split, counts in ROWS.items() for row in range(sum(counts))]
        table = pl.DataFrame({"path": names, "sha256": names, "split": [name.split("/")[0] for name in names]})
        write_table(table, shards / "rows.parquet")
        run = train(store, key, asked(weights, head="8", learning_rate=0.01))
        plain, kept = evaluate(run, shards, "test"), evaluate(run, shards, "val", batch_size=5)
        assert (plain.notes, kept.notes) == ((), (FROM_FEATURES,))  # test is not among them
        shutil.rmtree(store.root / "features")
        again = evaluate(run, shards, "val")
        assert again.notes == ()
        assert again.scores.confusion == kept.scores.confusion
        assert again.scores.loss == pytest.approx(kept.scores.loss, rel=1e-5)
