"""The report is one file that says what is known, escapes what it is given and needs nothing else."""

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from manifests.errors import Exit, UserError
from manifests.pages.sections import found_sections
from manifests.pixels import NAMED
from tests.pages import Page, addresses, section
from tests.training.report.made import contract, made, names
from training.report import sections, write_report
from training.report.sections.classes import worst_first
from training.report.sections.confusion import heat_map, shade, strokes
from training.report.sections.examples import chosen
from training.report.thumbnails import shown

HOSTILE = ['<script>alert("1")</script>', "\"onload='x' &amp; ]]>"]


def report(place: Path, *arguments: object, **settings: object) -> str:
    both = made(place, *arguments, **settings)  # pyright: ignore[reportArgumentType] passed on as they are
    return write_report(*both).read_text("utf-8")


class TestFile:
    """The file stands alone."""

    def test_nothing_in_it_points_outside(self, tmp_path: Path):
        text = report(tmp_path)
        found = addresses(text)
        assert len(found) > 12  # the links to sections and the pictures
        assert [a for a in found if not a.startswith(("#", "data:image/webp;base64,"))] == []
        assert "http" not in text.replace("http-equiv", "")
        assert "url(" not in text
        assert "@import" not in text

    def test_it_has_no_script_and_no_style_of_its_own_on_any_element(self, tmp_path: Path):
        tags = Page(report(tmp_path)).tags
        assert "script" not in {tag for tag, _ in tags}
        assert [name for _, attributes in tags for name in attributes if name == "style" or name.startswith("on")] == []

    def test_the_policy_allows_its_style_and_nothing_else(self, tmp_path: Path):
        text = report(tmp_path)
        style = re.search("<style>(.*?)</style>", text, re.DOTALL)
        assert style
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        policy = next(a["content"] for tag, a in Page(text).tags if tag == "meta" and "http-equiv" in a)
        assert policy == (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
        )

    def test_every_section_module_is_on_the_page_in_its_order(self, tmp_path: Path):
        tags = Page(report(tmp_path)).tags
        found = sorted((module.ORDER, name) for name, module in found_sections(sections).items())
        assert [a["id"] for tag, a in tags if tag == "section"] == [name for _, name in found]
        assert found[0][1] == "answer"

    def test_brackets_in_the_place_are_no_pattern(self, tmp_path: Path):
        both = made(tmp_path / "z[1]" / "s*")
        assert "img src" in write_report(*both).read_text("utf-8")

    def test_the_same_run_gives_the_same_bytes(self, tmp_path: Path):
        both = made(tmp_path)
        assert write_report(*both).read_bytes() == write_report(*both).read_bytes()

    def test_names_of_classes_and_runs_are_escaped(self, tmp_path: Path):
        text = report(tmp_path, HOSTILE, run=HOSTILE[0], dataset=HOSTILE[1])
        assert "<script" not in text
        assert not any("onload" in attributes for _, attributes in Page(text).tags)
        assert HOSTILE[0] in section(text, "confusion")
        assert HOSTILE[1] in section(text, "classes")

    def test_names_of_files_are_escaped(self, tmp_path: Path):
        both = made(tmp_path)
        file = both.run / "evaluation" / "test" / "predictions.csv"
        pl.read_csv(file).with_columns(path=pl.lit("a/<img src=x onerror=y>.jpg")).write_csv(file)
        text = write_report(*both).read_text("utf-8")
        assert "<img src=x" not in text
        assert "a/<img src=x onerror=y>.jpg" in section(text, "examples")

    @pytest.mark.parametrize("classes", [2, 26, 250])
    def test_it_stays_small(self, tmp_path: Path, classes: int):
        text = report(tmp_path, names(classes), splits={"train": classes, "test": 4 * classes}, pixels=contract(64))
        assert len(text) < 500_000
        assert "<img " in text


