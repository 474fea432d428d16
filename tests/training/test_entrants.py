"""Runs are found by name, and compared only over the same images and classes."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from manifests.errors import Exit, UserError
from tests.training.comparison.made import contest, data, judge, learned, store
from training.entrants import common_split, entrants, find_runs, missing
from training.folders import BEST, PREDICTIONS


def found(place: Path, *names: str) -> list[str]:
    return [folder.parent.name for folder in find_runs(store(place), names)]


def refusal(folders: list[Path], split: str = "test") -> str:
    with pytest.raises(UserError) as caught:
        entrants(folders, split)
    assert caught.value.code == Exit.STALE
    return str(caught.value)


class TestFinding:
    """Names, patterns, names without their seed, and folders."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        data(tmp_path)
        for name in ("small", "wide-seed10", "wide-seed2", "wide-seed0"):
            learned(tmp_path, name)
        return tmp_path

    def test_the_first_named_comes_first(self, place: Path):
        assert found(place, "wide-seed2", "small") == ["wide-seed2", "small"]

    def test_a_name_without_its_seed_means_all_its_seeds_in_their_order(self, place: Path):
        assert found(place, "small", "wide") == ["small", "wide-seed0", "wide-seed2", "wide-seed10"]

    def test_a_pattern_means_all_that_it_fits(self, place: Path):
        assert found(place, "wide-seed*") == ["wide-seed0", "wide-seed2", "wide-seed10"]

    def test_a_run_of_that_very_name_goes_before_its_seeds(self, place: Path):
        learned(place, "wide")
        assert found(place, "small", "wide") == ["small", "wide"]

    def test_each_is_taken_once(self, place: Path):
        assert found(place, "wide-seed0", "wide") == ["wide-seed0", "wide-seed2", "wide-seed10"]

    def test_a_folder_is_that_run(self, place: Path):
        older = learned(place, "small", key="0000000000000000")
        assert find_runs(store(place), [str(older), "wide-seed0"])[0] == older

    def test_of_several_the_newest_finished_one_counts(self, place: Path):
        done, begun = learned(place, "small", key="1" * 16), learned(place, "small", key="2" * 16)
        (begun / "stage.json").unlink()
        for at, folder in enumerate((store(place).root / "runs" / "small" / "fedcba9876543210", done, begun)):
            for file in folder.iterdir():
                os.utime(file, (1_000 + at, 1_000 + at))
        assert find_runs(store(place), ["small", "wide-seed0"])[0] == done

    def test_a_run_that_is_not_finished_is_refused_with_the_remedy(self, place: Path):
        (learned(place, "half") / "stage.json").unlink()
        with pytest.raises(UserError, match="train --resume --run half") as caught:
            found(place, "half", "small")
        assert caught.value.code == Exit.STALE

    def test_an_unknown_name_is_refused_with_the_known_ones(self, place: Path):
        with pytest.raises(UserError, match=r"no run 'smal'.*Did you mean 'small'") as caught:
            found(place, "smal", "wide")
        assert caught.value.code == Exit.USAGE

    def test_one_run_alone_cannot_be_compared(self, place: Path):
        with pytest.raises(UserError, match="only small was named") as caught:
            found(place, "small", "small")
        assert caught.value.code == Exit.USAGE

    def test_without_any_run_it_says_how_to_begin(self, tmp_path: Path):
        with pytest.raises(UserError, match="Begin with: alacena train"):
            found(tmp_path, "small", "wide")


class TestSplit:
    """Test where all have it, else val; and whose evaluation is still to be made."""

    def test_test_where_all_were_evaluated_on_it(self, tmp_path: Path):
        assert common_split(contest(tmp_path, {"a": "11", "b": "11"})) == "test"

    def test_val_where_not_all_were_evaluated_on_test(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "11", "b": "11"}, split="val")
        judge(folders[0], store(tmp_path).folder("transform", "0123456789abcdef"), "11")
        assert common_split(folders) == "val"

    def test_test_where_nothing_is_evaluated_and_all_have_images_for_it(self, tmp_path: Path):
        data(tmp_path)
        assert common_split([learned(tmp_path, "a"), learned(tmp_path, "b")]) == "test"

    def test_val_where_one_has_no_test_images(self, tmp_path: Path):
        data(tmp_path)
        folders = [learned(tmp_path, "a"), learned(tmp_path, "b", rows={"train": 8, "val": 4, "test": 0})]
        assert common_split(folders) == "val"

    def test_as_asked(self, tmp_path: Path):
        assert common_split(contest(tmp_path, {"a": "11", "b": "11"}), "train") == "train"

    def test_only_evaluations_of_the_present_weights_count(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "11", "b": "11"})
        assert missing(folders, "test") == []
        assert missing(folders, "val") == folders
        stage = json.loads((folders[1] / "stage.json").read_text("utf-8"))
        stage["files"][BEST] = "0" * 64
        (folders[1] / "stage.json").write_text(json.dumps(stage), "utf-8")
        assert missing(folders, "test") == [folders[1]]


