"""The report is one file that says what is known, escapes what it is given and needs nothing else."""

import base64
import hashlib
import json
import re
from pathlib import Path

import polars as pl
import pytest

from manifests.errors import Exit, UserError
from manifests.pages.sections import found_sections
from tests.pages import Page, addresses, section
from tests.training.report.made import Made, contract, made, names, report
from training.report import sections, write_report
from training.report.sections.answer import time_per_image

HOSTILE = ['<script>alert("1")</script>', "\"onload='x' &amp; ]]>"]


class TestFile:
    """The file stands alone."""

    def test_nothing_in_it_points_outside(self, tmp_path: Path):
        both = made(tmp_path)
        text = write_report(*both).read_text("utf-8")
        found = addresses(text)
        assert len(found) > 12  # the links to sections and the pictures
        outside = {a for a in found if not a.startswith(("#", "data:image/webp;base64,"))}
        assert {a for a in outside if not (both.run / a).is_file()} == set()  # but for the numbers that lie beside it
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

    @pytest.mark.parametrize(
        ("freeze", "turn", "said"),
        [
            ("none", None, "simple , 10"),
            ("backbone", None, "simple with the backbone frozen, 10"),
            ("backbone", 1, "simple with the backbone frozen for 1 epoch, 10"),
            (3, 2, "simple with the first 3 blocks frozen for 2 epochs, 10"),
            (-3, None, "simple with all but the last 3 blocks frozen, 10"),
        ],
    )
    def test_it_states_what_was_frozen_and_for_how_long(self, tmp_path: Path, freeze: object, turn: object, said: str):
        settings = {"model": "simple", "freeze": freeze, "unfreeze_after": turn, "monitor": "val_loss"}
        text = section(report(tmp_path, settings=settings, trainable=10, parameters=40, trainable_later=30), "answer")
        assert said in text
        assert ("then 30 of them" in text) == (turn is not None)

    def test_a_val_score_that_chose_the_epoch_is_called_friendly(self, tmp_path: Path):
        assert "also chose the epoch" in section(report(tmp_path, evaluated=["val"]), "answer")

    def test_test_is_the_answer_where_both_were_evaluated(self, tmp_path: Path):
        text = section(report(tmp_path, evaluated=["val", "test"]), "answer")
        assert "12 images in the test split" in text
        assert "Accuracy on val" in text

    def test_a_perfect_score_says_what_it_does_not_prove(self, tmp_path: Path):
        assert "an error of up to 25.0 %" in section(report(tmp_path, skill=99), "answer")

    def test_it_states_how_long_an_image_takes_and_how_that_was_measured(self, tmp_path: Path):
        text = section(report(tmp_path), "answer")
        assert "An image takes it 4.25 ms on cpu: the whole model alone, median of passes of 12 images" in text

    @pytest.mark.parametrize(
        ("milliseconds", "said"), [(0.01234, "0.0123"), (4.25, "4.25"), (61.97, "62"), (1234.5, "1234")]
    )
    def test_times_have_three_digits(self, milliseconds: float, said: str):
        assert time_per_image({"milliseconds_per_image": milliseconds}) == f"{said}\u202fms"

    def test_of_an_evaluation_that_is_older_it_states_what_that_knows(self, tmp_path: Path):
        both = made(tmp_path)
        make_older(both)
        text = write_report(*both).read_text("utf-8")
        assert "Time per image" not in section(text, "answer")
        assert "run alacena evaluate again" in section(text, "calibration")
        assert "Numbers:" not in section(text, "classes")


def make_older(both: Made) -> None:
    """Take away what evaluations did not have before there was a calibration."""
    folder = both.run / "evaluation" / "test"
    figures = json.loads((folder / "metrics.json").read_text("utf-8"))
    for name in ("calibration", "calibration_error", "balanced_accuracy", "milliseconds_per_image", "from_features"):
        del figures[name]
    (folder / "metrics.json").write_text(json.dumps(figures), "utf-8")
    for name in ("classes.csv", "calibration.csv"):
        (folder / name).unlink()


class TestMissing:
    """A section that lacks its input says so in a sentence."""

    def test_no_evaluation_yet(self, tmp_path: Path):
        text = report(tmp_path, evaluated=())
        for name in ("answer", "confusion", "classes", "calibration", "examples"):
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
