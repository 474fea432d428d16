import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from manifests.digests import file_digest
from manifests.errors import UserError
from tests.training.report.made import Made, made
from training.card import card, counted, known
from training.folders import read_facts


def written(both: Made, **facts: Any) -> str:
    """The card of a made-up run, whose facts may be others."""
    checkpoint = both.run / "best.safetensors"
    checkpoint.touch()
    given = known(both.run, both.shards, read_facts(both.run) | facts, file_digest(checkpoint))
    return card(given, ["- `model.onnx`: what it is."])


def test_it_says_what_the_run_and_its_evaluation_say(tmp_path: Path):
    both = made(tmp_path, ("ant", "bee"), splits={"train": 48, "val": 12, "test": 12})
    text = written(both)
    figures = json.loads((both.run / "evaluation" / "test" / "metrics.json").read_text("utf-8"))
    assert "# first\n" in text
    assert "93,514 parameters, trained by alacena on the data set made" in text
    assert f"accuracy {figures['accuracy']:.4f}" in text
    assert f"95 % interval {figures['interval'][0]:.3f} to {figures['interval'][1]:.3f}" in text
    assert "| ant | 24 | 6 | 6 |\n| bee | 24 | 6 | 6 |\n| all | 48 | 12 | 12 |" in text
    assert "It began with random weights." in text
    assert "Fewer than 20" not in text
    assert "No test split was evaluated" not in text


def test_what_is_not_known_is_said_to_be_so(tmp_path: Path):
    text = written(made(tmp_path, evaluated=()), weights="sha256:12", licence=None)
    assert "These weights were not evaluated." in text
    assert "No test split was evaluated" in text
    assert "whose licence is not recorded" in text
    assert "Whether its probabilities mean what they say was not measured." in text
    assert "## Agreement" not in text


def test_the_licence_is_that_of_the_run(tmp_path: Path):
    assert "whose licence is: BSD-3-Clause." in written(made(tmp_path), weights="default", licence="BSD-3-Clause")


@pytest.mark.parametrize("error", [0.0, 0.0312])
def test_the_calibration_error_is_told_where_there_is_one(tmp_path: Path, error: float):
    both = made(tmp_path)
    file = both.run / "evaluation" / "test" / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"calibration_error": error}), "utf-8")
    assert f"by {error:.4f} on average (expected calibration error on test)" in written(both)


def test_an_evaluation_of_other_weights_is_left_out(tmp_path: Path):
    both = made(tmp_path)
    (both.run / "best.safetensors").write_bytes(b"went on")
    text = written(both)
    assert "These weights were not evaluated." in text
    assert "Evaluations of other weights are left out: test." in text


def test_an_evaluation_that_cannot_be_read_is_named(tmp_path: Path):
    both = made(tmp_path)
    (both.run / "evaluation" / "test" / "metrics.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match=r"metrics\.json: not readable as JSON; run evaluate again"):
        written(both)


def test_classes_with_few_images_are_named(tmp_path: Path):
    assert "Fewer than 20 train images: ant (12), bee (12)." in written(made(tmp_path))


def test_without_the_shards_the_rows_of_the_run_are_told(tmp_path: Path):
    both = made(tmp_path)
    text = written(Made(both.run, tmp_path / "gone"))
    assert "Rows, augmented copies among them: train 24, val 12, test 12." in text


def test_names_from_outside_are_read_neither_as_markdown_nor_as_html(tmp_path: Path):
    text = written(made(tmp_path, ("a|b", "<script>x</script>", "*`_[l](x)\n")))
    assert "<script>" not in text
    assert r"| a\|b |" in text
    assert r"| \*\`\_\[l\](x)\\n |" in text


def test_augmented_copies_are_counted_apart(tmp_path: Path):
    rows = pl.DataFrame(
        {"class": ["a", "a", "b"], "split": ["train", "train", "val"], "view": [0, 1, 0], "path": ["1", "1", "2"]}
    )
    assert counted(rows, ["b", "a", "c"]).rows() == [("b", 0, 1, 0), ("a", 1, 0, 0), ("c", 0, 0, 0)]
    both = made(tmp_path)
    facts = read_facts(both.run)
    assert "on top of them 24 augmented copies" in written(both, rows=facts["rows"] | {"train": 48})
