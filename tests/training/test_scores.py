"""The figures of logits: by hand where they are small, scikit-learn's where they are many."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from manifests.errors import Exit, UserError
from tests.training.report.made import names
from training.scores import Bin, calibration, calibration_error, interval, log_probabilities, predictions, scores

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

    @given(st.integers(2, 9), st.integers(1, 60), st.integers(0, 10_000))
    @pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # it leaves them out, as we do
    @pytest.mark.filterwarnings("ignore:A single label was found")
    def test_balanced_accuracy_and_loss_are_scikit_learns(self, classes: int, images: int, seed: int):
        draw = np.random.default_rng(seed)
        logits, labels = draw.normal(size=(images, classes)), draw.integers(0, classes, images)
        found = scores(logits, labels, names(classes))
        assert found.balanced_accuracy == metrics.balanced_accuracy_score(labels, logits.argmax(axis=1))
        sure = np.exp(log_probabilities(logits))
        assert found.loss == pytest.approx(metrics.log_loss(labels, sure, labels=range(classes)), rel=1e-9)

    @given(st.integers(6, 12), st.integers(1, 60), st.integers(0, 10_000))
    def test_top_five_is_scikit_learns_where_it_defines_one(self, classes: int, images: int, seed: int):
        draw = np.random.default_rng(seed)
        logits, labels = draw.normal(size=(images, classes)), draw.integers(0, classes, images)
        expected = metrics.top_k_accuracy_score(labels, logits, k=5, labels=range(classes))
        assert scores(logits, labels, names(classes)).top5 == pytest.approx(expected, rel=1e-12)

    def test_balanced_accuracy_leaves_out_classes_without_images(self):
        labels, said = np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]]
        assert scores(said, labels, CLASSES).balanced_accuracy == (1 / 2 + 1) / 2

    def test_a_logit_that_is_not_finite_is_no_prediction(self):
        with pytest.raises(UserError, match="1 of 6 images are not finite") as caught:
            scores(np.where(np.arange(6)[:, None] == 2, np.nan, LOGITS), LABELS, CLASSES)
        assert caught.value.code == Exit.DIVERGED


def logits_of(probabilities: list[float]) -> Any:
    """Two classes, of which the first is predicted with these probabilities."""
    sure = np.array(probabilities)
    return np.log(np.stack([sure, 1 - sure], axis=1))


class TestCalibration:
    """`calibration` bins images by how sure the model was; `calibration_error` is the mean distance to how right."""

    def test_each_bin_knows_its_images_its_mean_confidence_and_its_accuracy(self):
        bins = calibration(logits_of([0.55, 0.65, 0.95]), np.array([0, 1, 0]), bins=2)
        assert bins[0] == Bin(0.0, 0.5, 0, None, None)
        assert (bins[1].low, bins[1].high, bins[1].images) == (0.5, 1.0, 3)
        assert (bins[1].confidence, bins[1].accuracy) == (pytest.approx(2.15 / 3), 2 / 3)

    def test_by_hand_the_error_weighs_each_bin_by_its_images(self):
        # Three images said at 0.9, one of them right; one said at 0.7, and right.
        bins = calibration(logits_of([0.9, 0.9, 0.9, 0.7]), np.array([0, 1, 1, 0]), bins=10)
        assert calibration_error(bins) == pytest.approx((3 * (0.9 - 1 / 3) + 1 * (1 - 0.7)) / 4)

    def test_a_probability_on_an_edge_belongs_to_the_bin_below(self):
        bins = calibration(np.zeros((1, 2)), np.array([0]), bins=2)  # probability 0.5
        assert [part.images for part in bins] == [1, 0]

    def test_a_certain_model_falls_into_the_last_bin(self):
        assert calibration(np.array([[900.0, 0.0]]), np.array([0]))[-1] == Bin(14 / 15, 1.0, 1, 1.0, 1.0)

    def test_a_model_that_is_as_right_as_it_says_has_no_error(self):
        bins = calibration(logits_of([0.75] * 4), np.array([0, 0, 0, 1]))
        assert calibration_error(bins) == pytest.approx(0, abs=1e-12)

    @given(st.integers(2, 9), st.integers(1, 80), st.integers(0, 10_000))
    def test_bins_are_scikit_learns_and_hold_every_image(self, classes: int, images: int, seed: int):
        draw = np.random.default_rng(seed)
        logits, labels = draw.normal(0, 2, (images, classes)), draw.integers(0, classes, images)
        bins = calibration(logits, labels)
        assert sum(part.images for part in bins) == images
        sure, right = np.exp(log_probabilities(logits)).max(axis=1), logits.argmax(axis=1) == labels
        accuracy, confidence = calibration_curve(right, sure, n_bins=15)
        assert [part.accuracy for part in bins if part.images] == pytest.approx(accuracy.tolist())
        assert [part.confidence for part in bins if part.images] == pytest.approx(confidence.tolist())
        weights = [part.images / images for part in bins if part.images]
        apart = float(np.dot(weights, np.abs(accuracy - confidence)))
        assert scores(logits, labels, names(classes)).calibration_error == pytest.approx(apart)


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
