"""Each section by itself: what it draws, in which order, and what it says of it."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import Exit, UserError
from manifests.pixels import NAMED
from tests.pages import section
from tests.training.report.made import contract, evaluation, made, names, report
from training.report import write_report
from training.report.clustering import clustered
from training.report.sections.calibration import said_range, verdict, wilson
from training.report.sections.classes import worst_first
from training.report.sections.confusion import heat_map, shade, strokes
from training.report.sections.examples import chosen
from training.report.sections.settings import environment
from training.report.thumbnails import shown


class TestNumbers:
    """Each picture links the file with its numbers, as it lies from the report."""

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("curves", "metrics.csv"),
            ("confusion", "evaluation/test/confusion.csv"),
            ("classes", "evaluation/test/classes.csv"),
            ("calibration", "evaluation/test/calibration.csv"),
            ("examples", "evaluation/test/predictions.csv"),
        ],
    )
    def test_the_link_leads_to_the_file(self, tmp_path: Path, name: str, file: str):
        both = made(tmp_path)
        text = write_report(*both).read_text("utf-8")
        assert f'Numbers: <a href="{file}">' in re.split("<section ", text)[position(text, name)]
        assert (both.run / file).is_file()


def position(text: str, name: str) -> int:
    """Which of the sections it is, the first being 1."""
    return re.findall('<section id="(.*?)"', text).index(name) + 1


class TestCurves:
    """The curves are drawn of the columns that they know, whatever else stands in metrics.csv."""

    def test_columns_that_nobody_here_knows_are_left_alone(self, tmp_path: Path):
        both = made(tmp_path)
        before = section(write_report(*both).read_text("utf-8"), "curves")
        file = both.run / "metrics.csv"
        table = pl.read_csv(file)
        more = table.select(pl.col("epoch").alias("ema_val_loss"), pl.lit("a, b").alias("remark"), pl.all())
        more.write_csv(file)
        assert section(write_report(*both).read_text("utf-8"), "curves") == before

    def test_a_learning_rate_that_changes_has_a_chart_and_one_that_does_not_has_none(self, tmp_path: Path):
        both = made(tmp_path)
        assert "Learning rate" not in section(write_report(*both).read_text("utf-8"), "curves")
        file = both.run / "metrics.csv"
        pl.read_csv(file).with_columns(learning_rate=0.1 / pl.col("epoch")).write_csv(file)
        assert "Learning rate" in section(write_report(*both).read_text("utf-8"), "curves")


class TestCalibration:
    """How sure it was against how often it was right, in words and in a picture."""

    def test_it_says_both_means_and_the_error(self, tmp_path: Path):
        both = made(tmp_path, splits={"train": 4, "test": 60})
        figures = evaluation(both, "test").scores
        text = section(write_report(*both).read_text("utf-8"), "calibration")
        assert f"right in {100 * figures.accuracy:.1f} %" in text
        assert f"{100 * figures.calibration_error:.1f} points apart on average" in text
        assert sum(part.images for part in figures.calibration) == 60

    def test_there_is_a_dot_and_a_row_for_each_bin_with_images(self, tmp_path: Path):
        both = made(tmp_path, splits={"train": 4, "test": 60})
        filled = [part for part in evaluation(both, "test").scores.calibration if part.images]
        part = re.split("<section ", text := write_report(*both).read_text("utf-8"))[position(text, "calibration")]
        assert part.count("<circle") == part.count('<th scope="row">') == len(filled) > 1

    @pytest.mark.parametrize(
        ("confidence", "said"), [(0.95, "surer than it should be"), (0.5, "less sure"), (0.81, "as far as so many")]
    )
    def test_the_verdict_minds_what_so_many_images_can_tell(self, confidence: float, said: str):
        assert said in verdict(confidence, 0.8, (0.75, 0.85))

    def test_ranges_are_wilsons(self):
        assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
        assert wilson(1.0, 1) == pytest.approx((0.2065, 1.0), abs=1e-4)

    @pytest.mark.parametrize(
        ("ends", "said"), [((0.661, 0.939), "66 to 94 %"), ((0.2, 1.0), "20 to 100 %"), ((0.996, 0.999), "> 99 %")]
    )
    def test_a_range_has_one_sign_and_no_end_twice(self, ends: tuple[float, float], said: str):
        assert said_range(*ends).replace("\u202f", " ") == said


class TestEnvironment:
    """What the run noted of where it ran is shown as one level of names."""

    def test_objects_in_it_are_flattened_and_escaped(self, tmp_path: Path):
        both = made(tmp_path)
        noted = {"torch": {"version": "2.15", "cuda": None, "threads": 2}, "host <b>": True}
        (both.run / "environment.json").write_text(json.dumps(noted), "utf-8")
        assert environment(both.run) == {
            "torch.version": "2.15",
            "torch.cuda": None,
            "torch.threads": 2,
            "host <b>": True,
        }
        text = section(write_report(*both).read_text("utf-8"), "settings")
        assert "Environment torch.version 2.15 torch.threads 2 host <b> yes" in text

    def test_many_facts_are_folded_away(self, tmp_path: Path):
        both = made(tmp_path)
        (both.run / "environment.json").write_text(json.dumps({f"package {n}": n for n in range(60)}), "utf-8")
        assert "<summary>Environment, 60 facts</summary>" in write_report(*both).read_text("utf-8")

    @pytest.mark.parametrize("text", ["[1]", "{", "\udc80"])
    def test_what_is_no_object_is_refused(self, tmp_path: Path, text: str):
        (tmp_path / "environment.json").write_text(text, "utf-8", errors="surrogateescape")
        with pytest.raises(UserError, match="not a JSON object") as caught:
            environment(tmp_path)
        assert caught.value.code == Exit.STALE

    def test_without_the_file_there_is_nothing(self, tmp_path: Path):
        assert environment(tmp_path) == {}


class TestConfusion:
    """Counts while they can be read, a map where there are many."""

    def test_few_classes_show_counts(self, tmp_path: Path):
        assert '<table class="matrix">' in report(tmp_path, names(25), splits={"train": 25, "test": 50})

    def test_many_classes_show_a_map(self, tmp_path: Path):
        assert '<svg class="map' in report(tmp_path, names(26), splits={"train": 26, "test": 52})

    def test_of_many_classes_the_confused_ones_stand_side_by_side_with_a_frame_and_by_name(self, tmp_path: Path):
        text = report(tmp_path, names(30), splits={"train": 30, "test": 300})  # each is taken for the next one
        assert "Mixed up with each other" in section(text, "confusion")
        assert 'class="group-frame"' in text

    def test_few_classes_keep_their_order(self, tmp_path: Path):
        text = section(report(tmp_path, ["b", "c", "a"]), "confusion")
        assert "The order is not that of the classes" not in text
        assert "said → b c a all" in text

    def test_the_map_joins_neighbours_of_one_shade_and_leaves_out_what_is_empty(self):
        matrix = [[4, 0, 0, 0], [0, 0, 2, 2], [0, 0, 4, 0], [0, 0, 0, 0]]
        assert strokes(matrix) == {"hit s8": "M0 0h1M2 2h1", "miss s6": "M2 1h2"}

    def test_a_row_of_the_map_tells_what_became_of_its_class(self):
        tips = [tip for _, tip in heat_map(["ant", "bee"], [[3, 1], [0, 2]]).tips]
        assert tips == ["1 ant: 3 of 4 images right; taken for bee 1", "2 bee: 2 of 2 images right"]

    def test_a_single_mistake_has_a_shade_and_all_is_the_darkest(self):
        assert [shade(share) for share in (0, 1e-6, 1 / 64, 0.25, 1)] == [0, 1, 1, 4, 8]


class TestClustering:
    """`clustered` puts classes that are taken for each other side by side."""

    def test_two_scattered_pairs_come_together_and_the_worse_one_leads_the_groups(self):
        matrix = np.diag([10] * 6)
        matrix[0, 4] = matrix[4, 0] = 2
        matrix[1, 3] = 7
        found = clustered(matrix.tolist())
        assert sorted(found.order) == list(range(6))
        assert [(set(group.members), group.images) for group in found.groups] == [({1, 3}, 7), ({0, 4}, 4)]
        assert all(found.order[g.first : g.first + len(g.members)] == g.members for g in found.groups)

    def test_where_nothing_is_confused_there_is_no_group(self):
        found = clustered(np.diag([3] * 5).tolist())
        assert (sorted(found.order), found.groups) == ([0, 1, 2, 3, 4], ())

    def test_classes_without_images_are_no_obstacle(self):
        assert sorted(clustered([[0, 0, 0], [0, 2, 1], [0, 0, 0]]).order) == [0, 1, 2]

    @given(st.integers(2, 12), st.integers(0, 10_000))
    def test_every_class_has_one_place_and_no_group_shares_a_class(self, classes: int, seed: int):
        matrix = np.random.default_rng(seed).integers(0, 5, (classes, classes))
        found = clustered(matrix.tolist())
        assert sorted(found.order) == list(range(classes))
        members = [member for group in found.groups for member in group.members]
        assert len(members) == len(set(members))
        assert [group.images for group in found.groups] == sorted((g.images for g in found.groups), reverse=True)


def test_classes_come_worst_first_and_those_without_images_last():
    scores = [
        {"name": name, "f1": f1, "support": support}
        for name, f1, support in [("good", 0.9, 5), ("absent", 0.0, 0), ("bad", 0.1, 5), ("bad and large", 0.1, 9)]
    ]
    assert [score["name"] for score in worst_first(scores)] == ["bad and large", "bad", "good", "absent"]


def test_many_classes_show_their_ends_and_fold_the_rest(tmp_path: Path):
    text = section(report(tmp_path, names(31), splits={"train": 31, "test": 62}), "classes")
    assert "The 10 worst" in text
    assert "The 10 best" in text
    assert "All 31 classes" in text
    assert "F1 of every class from 0 (foot) to 1 (top)" in text


def test_examples_are_the_surest_wrong_the_least_sure_and_the_surest_right():
    table = pl.DataFrame(
        [("a", 0.9, False), ("b", 0.99, False), ("c", 0.4, True), ("d", 0.8, True), ("e", 0.8, True)],
        schema=["path", "probability", "correct"],
        orient="row",
    )
    wrong, unsure, right = (part["path"].to_list() for part in chosen(table))
    assert wrong == ["b", "a"]
    assert unsure == ["c", "d", "e", "a", "b"]
    assert right == ["d", "e", "c"]


class TestThumbnails:
    """Pixels come back as they were before they were normalised."""

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_float_pixels_are_put_back(self, dtype: str):
        mean, deviation = NAMED["imagenet"]
        pixels = contract(4, dtype, normalise="imagenet", mean=mean, deviation=deviation)  # pyright: ignore[reportArgumentType] a name from the list above
        original = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
        stored = ((original / 255 - mean) / deviation).astype(np.float32)
        if dtype == "bfloat16":
            stored = (stored.view(np.uint32) >> 16).astype(np.uint16)  # cut off: up to two levels of 255 are lost
        elif dtype == "float16":
            stored = stored.astype(np.float16)
        lost = np.abs(shown(stored, pixels).astype(int) - original)
        assert lost.max() <= (2 if dtype == "bfloat16" else 0)

    def test_grey_shards_make_grey_pictures(self, tmp_path: Path):
        text = report(tmp_path, pixels=contract(8, channels="gray"))
        assert "8 × 8 grey" in section(text, "examples")
