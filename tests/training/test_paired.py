"""The statistics of pairs agree with SciPy, with resampling images one by one, and with tables done by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from training.paired import (
    Agreement,
    Contrast,
    agreement,
    between_groups,
    contrasts,
    group_contrasts,
    holm,
    interval,
    mcnemar,
    points,
    said_p,
)

few = st.integers(0, 60)
answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50)


def judged(difference: float, ends: tuple[float, float], p: float, *, images: int = 293, tests: int = 1) -> Contrast:
    return Contrast("a", "b", images, difference, ends, p, p, tests, Agreement(images - 20, 5, 15, 0))


class TestAgreement:
    """Each image is counted once, by who has it right."""

    def test_the_four_counts(self):
        a = np.array([True, True, True, False, False, False])
        b = np.array([True, False, True, True, False, False])
        assert agreement(a, b) == Agreement(both_right=2, only_a=1, only_b=1, both_wrong=2)

    @given(answers)
    def test_its_difference_is_that_of_the_accuracies(self, said: list[tuple[bool, bool]]):
        a, b = np.array(said).T
        found = agreement(a, b)
        assert found.images == len(said)
        assert found.difference == pytest.approx(b.mean() - a.mean())


class TestMcNemar:
    """The exact test is the binomial one of the images that one run alone has right."""

    @given(few, few)
    def test_it_is_scipys_binomial_test(self, only_a: int, only_b: int):
        expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar(only_a, only_b) == pytest.approx(expected)

    @pytest.mark.parametrize(("counts", "expected"), [((0, 5), 2 / 32), ((6, 0), 2 / 64), ((1, 1), 1.0), ((0, 0), 1.0)])
    def test_by_hand(self, counts: tuple[int, int], expected: float):
        assert mcnemar(*counts) == pytest.approx(expected)

    def test_thousands_of_images_are_no_trouble(self):
        assert mcnemar(4_000, 4_300) == pytest.approx(binomtest(4_000, 8_300).pvalue)


class TestInterval:
    """The paired bootstrap, drawn as counts."""

    @settings(max_examples=30)
    @given(few, few, few)
    def test_the_difference_lies_in_it_and_it_in_the_possible(self, same: int, only_a: int, only_b: int):
        counts = Agreement(same + 1, only_a, only_b, 0)
        low, high = interval(counts, 2_000)
        assert -1 <= low <= counts.difference <= high <= 1

    def test_it_is_what_resampling_the_images_one_by_one_gives(self):
        counts, draw = Agreement(60, 9, 21, 10), np.random.default_rng(5)
        each = np.repeat([0, -1, 1, 0], [60, 9, 21, 10])
        drawn = each[draw.integers(0, 100, (10_000, 100))].mean(axis=1)
        assert interval(counts) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.0101)  # an image of 100

    def test_it_is_the_same_every_time(self):
        assert interval(Agreement(50, 3, 8, 4)) == interval(Agreement(50, 3, 8, 4))

    def test_runs_that_never_differ_have_no_width(self):
        assert interval(Agreement(7, 0, 0, 3)) == (0.0, 0.0)


class TestHolm:
    """Holm's step-down correction."""

    def test_by_hand(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))

    def test_one_test_is_left_as_it_is(self):
        assert holm([0.04]) == (0.04,)

    def test_of_no_test_there_is_nothing(self):
        assert holm([]) == ()

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
    def test_it_never_makes_a_p_smaller_nor_changes_their_order(self, found: list[float]):
        adjusted = holm(found)
        assert all(before <= after <= 1 for before, after in zip(found, adjusted, strict=True))
        order = sorted(range(len(found)), key=lambda number: found[number])
        assert [adjusted[number] for number in order] == sorted(adjusted)


