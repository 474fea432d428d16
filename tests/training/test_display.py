from pathlib import Path

import pytest

from manifests.console import Face
from tests.training.report.made import evaluation, made
from training.display import Teller, evaluated


class TestTeller:
    """Names are shown as they are, whatever brackets they hold."""

    def test_names_of_runs_models_weights_and_devices(self, capsys: pytest.CaptureFixture[str]) -> None:
        face = Face()
        Teller(face).started({
            "run": "run [bold]1", "settings": {"model": "timm/[red]x"}, "weights": "[/w].safetensors",
            "device": "cuda:0 (GPU [/x])", "contract": {"height": 8, "width": 9}, "classes": ["a", "b"],
            "rows": {"train": 3}, "normalise": "half", "trainable": 1, "parameters": 2,
        })  # fmt: skip
        said = capsys.readouterr().out
        assert "run [bold]1: timm/[red]x on 2 classes, 3 train and 0 val rows of 8×9, on cuda:0 (GPU [/x])" in said
        assert "weights [/w].safetensors" in said

    def test_each_progress_has_its_own_name(self) -> None:
        face = Face(quiet=True)
        for what in ("frozen backbone", "training"):
            Teller(face).progress(what, 0, 5)
        assert list(face.started) == ["frozen backbone", "training"]


class TestEvaluated:
    """What an evaluation found is shown with how it was measured, and names as they are."""

    def test_figures_time_and_names_with_brackets(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        done = evaluation(made(tmp_path, ["[red]x", "[/b]"], evaluated=()), "test")
        Face().show(*evaluated(done))
        said = " ".join(capsys.readouterr().out.split())
        assert f"first on test: accuracy {done.scores.accuracy:.4f} (95 % interval" in said
        assert (
            f"balanced accuracy {done.scores.balanced_accuracy:.4f}, "
            f"calibration error {done.scores.calibration_error:.4f}; 4.25 ms an image on cpu, "
            "the whole model alone in batches of 12"
        ) in said
        assert "1 [red]x" in said
        assert "2 [/b]" in said
