"""Tables of the compared runs, exact to the image."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.training.comparison.made import contest, data, judge, learned
from training.compare import Comparison, Group, compared
from training.paired import Agreement


def comparison(place: Path, answers: dict[str, str], *classes: str, split: str = "test") -> Comparison:
    return compared(contest(place, answers, classes or ("ant", "bee"), split=split), split)


def who(found: Comparison) -> list[tuple[str, str]]:
    return [(pair.a, pair.b) for pair in found.pairs]


class TestRuns:
    """A row a run, in the order asked for."""

    def test_a_row_has_what_evaluation_and_training_said(self, tmp_path: Path):
        found = comparison(tmp_path, {"a": "1110", "b": "1111"})
        first, second = found.rows
        assert (first.run, first.accuracy, second.run, second.accuracy) == ("a", 0.75, "b", 1.0)
        assert (first.parameters, first.trainable, first.train_seconds, first.epochs) == (93_514, 93_514, 7.5, 2)
        assert (first.milliseconds_per_image, first.bytes) == (1.25, len("weights of a fedcba9876543210"))
        assert first.low <= first.accuracy <= first.high

    def test_a_time_that_nobody_measured_is_none(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "11", "b": "10"})
        for folder in folders:
            file = folder / "evaluation" / "test" / "metrics.json"
            said = json.loads(file.read_text("utf-8"))
            del said["milliseconds_per_image"]
            file.write_text(json.dumps(said), "utf-8")
        assert [row.milliseconds_per_image for row in compared(folders, "test").rows] == [None, None]


class TestPairs:
    """Who is compared with whom, and what is counted."""

    def test_two_runs_are_one_pair_the_first_its_baseline(self, tmp_path: Path):
        (pair,) = comparison(tmp_path, {"a": "110010", "b": "101110"}).pairs
        assert (pair.a, pair.b, pair.counts) == ("a", "b", Agreement(2, 1, 2, 1))
        assert pair.difference == pytest.approx(1 / 6)

    def test_up_to_four_are_all_compared_with_all(self, tmp_path: Path):
        found = comparison(tmp_path, dict.fromkeys("abcd", "10"))
        assert who(found) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
        assert {pair.tests for pair in found.pairs} == {6}

    def test_of_more_the_first_is_compared_with_each_other(self, tmp_path: Path):
        assert who(comparison(tmp_path, dict.fromkeys("abcde", "10"))) == [("a", other) for other in "bcde"]


class TestSeeds:
    """Runs whose names differ by their seed."""

    def test_mean_and_sample_deviation(self, tmp_path: Path):
        found = comparison(tmp_path, {"a-seed0": "1110", "a-seed1": "1111", "b": "1000"})
        (group,) = found.groups
        assert (group.name, group.runs) == ("a", ("a-seed0", "a-seed1"))
        assert group.accuracy == pytest.approx(0.875)
        assert group.accuracy_deviation == pytest.approx(0.125 * 2**0.5)
        assert found.group_pairs == ()

    def test_a_single_seed_has_no_deviation(self, tmp_path: Path):
        found = comparison(tmp_path, {"a-seed0": "1110", "a-seed1": "1111", "b-seed0": "1010"})
        single = found.groups[1]
        assert single == Group("b", ("b-seed0",), 0.5, None, single.macro_f1, None)

    def test_runs_that_were_not_repeated_are_no_groups(self, tmp_path: Path):
        assert comparison(tmp_path, {"a-seed0": "1110", "b-seed0": "1111"}).groups == ()

    def test_groups_are_compared_by_their_means(self, tmp_path: Path):
        answers = {"a-seed0": "1" * 10 + "0" * 30, "a-seed1": "1" * 8 + "0" * 32}
        (pair,) = comparison(tmp_path, answers | {"b-seed0": "1" * 36 + "0" * 4, "b-seed1": "1" * 40}).group_pairs
        assert (pair.a, pair.b, pair.images, pair.verdict) == ("a", "b", 40, "better")
        assert pair.difference == pytest.approx(0.95 - 0.225)


class TestClasses:
    """Recall of each class, the largest difference first."""

    def test_the_largest_first_with_what_was_gained_and_lost(self, tmp_path: Path):
        found = comparison(tmp_path, {"a": "110110", "b": "011111"}, "ant", "bee", "cat").classes
        assert found.rows() == [
            ("a", "b", "cat", 2, 0.0, 1.0, 1.0, 0, 2),
            ("a", "b", "ant", 2, 1.0, 0.5, -0.5, 1, 0),
            ("a", "b", "bee", 2, 1.0, 1.0, 0.0, 0, 0),
        ]

    def test_classes_without_an_image_are_left_out(self, tmp_path: Path):
        assert comparison(tmp_path, {"a": "10", "b": "11"}, "ant", "bee", "cat").classes["class"].to_list() == [
            "bee",
            "ant",
        ]

    def test_the_differences_add_up_to_that_of_the_pair(self, tmp_path: Path):
        found = comparison(tmp_path, {"a": "1100110010", "b": "0111010111"}, "ant", "bee", "cat")
        weighted = (found.classes["difference"] * found.classes["images"]).sum() / found.images
        assert weighted == pytest.approx(found.pairs[0].difference)


class TestDisagreements:
    """The images that one alone has right."""

    def test_all_of_them_and_no_other_the_surest_first(self, tmp_path: Path):
        found = comparison(tmp_path, {"a": "150310", "b": "110009"}).disagreements
        numbers = [int(path.split("/")[-1].split(".")[0]) for path in found["path"]]
        assert list(zip(numbers, found["right"], strict=True)) == [(5, "b"), (3, "a"), (4, "a")]

    def test_each_has_what_both_said(self, tmp_path: Path):
        (row,) = comparison(tmp_path, {"a": "1", "b": "0"}).disagreements.iter_rows(named=True)
        said = {name: row[name] for name in ("class", "predicted_a", "predicted_b", "right")}
        assert said == {"class": "ant", "predicted_a": "ant", "predicted_b": "bee", "right": "a"}
        assert row["probability_a"] > row["probability_b"] > 0.5


class TestNotes:
    """What a person should know beside the figures."""

    def test_a_plain_comparison_needs_none(self, tmp_path: Path):
        assert comparison(tmp_path, {"a": "1010", "b": "1110"}).notes == ()

    def test_the_val_split_leans_to_the_friendly_side(self, tmp_path: Path):
        (said,) = comparison(tmp_path, {"a": "1010", "b": "1110"}, split="val").notes
        assert "chose each run's epoch" in said

    def test_an_interval_without_width_says_what_it_may_hide(self, tmp_path: Path):
        (said,) = comparison(tmp_path, {"a": "1" * 40, "b": "10" * 20}).notes
        assert said == "All right or all wrong: the interval has no width, yet 7.5 points could hide in it: a."

    def test_other_devices_and_kept_features(self, tmp_path: Path):
        shard_set = data(tmp_path)
        folders = [learned(tmp_path, "a"), learned(tmp_path, "b", device="cuda:0", feature_cache=True)]
        for folder, device in zip(folders, ("cpu", "cuda:0"), strict=True):
            judge(folder, shard_set, "10", device=device)
        said = " ".join(compared(folders, "test").notes)
        assert "times of training do not compare" in said
        assert "times an image do not compare" in said
        assert "kept features, the backbone's one pass not counted: b." in said


def test_its_json_is_plain_and_whole(tmp_path: Path):
    found = comparison(tmp_path, {"a-seed0": "1110", "a-seed1": "1111", "b-seed0": "1000", "b-seed1": "1001"})
    said = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert [row["run"] for row in said["runs"]] == list(found.names)
    assert (len(said["pairs"]), len(said["groups"]), len(said["group_pairs"])) == (6, 2, 1)
    assert pl.DataFrame(said["classes"]).height == 6 * 2
