"""Readable ticks, and lines that stop where there is nothing."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.charts import Line, Scale, epoch_marks, labels, line_chart, log_ticks, path, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.07, 0.93, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.4, 2.31, [0, 0.5, 1.0, 1.5, 2.0, 2.5]),
        (0, 250, [0, 50, 100, 150, 200, 250]),
        (1.0, 1.0, [1.0, 1.2]),
    ],
)
def test_ticks_are_round_and_cover_the_values(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == expected


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6))
def test_ticks_cover_any_range_with_few_marks(low: float, span: float):
    marks = ticks(low, low + span)
    assert marks[0] <= low * (1 + 1e-9)
    assert marks[-1] >= (low + span) * (1 - 1e-9)
    assert 2 <= len(marks) <= 7


def test_log_ticks_cover_the_values_with_ones_twos_and_fives():
    assert log_ticks(0.3, 40) == pytest.approx([0.2, 0.5, 1, 2, 5, 10, 20, 50])


def test_log_ticks_of_many_powers_are_the_powers():
    assert log_ticks(0.002, 900) == pytest.approx([0.001, 0.01, 0.1, 1, 10, 100, 1000])


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
