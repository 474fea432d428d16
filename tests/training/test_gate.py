"""What a pipeline insists on, read from words and held against figures."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import Exit, UserError
from training.gate import CEILINGS, FIGURES, condition, failing
from training.scores import scores

LABELS = np.array([0, 0, 0, 1, 1, 2])
SCORES = scores(np.eye(3)[[0, 0, 1, 1, 0, 1]], LABELS, ("ant", "bee", "cow"))  # accuracy 1/2


class TestFailing:
    """`failing` says of each condition that does not hold what was found and what was asked."""

    def test_a_figure_under_its_least_fails_and_says_both(self):
        assert failing(SCORES, ["accuracy=0.8"]) == ["accuracy is 0.5, under the least that is asked: 0.8"]

    def test_a_figure_that_meets_its_limit_exactly_passes(self):
        assert failing(SCORES, ["accuracy=0.5"]) == []

    @pytest.mark.parametrize("name", sorted(CEILINGS))
    def test_of_the_loss_and_the_calibration_error_the_limit_is_the_most(self, name: str):
        figures = replace(SCORES, loss=0.4, calibration_error=0.4)
        assert failing(figures, [f"{name}=0.4"]) == failing(figures, [f"{name}=0.5"]) == []
        assert failing(figures, [f"{name}=0.3"]) == [f"{name} is 0.4, over the most that is allowed: 0.3"]

    def test_several_conditions_are_held_each_by_itself_in_their_order(self):
        found = failing(SCORES, ["macro_f1=0.99", "accuracy=0.1", "top5=1", "balanced_accuracy=0.9"])
        assert [sentence.split()[0] for sentence in found] == ["macro_f1", "balanced_accuracy"]

    def test_a_figure_that_misses_by_a_hair_is_written_so_that_it_shows(self):
        found = failing(replace(SCORES, accuracy=0.79999999), ["accuracy=0.8"])
        assert found == ["accuracy is 0.79999999, under the least that is asked: 0.8"]

    @given(st.sampled_from(sorted(FIGURES)), st.floats(0, 1), st.floats(0, 1))
    def test_it_fails_exactly_where_the_figure_is_on_the_wrong_side(self, name: str, value: float, limit: float):
        part, _, field = name.partition("_")
        if part in {"macro", "weighted"}:
            figures = replace(SCORES, **{part: replace(getattr(SCORES, part), **{field: value})})
        else:
            figures = replace(SCORES, **{name: value})
        wrong = value > limit if name in CEILINGS else value < limit
        assert bool(failing(figures, [f"{name}={limit!r}"])) == wrong


class TestCondition:
    """`condition` reads one condition, and says in a sentence what is off with it."""

    def test_spaces_around_its_parts_are_nothing(self):
        assert condition(" macro_f1 = 0.8 ") == ("macro_f1", 0.8)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("macrof1=0.8", "unknown figure 'macrof1'. Known: accuracy, .* Did you mean 'macro_f1'?"),
            ("f1=0.8", "unknown figure 'f1'. Known: "),
            ("macro_f1", "a limit is missing; write macro_f1=0.8"),
            ("macro_f1=", "'' is not a number"),
            ("macro_f1=high", "'high' is not a number"),
            ("macro_f1=80", "80 is no fraction; give a number from 0 to 1"),
            ("macro_f1=nan", "nan is no fraction"),
            ("calibration_error=-0.1", "-0.1 is no fraction"),
            ("loss=-1", "-1 is no limit of a loss"),
            ("loss=nan", "nan is no limit of a loss"),
            ("loss=inf", "inf is no limit of a loss"),
        ],
    )
    def test_what_cannot_be_held_is_refused_as_usage(self, text: str, said: str):
        with pytest.raises(UserError, match=f"--fail-under {text}: {said}") as caught:
            condition(text)
        assert caught.value.code == Exit.USAGE

    def test_a_loss_may_be_over_one(self):
        assert condition("loss=2.5").limit == 2.5
