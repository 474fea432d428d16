"""A checkpoint through a split, and what is written of it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from manifests.errors import Exit, UserError
from manifests.pixels import NAMED
from manifests.recipe import Train
from manifests.shards import read_index
from tests.training.makers import full_disk
from tests.training.report.made import Made, contract, evaluation, made
from training.batches import in_order
from training.checkpoints import load_classifier, model_facts, model_tensors, save
from training.evaluate import chosen_split, evaluate, logits_in_order
from training.models import build
from training.report import write_report
from training.scores import scores

CLASSES = ("ant", "bee", "cow")


class Colour(torch.nn.Module):
    """A stand-in for a model: its logits are the mean of each channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:  # (B, H, W, 3) -> (B, 3)
        return images.float().mean(dim=(1, 2))


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_logits_stand_in_shard_order_whatever_the_batch(tmp_path: Path, batch_size: int):
    _, shards = made(tmp_path, CLASSES, evaluated=())
    done: list[tuple[int, int]] = []
    batches = in_order(shards, "test", batch_size, torch.device("cpu"))
    logits, labels = logits_in_order(Colour(), batches, 12, lambda _, count, rows: done.append((count, rows)))
    every, expected = next(iter(in_order(shards, "test", 12, torch.device("cpu"))))
    assert labels.tolist() == expected.tolist() == [0, 1, 2] * 4
    assert np.allclose(logits, Colour()(every).numpy())
    assert done[-1] == (12, 12)


class TestChosenSplit:
    """The split is the one asked for, else test, else val."""

    def test_test_comes_before_val(self, tmp_path: Path):
        _, shards = made(tmp_path, evaluated=())
        assert chosen_split(read_index(shards), None, shards) == "test"

    def test_val_where_there_is_no_test(self, tmp_path: Path):
        _, shards = made(tmp_path, splits={"train": 4, "val": 4}, evaluated=())
        assert chosen_split(read_index(shards), None, shards) == "val"

    @pytest.mark.parametrize("asked", ["test", "holdout", None])
    def test_a_split_without_images_is_refused_and_the_others_are_named(self, tmp_path: Path, asked: str | None):
        _, shards = made(tmp_path, splits={"train": 4}, evaluated=())
        with pytest.raises(UserError, match=r"there are train \(4\)") as caught:
            chosen_split(read_index(shards), asked, shards)
        assert caught.value.code == Exit.USAGE


class TestEvaluate:
    """`evaluate` takes a checkpoint through a split and writes what came out."""

    @staticmethod
    def trained(place: Path, *checkpoints: str, size: int = 8) -> Made:
        """A made-up run with real, untrained checkpoints of `simple`."""
        both = made(place, CLASSES, evaluated=())
        settings = Train(model="simple", widths=(4,))
        model = build(settings, classes=CLASSES, contract=contract(size), statistics=NAMED["imagenet"], load=False)
        for name in checkpoints:
            save(both.run / f"{name}.safetensors", model_tensors(model), model_facts(model, settings) | {"epoch": 5})
        return both

    def test_it_is_what_the_model_says_of_each_image(self, tmp_path: Path):
        both = self.trained(tmp_path, "best", "last")
        done = evaluate(both.run, both.shards, batch_size=5)
        images, labels = next(iter(in_order(both.shards, "test", 12, "cpu")))
        with torch.inference_mode():
            logits = load_classifier(both.run / "best.safetensors")(images).numpy()
        assert (done.split, done.checkpoint, done.notes) == ("test", "best", ())
        assert done.epoch == 5
        assert not done.from_features
        assert done.timing.timed_batch_size == 12
        assert done.timing.milliseconds_per_image > 0
        assert done.scores == replace(scores(logits, labels.numpy(), CLASSES), loss=done.scores.loss)
        written = pl.read_csv(both.run / "evaluation" / "test" / "predictions.csv")
        assert written["predicted"].to_list() == [CLASSES[n] for n in logits.argmax(axis=1)]
        assert written["class"].to_list() == [path.split("/")[1] for path in written["path"]]

    def test_the_report_tells_of_it(self, tmp_path: Path):
        both = self.trained(tmp_path, "best")
        evaluate(both.run, both.shards)
        assert "of 12 images in the\n test split" in write_report(*both).read_text("utf-8")

    def test_the_report_says_where_the_run_went_on_since(self, tmp_path: Path):
        both = self.trained(tmp_path, "best")
        evaluate(both.run, both.shards)
        assert "went on after this evaluation" not in write_report(*both).read_text("utf-8")
        with (both.run / "best.safetensors").open("ab") as file:
            file.write(b"more")
        assert "went on after this evaluation" in write_report(*both).read_text("utf-8")

    def test_the_last_checkpoint_stands_in_for_the_best_and_says_so(self, tmp_path: Path):
        both = self.trained(tmp_path, "last")
        done = evaluate(both.run, both.shards, "val")
        assert (done.split, done.checkpoint, done.epoch) == ("val", "last", 5)
        assert "the last one is used" in done.notes[0]

    def test_a_run_without_a_checkpoint_is_refused(self, tmp_path: Path):
        both = self.trained(tmp_path)
        with pytest.raises(UserError, match=r"neither best\.safetensors nor last\.safetensors"):
            evaluate(both.run, both.shards)

    def test_a_checkpoint_of_other_pixels_is_refused_and_nothing_is_written(self, tmp_path: Path):
        both = self.trained(tmp_path, "best", size=16)
        with pytest.raises(UserError, match="height: 16 here, 8 there") as caught:
            evaluate(both.run, both.shards)
        assert caught.value.code == Exit.STALE
        assert not (both.run / "evaluation").exists()


