"""The figures of a checkpoint: by hand where they are small, scikit-learn's where they are many."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from manifests.errors import Exit, UserError
from manifests.pixels import NAMED
from manifests.recipe import Train
from manifests.shards import read_index
from tests.training.report.made import Made, contract, evaluation, made, names
from training.batches import in_order
from training.checkpoints import load_classifier, model_facts, model_tensors, save
from training.evaluate import chosen_split, evaluate, interval, log_probabilities, logits_in_order, predictions, scores
from training.models import build
from training.report import write_report
from training.report.evidence import read_run, refuse_mismatch, refuse_other

CLASSES = ("ant", "bee", "cow")
LABELS = np.array([0, 0, 0, 1, 1, 2])
# Says: ant, ant, bee, bee, ant, bee. Nothing is taken for a cow.
LOGITS = np.array([[2, 0, 0], [2, 0, 0], [0, 2, 0], [0, 2, 0], [2, 0, 0], [0, 2, 0]], np.float32)


class TestScores:
    """`scores` counts what is right, class by class and in all."""

    def test_accuracy_is_the_fraction_named_right(self):
        assert scores(LOGITS, LABELS, CLASSES).accuracy == 3 / 6

    def test_rows_of_the_confusion_matrix_are_the_truth(self):
        assert scores(LOGITS, LABELS, CLASSES).confusion == ((2, 1, 0), (1, 1, 0), (0, 1, 0))

    def test_each_class_has_its_own_figures_and_zero_where_there_is_nothing_to_divide_by(self):
        ant, bee, cow = scores(LOGITS, LABELS, CLASSES).classes
        assert (ant.precision, ant.recall, ant.support) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
        assert (bee.precision, bee.recall, bee.f1) == (pytest.approx(1 / 3), 0.5, pytest.approx(0.4))
        assert (cow.name, cow.precision, cow.recall, cow.f1, cow.support) == ("cow", 0, 0, 0, 1)

    def test_confused_pairs_come_with_most_images_first_then_the_larger_share(self):
        pairs = [(pair.truth, pair.predicted, pair.images) for pair in scores(LOGITS, LABELS, CLASSES).confused]
        assert pairs == [("cow", "bee", 1), ("bee", "ant", 1), ("ant", "bee", 1)]

    def test_loss_of_even_logits_is_the_logarithm_of_the_classes(self):
        assert scores(np.zeros((4, 3)), np.array([0, 1, 2, 0]), CLASSES).loss == pytest.approx(np.log(3))

    def test_loss_is_torchs_cross_entropy_even_for_large_logits(self):
        logits = np.random.default_rng(0).normal(0, 300, (64, 7)).astype(np.float32)
        labels = np.arange(64) % 7
        expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels))
        assert scores(logits, labels, names(7)).loss == pytest.approx(float(expected), rel=1e-12)

    def test_top_five_counts_the_fifth_and_not_the_sixth(self):
        logits = np.tile(np.arange(8.0)[::-1], (8, 1))  # class 0 is always the likeliest, class 7 the least
        assert scores(logits, np.arange(8), names(8)).top5 == 5 / 8

    def test_of_equal_logits_the_first_counts_as_in_argmax(self):
        assert scores(np.zeros((6, 6)), np.arange(6), names(6)).top5 == 5 / 6

    @given(st.integers(2, 9), st.integers(1, 60), st.integers(0, 10_000))
    def test_figures_are_scikit_learns_whatever_classes_are_missing(self, classes: int, images: int, seed: int):
        draw = np.random.default_rng(seed)
        logits, labels = draw.normal(size=(images, classes)), draw.integers(0, classes, images)
        found, said = scores(logits, labels, names(classes)), logits.argmax(axis=1)
        assert found.accuracy == metrics.accuracy_score(labels, said)
        sklearn: Any = metrics  # its types know zero_division only as a word
        given = {"labels": range(classes), "zero_division": 0}
        for kind, means in (("macro", found.macro), ("weighted", found.weighted)):
            expected = sklearn.precision_recall_fscore_support(labels, said, average=kind, **given)[:3]
            assert (means.precision, means.recall, means.f1) == expected
        expected = sklearn.precision_recall_fscore_support(labels, said, **given)
        columns = zip(*((s.precision, s.recall, s.f1, s.support) for s in found.classes), strict=True)
        assert [list(column) for column in columns] == [column.tolist() for column in expected]
        assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, said, labels=range(classes)))

    def test_a_logit_that_is_not_finite_is_no_prediction(self):
        with pytest.raises(UserError, match="1 of 6 images are not finite") as caught:
            scores(np.where(np.arange(6)[:, None] == 2, np.nan, LOGITS), LABELS, CLASSES)
        assert caught.value.code == Exit.DIVERGED


class TestInterval:
    """`interval` is the percentile bootstrap of an accuracy."""

    def test_it_is_that_of_drawing_the_images_again_and_again(self):
        correct = np.arange(200) < 150
        draw = np.random.default_rng(7)
        means = [correct[draw.integers(0, 200, 200)].mean() for _ in range(4000)]
        assert interval(150, 200) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.01)

    def test_it_is_the_same_every_time(self):
        assert interval(70, 100) == interval(70, 100)

    def test_it_narrows_with_the_images(self):
        few, many = interval(8, 10), interval(800, 1000)
        assert few[1] - few[0] > 5 * (many[1] - many[0])


def test_probabilities_add_up_to_one():
    assert np.exp(log_probabilities(LOGITS * 400)).sum(axis=1) == pytest.approx(np.ones(6))


def test_predictions_name_each_image_and_both_probabilities():
    table = pl.DataFrame({"path": list("abcdef"), "sha256": list("ABCDEF"), "row": range(6)})
    third = predictions(table, LOGITS, LABELS, CLASSES).row(2, named=True)
    sure = float(np.exp(2) / (np.exp(2) + 2))
    assert third == {
        "path": "c", "sha256": "C", "class": "ant", "predicted": "bee", "probability": round(sure, 6),
        "probability_of_class": round((1 - sure) / 2, 6), "correct": False,
    }  # fmt: skip


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


class TestRefusal:
    """A run and a shard set that do not belong together are refused with both sides shown."""

    def test_other_classes(self, tmp_path: Path):
        run, shards = made(tmp_path, ("ant", "bee"), evaluated=())
        with pytest.raises(UserError, match=r"2 \(bee, ant\) here, 2 \(ant, bee\) there") as caught:
            refuse_mismatch(run, shards, read_run(run) | {"classes": ["bee", "ant"]}, read_index(shards))
        assert caught.value.code == Exit.STALE

    def test_other_pixels(self, tmp_path: Path):
        run, shards = made(tmp_path, evaluated=())
        with pytest.raises(UserError, match="height: 16 here, 8 there; width: 16 here, 8 there"):
            refuse_other(run, shards, ("ant", "bee"), contract(16), read_index(shards))

    def test_other_rows(self, tmp_path: Path):
        run, shards = made(tmp_path, evaluated=())
        with pytest.raises(UserError, match=f"trained on rows {'f' * 16}… and not on those of"):
            refuse_mismatch(run, shards, read_run(run) | {"data": "f" * 64}, read_index(shards))


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
        assert "the last one was evaluated" in done.notes[0]

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
        done = replace(evaluation(made(tmp_path, evaluated=()), "val"), notes=("the last one was evaluated",))
        assert done.as_json()["notes"] == ("the last one was evaluated",)
