import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.stopping import Semantics, Waiting


def epochs(patience: int | None, values: list[float], min_delta: float = 0.0, semantics: Semantics = "strict") -> int:
    """After how many of these epochs the wait is over; all of them where it never is."""
    waiting = Waiting(patience, min_delta, semantics)
    for epoch, value in enumerate(values, 1):
        waiting.saw(value)
        if waiting.is_over:
            return epoch
    return len(values)


class TestWaiting:
    """A patience of N bears N epochs without a better value; the next one ends the wait."""

    @pytest.mark.parametrize(("patience", "expected"), [(0, 3), (1, 6), (2, 7), (3, 8), (None, 8)])
    def test_patience(self, patience: int | None, expected: int) -> None:
        assert expected == epochs(patience, [3.0, 2.0, 2.0, 1.0, 1.5, 1.0, 1.2, 1.1])

    def test_equal_is_not_better(self) -> None:
        waiting = Waiting(None)
        assert [waiting.saw(value) for value in (2.0, 2.0, 1.0, float("nan"))] == [True, False, True, False]

    def test_state_survives_json_even_before_the_first_value(self) -> None:
        for values in ([], [2.0, 3.0]):
            one, other = Waiting(1), Waiting(1)
            for value in values:
                one.saw(value)
            other.restore(json.loads(json.dumps(one.state())))
            assert vars(one) == vars(other)

    def test_less_than_the_delta_is_not_better_but_still_the_best(self) -> None:
        waiting = Waiting(1, min_delta=0.5)
        assert [waiting.saw(value) for value in (2.0, 1.75, 1.5)] == [True, True, True]
        assert waiting.is_over
        assert waiting.best == 1.5

    def test_beginning_again_forgets_the_wait_and_keeps_the_best(self) -> None:
        waiting = Waiting(0)
        for value in (1.0, 2.0):
            waiting.saw(value)
        waiting.begin_again()
        assert not waiting.is_over
        assert not waiting.saw(1.5)
        assert not waiting.is_over


def keras(patience: int, values: list[float], min_delta: float) -> int:
    """Keras' EarlyStopping (mode min), as its documentation and source have it."""
    best, wait = math.inf, 0
    for epoch, value in enumerate(values):
        wait += 1
        if value + min_delta < best:
            best, wait = value, 0
        elif wait >= patience and epoch > 0:
            return epoch + 1
    return len(values)


class TestKeras:
    """`semantics = keras` waits as Keras does: the Nth epoch without a better value ends it."""

    @given(
        st.lists(st.integers(0, 8).map(lambda n: n / 4), min_size=1, max_size=20),
        st.integers(0, 4),
        st.sampled_from([0.0, 0.25, 0.5]),
    )
    def test_it_stops_where_keras_stops(self, values: list[float], patience: int, min_delta: float) -> None:
        assert keras(patience, values, min_delta) == epochs(patience, values, min_delta, "keras")

    def test_one_epoch_sooner_than_strict(self) -> None:
        values = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0]
        assert (epochs(2, values), epochs(2, values, semantics="keras")) == (5, 4)
