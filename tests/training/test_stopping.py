import json

import pytest

from training.stopping import Waiting


def epochs(patience: int | None, values: list[float]) -> int:
    """After how many of these epochs the wait is over; all of them where it never is."""
    waiting = Waiting(patience)
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