class TestGroups:
    """Groups of seeds: images and seeds are resampled."""

    def test_of_one_run_each_it_is_the_bootstrap_of_the_pair(self):
        a, b = np.repeat([[1, 1, 0, 0], [1, 0, 1, 0]], [60, 9, 21, 10], axis=1).astype(bool)
        ends, _ = between_groups(a[None], b[None])
        assert ends == pytest.approx(interval(agreement(a, b)), abs=0.0101)

    def test_seeds_that_differ_widen_it(self):
        half = np.arange(200) < 100
        alike = np.stack([half, half, half])
        apart = np.stack([half, np.arange(200) < 140, np.arange(200) < 60])  # the same mean
        widths = [high - low for (low, high), _ in (between_groups(alike, alike), between_groups(alike, apart))]
        assert widths[0] == 0.0
        assert widths[1] > 0.1

    def test_a_group_against_itself_is_not_distinguishable(self):
        runs = np.random.default_rng(1).random((3, 50)) < 0.7
        assert [each.verdict for each in group_contrasts([("a", "b", runs, runs)])] == ["not distinguishable"]

    def test_a_clear_difference_is_found_and_its_p_is_never_zero(self):
        (found,) = group_contrasts([("a", "b", np.zeros((2, 40), bool), np.ones((3, 40), bool))])
        assert (found.difference, found.interval, found.verdict) == (1.0, (1.0, 1.0), "better")
        assert found.p == pytest.approx(2 / 10_001)


class TestSentence:
    """What is said of a pair, in one sentence."""

    def test_better(self):
        assert judged(0.0312, (0.012, 0.05), 0.003).sentence == "+3.1 points, 95 % interval 1.2 to 5.0: better"

    def test_worse(self):
        found = judged(-0.0312, (-0.05, -0.012), 0.003)
        assert found.sentence == "−3.1 points, 95 % interval −5.0 to −1.2: worse"

    def test_an_interval_around_zero_is_not_distinguishable(self):
        found = judged(0.004, (-0.012, 0.02), 0.4)
        assert found.sentence == "+0.4 points, 95 % interval −1.2 to 2.0: not distinguishable on 293 images"

    def test_where_the_test_alone_doubts_it_says_so(self):
        found = judged(0.0312, (0.001, 0.06), 0.0621, tests=3)
        expected = "+3.1 points, 95 % interval 0.1 to 6.0, but p = 0.062 after Holm: not distinguishable on 293 images"
        assert found.sentence == expected

    def test_a_small_p_alone_is_not_enough(self):
        assert judged(0.02, (0.0, 0.04), 0.03).verdict == "not distinguishable"

    def test_runs_that_never_differ(self):
        (found,) = contrasts([("a", "b", Agreement(7, 0, 0, 3))])
        assert found.sentence == "right and wrong on the same images: not distinguishable on 10 images"

    def test_five_images_to_none_are_too_few_for_the_test(self):
        (found,) = contrasts([("a", "b", Agreement(90, 0, 5, 5))])
        assert found.interval[0] > 0
        assert found.verdict == "not distinguishable"

    def test_what_holds_alone_may_not_hold_among_many(self):
        pair = ("a", "b", Agreement(90, 0, 6, 4))
        assert [each.verdict for each in contrasts([pair])] == ["better"]
        assert {each.verdict for each in contrasts([pair, pair])} == {"not distinguishable"}

    def test_its_json_has_counts_verdict_and_sentence(self):
        (found,) = contrasts([("a", "b", Agreement(90, 0, 8, 2))])
        said = json.loads(json.dumps(found.as_json(), allow_nan=False))
        assert said["counts"] == {"both_right": 90, "only_a": 0, "only_b": 8, "both_wrong": 2}
        assert (said["verdict"], said["sentence"]) == ("better", found.sentence)

    @pytest.mark.parametrize(
        ("fraction", "images", "expected"),
        [(0.0312, 293, "+3.1"), (-0.0312, 293, "−3.1"), (0.0001, 293, "0.0"), (-0.0001, 293, "0.0"),
         (0.00123, 10_000, "+0.12")],
    )  # fmt: skip
    def test_points(self, fraction: float, images: int, expected: str):
        assert points(fraction, images, sign=True) == expected

    @pytest.mark.parametrize(
        ("p", "expected"),
        [(0.0002, "p < 0.001"), (0.012, "p = 0.012"), (0.0498, "p = 0.0498"), (0.0503, "p = 0.0503"), (1, "p = 1.000")],
    )
    def test_p_is_never_rounded_across_the_level(self, p: float, expected: str):
        assert said_p(p) == expected
