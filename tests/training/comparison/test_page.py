"""The comparison is one file that says what is known, escapes what it is given and needs nothing else."""

import base64
import hashlib
import io
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from manifests.pages.sections import found_sections
from tests.pages import Page, addresses, section
from tests.training.comparison.made import CLASSES, TRANSFORM, contest, store
from training.compare import compared
from training.comparison import sections, shown, write_comparison
from training.comparison.charts import axis
from training.comparison.page import folder_name
from training.comparison.sections.runs import columns
from training.comparison.sections.settings import differing
from training.comparison.words import size
from training.entrants import entrants

HOSTILE = ['<script>alert("1")</script>', "\"onload='x' &amp; ]]>"]
TWO = {"small": "1100110011" * 3, "wide": "1119111101" * 3}
SEEDS = {f"{name}-seed{seed}": digits * 3 for name, digits in TWO.items() for seed in range(3)}


def written(place: Path, answers: dict[str, str], *classes: str, split: str = "test") -> Path:
    folders = contest(place, answers, classes or ("ant", "bee"), split=split)
    return write_comparison(store(place), compared(folders, split))


def page(place: Path, answers: dict[str, str], *classes: str, split: str = "test") -> str:
    return written(place, answers, *classes, split=split).read_text("utf-8")


class TestFile:
    """The file stands alone, in a folder with its numbers."""

    def test_its_folder_is_named_by_the_runs_and_holds_the_numbers(self, tmp_path: Path):
        file = written(tmp_path, TWO)
        assert file == store(tmp_path).root / "comparisons" / "small-vs-wide" / "comparison.html"
        assert sorted(each.name for each in file.parent.iterdir()) == [
            "classes.csv", "comparison.csv", "comparison.html", "disagreements.csv", "pairs.csv",
        ]  # fmt: skip
        assert [each.name for each in file.parent.parent.iterdir()] == ["small-vs-wide"]

    def test_a_second_comparison_of_them_takes_the_place_of_the_first(self, tmp_path: Path):
        file = written(tmp_path, TWO)
        before = file.read_bytes()
        (file.parent / "left.csv").touch()
        folders = [store(tmp_path).root / "runs" / name / "fedcba9876543210" for name in TWO]
        assert write_comparison(store(tmp_path), compared(folders, "test")) == file
        assert file.read_bytes() == before  # it holds no clock
        assert not (file.parent / "left.csv").exists()

    def test_nothing_in_it_points_outside(self, tmp_path: Path):
        text = page(tmp_path, TWO)
        found = addresses(text)
        assert sum(a.startswith("data:image/webp;base64,") for a in found) == 12 + 3
        assert [a for a in found if not a.startswith(("#", "data:image/webp;base64,"))] == []
        assert "http" not in text.replace("http-equiv", "")
        assert "url(" not in text
        assert "@import" not in text

    def test_it_has_no_script_and_no_style_of_its_own_on_any_element(self, tmp_path: Path):
        tags = Page(page(tmp_path, TWO)).tags
        assert "script" not in {tag for tag, _ in tags}
        assert [name for _, attributes in tags for name in attributes if name == "style" or name.startswith("on")] == []

    def test_the_policy_allows_its_style_and_nothing_else(self, tmp_path: Path):
        text = page(tmp_path, TWO)
        style = re.search("<style>(.*)</style>", text, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"style-src &#39;sha256-{digest}&#39;" in text

    def test_names_from_outside_stay_text(self, tmp_path: Path):
        text = page(tmp_path, TWO, *HOSTILE)
        assert "<script>" not in text
        assert HOSTILE[0] in section(text, "classes")
        assert HOSTILE[1] in section(text, "disagreements")

    @pytest.mark.parametrize(
        ("answers", "classes"),
        [({"a": "1", "b": "1"}, CLASSES), ({"a": "0", "b": "0"}, CLASSES), ({"a": "1", "b": "0"}, CLASSES),
         (SEEDS, CLASSES), (dict.fromkeys("abcdef", "10" * 150), [f"class {n}" for n in range(250)])],
        ids=["one image, all right", "all wrong", "one image, one right", "six runs in groups", "250 classes"],
    )  # fmt: skip
    def test_extremes_do_not_break_it(self, tmp_path: Path, answers: dict[str, str], classes: list[str]):
        text = page(tmp_path, answers, *classes)
        assert all(f'<section id="{name}"' in text for name in found_sections(sections))
        assert "nan" not in re.sub('base64,[^"]*', "", text).lower().split()

    def test_without_the_shards_it_has_all_but_the_pictures(self, tmp_path: Path):
        folders = contest(tmp_path, TWO)
        shutil.rmtree(store(tmp_path).folder("transform", TRANSFORM))
        text = write_comparison(store(tmp_path), compared(folders, "test")).read_text("utf-8")
        assert "no longer there, so there are no pictures" in section(text, "disagreements")
        assert "<img" not in text


class TestFolderName:
    """Short names in full, long ones by a digest."""

    def test_the_split_is_in_it_where_it_is_not_test(self, tmp_path: Path):
        assert written(tmp_path, TWO, split="val").parent.name == "small-vs-wide-on-val"

    def test_many_names_do_not_make_a_name_that_no_disk_takes(self, tmp_path: Path):
        found = compared(contest(tmp_path, {f"{letter * 40}": "10" for letter in "abcdef"}), "test")
        assert re.fullmatch(f"{'a' * 40}-vs-5-others-[0-9a-f]{{8}}", folder_name(found))


class TestSections:
    """What a reader sees."""

    def test_of_two_the_difference_comes_first(self, tmp_path: Path):
        text = section(page(tmp_path, TWO), "answer")
        assert "+30.0 points wide against small on 30 images of the test split" in text
        assert "Better : 95 % interval" in text

    def test_of_several_the_highest_comes_first(self, tmp_path: Path):
        text = section(page(tmp_path, {"a": "1000", "b": "1110", "c": "1100"}), "answer")
        assert "75.0 % b scores highest of 3 runs" in text
        assert "b against a : +50.0 points" in text

    def test_of_many_it_says_how_many_differ(self, tmp_path: Path):
        text = section(page(tmp_path, dict.fromkeys("abcde", "1000") | {"f": "1111"}), "answer")
        assert "Against a : 0 better, 0 worse, 5 not distinguishable." in text

    def test_several_pairs_are_said_to_be_corrected_for(self, tmp_path: Path):
        three, two = page(tmp_path / "1", dict.fromkeys("abc", "10")), page(tmp_path / "2", TWO)
        assert "Holm" in section(three, "pairs")
        assert "Holm" not in section(two, "pairs")

    def test_groups_of_seeds_have_their_mean_and_deviation(self, tmp_path: Path):
        found = page(tmp_path, SEEDS)
        assert "small 3 60.0 % ± 0.0" in section(found, "runs")
        assert "wide against small : +30.0 points" in section(found, "pairs")

    def test_the_gallery_says_what_each_took_it_for(self, tmp_path: Path):
        text = section(page(tmp_path, {"a": "110", "b": "011"}), "disagreements")
        assert "b right, a wrong: 1 image" in text
        assert "ant 75 % bee 73 % test/ant/00002.jpg" in text

    def test_only_what_differs_is_listed(self, tmp_path: Path):
        first, second = entrants(contest(tmp_path, {"a": "10", "b": "11"}), "test")
        other = second.facts | {"device": "cuda:0", "settings": second.facts["settings"] | {"seed": 3}}
        assert differing([first, first]) == {}
        object.__setattr__(second, "facts", other)
        assert differing([first, second]) == {"seed": [0, 3], "device": ["cpu", "cuda:0"]}

    def test_what_nobody_measured_is_no_column_and_the_best_is_marked(self, tmp_path: Path):
        folders = contest(tmp_path, {"a": "10", "b": "11"})
        rows = compared(folders, "test").rows
        heads, cells = columns(rows)
        assert "ms an image" in heads
        assert [row[heads.index("Accuracy")] for row in cells] == [("50.0\u202f%", False), ("100.0\u202f%", True)]


class TestNumbers:
    """The CSVs hold what the page shows."""

    def test_a_row_a_run_a_pair_a_class_and_a_disagreement(self, tmp_path: Path):
        place = written(tmp_path, {"a": "110010", "b": "101110"}).parent
        assert pl.read_csv(place / "comparison.csv")["run"].to_list() == ["a", "b"]
        (pair,) = pl.read_csv(place / "pairs.csv").iter_rows(named=True)
        assert (pair["both_right"], pair["only_a"], pair["only_b"], pair["both_wrong"]) == (2, 1, 2, 1)
        assert (pair["p"], pair["tests"], pair["verdict"]) == (1.0, 1, "not distinguishable")
        assert pl.read_csv(place / "classes.csv").height == 2
        assert pl.read_csv(place / "disagreements.csv")["right"].to_list() == ["b", "a", "b"]

    def test_groups_have_a_file_of_their_own(self, tmp_path: Path):
        table = pl.read_csv(written(tmp_path, SEEDS).parent / "groups.csv")
        assert table.select("a", "b", "verdict").rows() == [("small", "wide", "better")]


class TestTerminal:
    """The short of it, for a terminal."""

    def text(self, place: Path, answers: dict[str, str]) -> str:
        console = Console(width=100, file=io.StringIO(), record=True)
        for part in shown(compared(contest(place, answers), "test")):
            console.print(part)
        return console.export_text()

    def test_a_pair_is_a_sentence_and_the_classes_that_moved(self, tmp_path: Path):
        text = self.text(tmp_path, {"a": "1000", "b": "1110"})
        assert "2 runs on test: 4 images, 2 classes; the baseline is a" in text
        assert "b against a: +50.0 points, 95 % interval 0.0 to 100.0: not distinguishable on 4 images" in text
        assert "Recall moved most, in points: ant +50.0, bee +50.0" in " ".join(text.split())

    def test_of_many_it_says_what_was_tested_and_corrected(self, tmp_path: Path):
        text = " ".join(self.text(tmp_path, SEEDS).split())
        assert "McNemar's exact test of each run against the first, 5 tests, corrected by Holm's method." in text
        assert "wide against small, means over seeds: +30.0 points" in text
        assert "small 3 0.600 ± 0.000" in text


class TestDrawing:
    """Places in per cent, numbers in words."""

    def test_an_axis_covers_its_values_and_signs_its_marks(self):
        found = axis([-0.04, 0.11], unit="", sign=True)
        assert found.marks == [(0.0, "−5"), (25.0, "0"), (50.0, "+5"), (75.0, "+10"), (100.0, "+15")]
        assert found(0.0) == 25.0

    def test_an_axis_of_one_value_has_room_around_it(self):
        assert 0 < axis([0.5, 0.5])(0.5) < 100

    @pytest.mark.parametrize(
        ("number", "expected"), [(950, "950 B"), (76_800, "76.8 kB"), (999_900, "1 MB"), (14e9, "14 GB")]
    )
    def test_sizes(self, number: int, expected: str):
        assert size(number, " ") == expected
