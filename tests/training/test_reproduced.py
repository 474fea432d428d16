from typing import Any

import pytest

from manifests.recipe import Recipe
from training.reproduced import Repeated, shown


def run(*, accuracy: float | None = None, f1: float | None = None, came: float = 0.8) -> Repeated:
    said: dict[str, Any] = {"accuracy": accuracy, "loss": None, "f1": f1}
    return Repeated("net", "test", 100, said, {"accuracy": came, "loss": 1.0, "f1": came}, (came - 0.08, came + 0.08))


class TestVerdict:
    """Ours against the report's, with the report's place in our interval."""

    @pytest.mark.parametrize(
        ("found", "expected"),
        [
            (run(accuracy=0.85), "−5.0 points of accuracy: the report lies within our interval"),
            (run(accuracy=0.55), "+25.0 points of accuracy: above the report by more than chance"),
            (run(accuracy=0.99), "−19.0 points of accuracy: below the report by more than chance"),
            (run(f1=0.63), "+17.0 points of F1"),
            (run(), "the report gives no figure for this run"),
        ],
    )
    def test_in_a_sentence(self, found: Repeated, expected: str) -> None:
        assert found.verdict == expected

    def test_what_differs_is_said_once(self) -> None:
        recipe = Recipe(dataset="x", differs=("Other images.", "Another split."))
        lines = [line for line in shown([run(accuracy=0.5), run()], recipe) if isinstance(line, str)]
        assert [line for line in lines if line.startswith("- ")] == ["- Other images.", "- Another split."]

    def test_nothing_differs(self) -> None:
        lines = [line for line in shown([run()], Recipe(dataset="x")) if isinstance(line, str)]
        assert not any("differs" in line for line in lines)
