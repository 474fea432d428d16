"""Readable ticks, and numbers as places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.pages.charts import log_ticks, ticks


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
