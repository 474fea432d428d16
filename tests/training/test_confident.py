import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.confident import Ints, calibrated, confident_joint, mislabelled, suspects, thresholds

LABELS = np.array([0, 0, 0, 1, 1, 1], np.int64)
SURE = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9], [0.85, 0.15]])


@st.composite
def judged(draw: st.DrawFn) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Labels, and probabilities that add up to one."""
    rows, classes = draw(st.integers(1, 30)), draw(st.integers(2, 5))
    labels = draw(arrays.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    weights = draw(arrays.arrays(np.int64, (rows, classes), elements=st.integers(0, 50))) + 0.01
    return labels, weights / weights.sum(axis=1, keepdims=True)


class TestThresholds:
    """How sure of a class one is on average where it is the label."""

    def test_are_means_over_the_images_of_a_label(self) -> None:
        assert thresholds(LABELS, SURE) == pytest.approx([0.6, (0.8 + 0.9 + 0.15) / 3])

    def test_a_class_that_no_label_names_is_never_reached(self) -> None:
        assert thresholds(np.array([0, 0]), np.array([[0.5, 0.5], [0.1, 0.9]])).tolist() == [0.3, np.inf]


class TestConfidentJoint:
    """Images by their label and by the class they are confidently of."""

    def test_counts_the_one_of_each_class_that_is_of_the_other(self) -> None:
        assert confident_joint(LABELS, SURE).tolist() == [[2, 1], [1, 2]]

    def test_an_image_that_reaches_no_threshold_is_not_counted(self) -> None:
        labels, probabilities = np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
        assert confident_joint(labels, probabilities).tolist() == [[1, 0], [0, 1]]

    def test_of_two_classes_that_are_reached_the_likelier_counts(self) -> None:
        labels = np.array([0, 1, 2])
        probabilities = np.array([[0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.2, 0.4, 0.4]])
        assert confident_joint(labels, probabilities).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


class TestCalibrated:
    """Each row scaled to the number of its label."""

    def test_the_images_that_were_not_counted_are_shared_out(self) -> None:
        joint = calibrated(np.array([[2, 1], [0, 0]], np.int64), np.array([0] * 6 + [1] * 4))
        assert joint.tolist() == [[4, 2], [0, 4]]

    @given(judged())
    def test_every_row_has_as_many_as_its_label(self, case: tuple[Ints, npt.NDArray[np.float64]]) -> None:
        labels, probabilities = case
        joint = calibrated(confident_joint(labels, probabilities), labels)
        assert joint.sum(axis=1) == pytest.approx(np.bincount(labels, minlength=probabilities.shape[1]))


class TestSuspects:
    """As many as the joint counts, the most suspicious first, and each with its likely class."""

    def test_the_two_wrong_labels_are_flagged(self) -> None:
        found = suspects(LABELS, SURE)
        assert mislabelled(LABELS, SURE) == 2
        assert found.flagged.tolist() == [2, 5]
        assert found.likely[found.flagged].tolist() == [1, 0]
        assert found.score[2] == pytest.approx(0.5 * np.log(0.9) - np.log(0.1))

    def test_labels_that_agree_are_never_flagged(self) -> None:
        agreeing = np.where(LABELS[:, None] == np.arange(2), 0.9, 0.1)
        assert suspects(LABELS, agreeing).flagged.tolist() == []

    def test_a_probability_of_nothing_has_a_finite_score(self) -> None:
        found = suspects(np.array([0, 0, 1]), np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
        assert np.isfinite(found.score).all()
        assert found.flagged.tolist() == [0]

    @given(judged())
    def test_the_flagged_have_a_likelier_class_and_come_in_order(
        self, case: tuple[Ints, npt.NDArray[np.float64]]
    ) -> None:
        labels, probabilities = case
        found, each = suspects(labels, probabilities), np.arange(len(labels))
        assert (found.likely != labels).all()
        assert len(set(found.flagged.tolist())) == len(found.flagged) <= mislabelled(labels, probabilities)
        assert (np.diff(found.score[found.flagged]) <= 0).all()
        doubted = probabilities[each, found.likely] > probabilities[each, labels]
        assert doubted[found.flagged].all()
        if len(found.flagged) < min(doubted.sum(), mislabelled(labels, probabilities)):
            pytest.fail("fewer are flagged than there are to flag")

    @given(judged())
    def test_the_names_of_the_classes_do_not_matter(self, case: tuple[Ints, npt.NDArray[np.float64]]) -> None:
        labels, probabilities = case
        last = probabilities.shape[1] - 1
        turned = suspects(last - labels, probabilities[:, ::-1])
        found = suspects(labels, probabilities)
        assert turned.score == pytest.approx(found.score)
