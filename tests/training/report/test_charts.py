"""Readable ticks, and lines that stop where there is nothing."""

import math

import pytest

from manifests.pages.charts import Scale
from training.report.charts import Line, epoch_marks, labels, line_chart, path


@pytest.mark.parametrize(
    ("marks", "unit", "expected"),
    [
        ([1.8, 1.85, 1.9], "", ["1.80", "1.85", "1.90"]),
        ([0, 0.5, 1.0], "%", ["0\u202f%", "50\u202f%", "100\u202f%"]),
        ([0.5, 1, 2], "", ["0.5", "1", "2"]),
        ([0, 1e-5, 2e-5], "", ["0", "1e-05", "2e-05"]),
    ],
)
def test_labels_of_an_even_axis_have_the_same_decimals(marks: list[float], unit: str, expected: list[str]):
    assert labels(marks, unit) == expected


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, [1]), (5, [1, 2, 3, 4, 5]), (12, [1, 2, 4, 6, 8, 10, 12]), (100, [1, 20, 40, 60, 80, 100])],
)
def test_epoch_marks_are_the_first_and_round_ones(epochs: int, expected: list[int]):
    assert epoch_marks(range(1, epochs + 1)) == expected


def test_a_line_stops_where_there_is_no_value():
    x = y = Scale(0, 10, 0, 10)
    assert path([1, 2, 3, 4], [1, None, math.nan, 2], x, y) == "M1.0 1.0M4.0 2.0"


def test_the_best_epoch_is_marked_on_every_line():
    chart = line_chart("Loss", "", [1, 2, 3], [Line("train", [3, 2, 1]), Line("val", [3, 2.5, 2.8])], 2)
    assert "best: epoch 2" in chart
    assert chart.count("<circle") == 2


def test_one_exploded_epoch_does_not_flatten_the_others():
    chart = line_chart("Loss", "", [1, 2, 3], [Line("train", [900.0, 2, 1])], None)
    assert "Loss, log scale" in chart
