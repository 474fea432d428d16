import pytest

from manifests.console import Face
from training.display import Teller


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
