"""The commands of training and evidence, from outside: what they print, how they end, what they leave behind."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.e2e.runner import alacena, done
from tests.makers import class_folders

SMALL = ("--model", "simple", "--widths", "4,4", "--batch-size", "8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set and a run of two seeds."""
    here = tmp_path_factory.mktemp("evidence")
    class_folders(here / "photos", {"cup": 12, "jar": 10, "pan": 8})
    done("extract", "photos", cwd=here)
    done("transform", "--size", "16", cwd=here)
    done("train", *SMALL, "--run", "small", "--epochs", "2", "--seeds", "2", cwd=here)
    return here


class TestTrain:
    """What a person asks of a training beside its settings."""

    def test_two_seeds_are_two_runs(self, trained: Path):
        names = {file.parts[-3] for file in trained.glob("store/photos/runs/*/*/stage.json")}
        assert {"small-seed0", "small-seed1"} <= names

    def test_more_epochs_go_on_where_fewer_ended(self, trained: Path):
        ended = alacena("train", "--resume", "--run", "small-seed1", "--epochs", "3", cwd=trained)
        assert ended.returncode == 0
        assert "run small-seed1 of 2 epochs goes on to 3" in ended.stderr
        assert "    3 " in ended.stdout
        assert "    2 " not in ended.stdout

    def test_one_batch_by_heart_leaves_no_run(self, trained: Path):
        ended = alacena("train", *SMALL, "--overfit-batch", "--learning-rate", "0.02", "--json", cwd=trained)
        assert ended.returncode == 0
        assert json.loads(ended.stdout)["learned"] is True
        assert not list(trained.glob("store/photos/runs/simple-*"))

    def test_what_cannot_learn_one_batch_is_a_gate(self, trained: Path):
        ended = alacena("train", *SMALL, "--overfit-batch", "--learning-rate", "1e-9", cwd=trained)
        assert ended.returncode == 7
        assert "one batch cannot be learned by heart in 200 steps" in ended.stderr

    def test_no_minutes_stop_after_the_first_step_and_can_be_gone_on_with(self, trained: Path):
        ended = alacena("train", *SMALL, "--run", "late", "--epochs", "1", "--max-minutes", "0", cwd=trained)
        assert ended.returncode == 130
        assert "alacena train --resume --run late" in ended.stderr
        assert "goes on after 0 epochs" in alacena("train", "--resume", "--run", "late", cwd=trained).stderr

    def test_pixels_that_the_model_cannot_take_are_refused_before_any_shard_is_made(self, trained: Path):
        before = sorted(trained.glob("store/photos/transform/*"))
        ended = alacena("train", "--model", "torchvision/vit_b_16", cwd=trained)
        assert ended.returncode == 3
        assert "does not take pictures of 16×16" in ended.stderr
        assert sorted(trained.glob("store/photos/transform/*")) == before

    def test_a_run_that_could_not_begin_is_not_in_force(self, trained: Path):
        ended = alacena("train", *SMALL, "--run", "bad", "--class-weights", "mug=2", cwd=trained)
        assert ended.returncode == 3
        assert "bad" not in (trained / "store/photos/settings.json").read_text("utf-8")

    def test_going_on_and_beginning_again_contradict_each_other(self, trained: Path):
        ended = alacena("train", "--resume", "--restart", cwd=trained)
        assert ended.returncode == 2
        assert "name one" in ended.stderr

    def test_an_unknown_tracker(self, trained: Path):
        ended = alacena("train", "--track", "wandb", cwd=trained)
        assert ended.returncode == 2
        assert "Known: none, tensorboard" in ended.stderr


class TestFindLr:
    """A curve, and a rate to begin with."""

    def test_it_suggests_one(self, trained: Path):
        said = json.loads(done("find-lr", *SMALL, "--output", "curve.html", "--json", cwd=trained))
        assert 1e-5 < said["suggested"] < 1
        assert (trained / "curve.html").read_text("utf-8").startswith("<!doctype html>")
        with (trained / "curve.csv").open() as file:
            assert len(list(csv.DictReader(file))) == said["steps"]