class TestWriting:
    """An evaluation is written whole: figures, a row an image, and the matrix."""

    def test_metrics_hold_every_figure_and_where_it_came_from(self, tmp_path: Path):
        both = made(tmp_path, CLASSES, evaluated=())
        done = evaluation(both, "test")
        written = json.loads((both.run / "evaluation" / "test" / "metrics.json").read_text("utf-8"))
        assert written["accuracy"] == done.scores.accuracy
        assert written["split"] == "test"
        assert written["images"] == 12
        assert written["data"] == read_index(both.shards).digest
        assert written["confusion"] == [list(row) for row in done.scores.confusion]
        assert [score["name"] for score in written["classes"]] == list(CLASSES)
        assert written["balanced_accuracy"] == done.scores.balanced_accuracy
        assert written["calibration_error"] == done.scores.calibration_error
        assert (written["milliseconds_per_image"], written["timed_batch_size"]) == (4.25, 12)
        assert written["from_features"] is False
        assert not {"scores", "timing", "folder"} & set(written)

    def test_classes_have_their_figures_in_a_table_even_hard_names(self, tmp_path: Path):
        hard = ["truth", 'a "b", c', "7"]
        done = evaluation(made(tmp_path, hard, evaluated=()), "test")
        table = pl.read_csv(done.folder / "classes.csv", schema_overrides={"name": pl.String})
        assert table.columns == ["name", "precision", "recall", "f1", "support"]
        assert table.rows() == [tuple(vars(score).values()) for score in done.scores.classes]

    def test_calibration_has_a_row_a_bin_and_empty_cells_where_there_is_no_image(self, tmp_path: Path):
        done = evaluation(made(tmp_path, CLASSES, evaluated=()), "test")
        table = pl.read_csv(done.folder / "calibration.csv")
        assert table.columns == ["low", "high", "images", "confidence", "accuracy"]
        assert table.rows() == [tuple(vars(part).values()) for part in done.scores.calibration]
        assert table["confidence"].null_count() == sum(part.images == 0 for part in done.scores.calibration) > 0

    def test_the_matrix_has_names_on_both_sides_even_hard_ones(self, tmp_path: Path):
        hard = ["truth", 'a "b", c', "class"]
        both = made(tmp_path, hard)
        with (both.run / "evaluation" / "test" / "confusion.csv").open(encoding="utf-8", newline="") as file:
            table = list(csv.reader(file))
        assert table[0] == ["truth", *hard]
        assert [row[0] for row in table[1:]] == hard
        assert sum(int(cell) for row in table[1:] for cell in row[1:]) == 12

    def test_evaluating_again_replaces_the_folder_and_leaves_nothing_beside_it(self, tmp_path: Path):
        both = made(tmp_path, CLASSES, evaluated=())
        first, second = evaluation(both, "test", skill=0.1), evaluation(both, "test", skill=9)
        written = json.loads((both.run / "evaluation" / "test" / "metrics.json").read_text("utf-8"))
        assert first.scores.accuracy != second.scores.accuracy == written["accuracy"]
        assert [folder.name for folder in (both.run / "evaluation").iterdir()] == ["test"]

    def test_notes_travel_with_the_figures(self, tmp_path: Path):
        done = replace(evaluation(made(tmp_path, evaluated=()), "val"), notes=("the last one is used",))
        assert done.as_json()["notes"] == ("the last one is used",)

    def test_on_a_full_disk_the_evaluation_before_stays(self, tmp_path: Path):
        both = made(tmp_path, CLASSES, splits={"train": 3, "test": 3000})
        file = both.run / "evaluation" / "test" / "predictions.csv"
        before = file.read_bytes()
        with full_disk(8192), pytest.raises(UserError, match=r"/test: cannot be written .*; evaluate again"):
            evaluation(both, "test", skill=0.1)
        assert file.read_bytes() == before
        assert [folder.name for folder in (both.run / "evaluation").iterdir()] == ["test"]
