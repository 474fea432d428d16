"""The page in a real browser: nothing is refused by its own policy, and a phone scrolls one way only."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser import visit
from tests.training.comparison.made import contest, store
from training.compare import compared
from training.comparison import write_comparison

LONG = "a class whose name goes on and on without an end " + "x" * 90
RUNS = {f"mobilenet_v3_small_100.lamb_in1k-tuned-3f9a1c2b-seed{seed}": "1100110011" for seed in range(3)}
OTHERS = {f"simple-seed{seed}": "1111110111" for seed in range(3)}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_is_as_wide_as_the_window_and_the_browser_has_nothing_to_say(
    tmp_path: Path, browser: Any, width: int, scheme: str
):
    folders = contest(tmp_path, RUNS | OTHERS, (LONG, "bee"))
    file = write_comparison(store(tmp_path), compared(folders, "test"))
    found = visit(browser, file, width, scheme)
    assert (found.width, found.broken, found.said, found.asked) == (width, 0, [], [file.as_uri()])
    assert found.images == 9