class TestReading:
    """The runs' predictions stand in one order; what cannot be compared is refused."""

    def test_a_missing_evaluation_names_the_command_that_makes_it(self, tmp_path: Path):
        data(tmp_path)
        said = refusal([learned(tmp_path, "a"), learned(tmp_path, "b")])
        assert "the evaluation is missing; make it with: alacena evaluate --run a --split test" in said

    def test_another_order_of_the_same_images_is_put_right(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "110100", "b": "101010"})
        file = folders[1] / "evaluation" / "test" / PREDICTIONS
        file.write_text(pl.read_csv(file).reverse().write_csv(), "utf-8")
        first, second = entrants(folders, "test")
        assert first.predictions["path"].equals(second.predictions["path"])
        assert second.right.tolist() == [True, False, True, False, True, False]

    def test_images_that_differ_are_refused_with_counts_and_remedy(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "111111", "b": "111111"})
        for folder, dropped in zip(folders, (1, 2), strict=True):
            file = folder / "evaluation" / "test" / PREDICTIONS
            table = pl.read_csv(file)
            file.write_text((table.tail(-dropped) if dropped == 1 else table.head(-dropped)).write_csv(), "utf-8")
        said = refusal(folders)
        assert "other test images than a (2 only in a, 1 only here, 3 in both)" in said
        assert "one curation" in said

    def test_an_image_whose_class_was_changed_is_refused(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "1111", "b": "1111"})
        file = folders[1] / "evaluation" / "test" / PREDICTIONS
        changed = pl.read_csv(file).with_columns(pl.Series("class", ["bee", "bee", "ant", "bee"]))
        file.write_text(changed.write_csv(), "utf-8")
        assert "1 of 4 test images carry another class than in a" in refusal(folders)

    def test_other_classes_are_refused_by_name(self, tmp_path: Path):
        folders = [*contest(tmp_path, {"a": "11"}), learned(tmp_path, "b", classes=["ant", "wasp"])]
        judge(folders[1], store(tmp_path).folder("transform", "0123456789abcdef"), "11")
        assert "other classes than a: 1 only here (wasp); 1 only in a (bee)" in refusal(folders)

    def test_copies_of_one_file_are_told_apart(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "1100", "b": "1010"})
        for folder in folders:
            file = folder / "evaluation" / "test" / PREDICTIONS
            same = pl.read_csv(file).with_columns(path=pl.lit("x.jpg"), sha256=pl.lit("0"), **{"class": pl.lit("ant")})
            file.write_text(same.write_csv(), "utf-8")
        assert [one.right.tolist() for one in entrants(folders, "test")] == [
            [True, True, False, False],
            [True, False, True, False],
        ]

    def test_two_runs_of_one_name_are_told_apart_by_their_key(self, tmp_path: Path):
        (first,) = contest(tmp_path, {"a": "11"})
        second = learned(tmp_path, "a", key="0123456789abcdef")
        judge(second, store(tmp_path).folder("transform", "0123456789abcdef"), "10")
        assert [one.name for one in entrants([first, second], "test")] == ["a-fedcba98", "a-01234567"]

    def test_other_shards_of_the_same_images_are_fine(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "1110"})
        larger = data(tmp_path, images=4, transform="fedcba9876543210")
        folders.append(learned(tmp_path, "b", transform="fedcba9876543210"))
        judge(folders[1], larger, "1011")
        right = np.stack([one.right for one in entrants(folders, "test")])
        assert right.tolist() == [[True, True, True, False], [True, False, True, True]]