class TestEvidence:
    """Scores, gates, comparisons, predictions and exports of the same run."""

    def test_a_gate_that_holds_and_one_that_does_not(self, trained: Path):
        held = alacena("evaluate", "--run", "small-seed0", "--fail-under", "accuracy=0", cwd=trained)
        assert held.returncode == 0
        failed = alacena("evaluate", "--run", "small-seed0", "--fail-under", "macro_f1=1.0", "--json", cwd=trained)
        assert failed.returncode == 7
        assert "macro_f1" in failed.stderr
        figures = json.loads(failed.stdout)
        assert figures["accuracy"] < 1.0 or figures["macro"]["f1"] < 1.0
        assert Path(trained / figures["report"]).is_file()

    def test_an_unknown_figure_is_refused_before_any_work(self, trained: Path):
        ended = alacena("evaluate", "--fail-under", "acuracy=1", cwd=trained)
        assert ended.returncode == 2
        assert "accuracy" in ended.stderr

    def test_runs_of_a_name_are_compared(self, trained: Path):
        said = json.loads(done("compare", "small-seed0", "small-seed1", "--json", cwd=trained))
        page = Path(trained / said["page"])
        assert page.is_file()
        assert {"comparison.csv", "pairs.csv", "classes.csv", "disagreements.csv"} <= {
            f.name for f in page.parent.iterdir()
        }

    def test_predictions_are_those_of_the_evaluation(self, trained: Path):
        folder = json.loads(done("evaluate", "--run", "small-seed0", "--split", "val", "--json", cwd=trained))["folder"]
        with (trained / folder / "predictions.csv").open() as file:
            evaluated = {row["path"]: (row["predicted"], float(row["probability"])) for row in csv.DictReader(file)}
        text = done("predict", "photos", "--run", "small-seed0", "--top", "2", cwd=trained)
        rows = {row["path"].removeprefix("photos/"): row for row in csv.DictReader(io.StringIO(text))}
        assert len(rows) == 30
        for path, (name, probability) in evaluated.items():
            assert rows[path]["predicted"] == name
            assert float(rows[path]["probability"]) == pytest.approx(probability, abs=2e-6)

    def test_a_picture_that_cannot_be_read_is_named(self, trained: Path):
        (trained / "broken.jpg").write_bytes(b"no picture")
        ended = alacena("predict", "broken.jpg", "--output", "out.json", cwd=trained)
        assert ended.returncode == 4
        assert "broken.jpg" in ended.stderr

    def test_an_export_agrees_with_us(self, trained: Path):
        said = json.loads(done("export", "--run", "small-seed0", "--verify", "6", "--json", cwd=trained))
        assert "model.onnx" in json.dumps(said)
        assert said["agreement"]["images"] == said["agreement"]["model"]["same"] == 6
        assert said["agreement"]["model"]["logits"] < 1e-4
        assert list(trained.glob("store/photos/exports/*/card.md"))


class TestReproduce:
    """A recipe run whole, and each of its runs beside what its report said."""

    def test_it_says_both_and_what_differs(self, trained: Path):
        (trained / "again.toml").write_text(
            'dataset = "again"\ndiffers = ["Another camera."]\n[extract]\nsource = "photos"\n[transform]\nsize = 16\n'
            '[[runs]]\nname = "small"\nwidths = [4]\nepochs = 1\n[runs.reported]\naccuracy = 0.99\n'
        )
        ended = alacena("reproduce", "again.toml", "--store", "other", cwd=trained)
        assert ended.returncode == 0
        assert "0.990" in ended.stdout
        assert "points of accuracy" in ended.stdout
        assert "- Another camera." in ended.stdout
        said = json.loads(done("reproduce", "again.toml", "--store", "other", "--json", cwd=trained))
        assert said["runs"][0]["said"]["accuracy"] == 0.99
        assert said["differs"] == ["Another camera."]