class TestAnswer:
    """The answer comes first, with how sure it is and what stands against it."""

    def test_it_states_score_images_interval_and_baseline(self, tmp_path: Path):
        text = section(report(tmp_path, splits={"train": 20, "test": 41}, skill=9), "answer")
        assert "of 41 images in the test split named right" in text
        assert re.search(r"95 % interval \d+\.\d % to 100\.0 % \(bootstrap", text)
        assert "always answering ant , the largest class: 51.2 %" in text

    def test_it_states_what_was_trained_on_what(self, tmp_path: Path):
        text = section(report(tmp_path), "answer")
        assert "simple , 93 514 of 93 514 parameters trained, 8 epochs in 26 s on cpu, best in epoch" in text
        assert "2 classes, 24 train, 12 val, 12 test images." in text

    def test_a_val_score_that_chose_the_epoch_is_called_friendly(self, tmp_path: Path):
        assert "also chose the epoch" in section(report(tmp_path, evaluated=["val"]), "answer")

    def test_test_is_the_answer_where_both_were_evaluated(self, tmp_path: Path):
        text = section(report(tmp_path, evaluated=["val", "test"]), "answer")
        assert "12 images in the test split" in text
        assert "Accuracy on val" in text

    def test_a_perfect_score_says_what_it_does_not_prove(self, tmp_path: Path):
        assert "an error of up to 25.0 %" in section(report(tmp_path, skill=99), "answer")


class TestMissing:
    """A section that lacks its input says so in a sentence."""

    def test_no_evaluation_yet(self, tmp_path: Path):
        text = report(tmp_path, evaluated=())
        for name in ("answer", "confusion", "classes", "examples"):
            assert "Not evaluated yet" in section(text, name)
        assert "best: epoch" in section(text, "curves")

    def test_no_epoch_yet(self, tmp_path: Path):
        text = report(tmp_path, evaluated=(), epochs=0)
        assert "No epoch is finished yet" in section(text, "curves")
        assert "no epoch finished yet" in section(text, "answer")

    def test_no_metrics_file_yet(self, tmp_path: Path):
        both = made(tmp_path, evaluated=())
        (both.run / "metrics.csv").unlink()
        assert "No epoch is finished yet" in section(write_report(*both).read_text("utf-8"), "curves")

    def test_a_run_that_is_not_finished_is_called_so(self, tmp_path: Path):
        both = made(tmp_path, evaluated=())
        (both.run / "stage.json").unlink()
        assert "This run is not finished" in section(write_report(*both).read_text("utf-8"), "answer")

    def test_no_val_split(self, tmp_path: Path):
        text = report(tmp_path, splits={"train": 8, "test": 8}, val=False)
        assert "line val" not in text
        assert "chosen by train_loss" in section(text, "curves")
        assert "line train" in text

    def test_no_run_at_all(self, tmp_path: Path):
        both = made(tmp_path, evaluated=())
        with pytest.raises(UserError, match="no run here") as caught:
            write_report(tmp_path / "nowhere", both.shards)
        assert caught.value.code == Exit.STALE

    def test_predictions_of_other_images_are_refused(self, tmp_path: Path):
        both = made(tmp_path)
        file = both.run / "evaluation" / "test" / "predictions.csv"
        pl.read_csv(file).head(5).write_csv(file)
        with pytest.raises(UserError, match="other images than in"):
            write_report(*both)


class TestConfusion:
    """Counts while they can be read, a map where there are many."""

    def test_few_classes_show_counts(self, tmp_path: Path):
        assert '<table class="matrix">' in report(tmp_path, names(25), splits={"train": 25, "test": 50})

    def test_many_classes_show_a_map(self, tmp_path: Path):
        assert '<svg class="map' in report(tmp_path, names(26), splits={"train": 26, "test": 52})

    def test_the_map_joins_neighbours_of_one_shade_and_leaves_out_what_is_empty(self):
        matrix = [[4, 0, 0, 0], [0, 0, 2, 2], [0, 0, 4, 0], [0, 0, 0, 0]]
        assert strokes(matrix) == {"hit s8": "M0 0h1M2 2h1", "miss s6": "M2 1h2"}

    def test_a_row_of_the_map_tells_what_became_of_its_class(self):
        tips = [tip for _, tip in heat_map(["ant", "bee"], [[3, 1], [0, 2]]).tips]
        assert tips == ["0 ant: 3 of 4 images right; taken for bee 1", "1 bee: 2 of 2 images right"]

    def test_a_single_mistake_has_a_shade_and_all_is_the_darkest(self):
        assert [shade(share) for share in (0, 1e-6, 1 / 64, 0.25, 1)] == [0, 1, 1, 4, 8]


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
