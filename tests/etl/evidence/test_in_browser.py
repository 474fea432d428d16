"""The page in a real browser: nothing is refused by its own policy, and a phone scrolls one way only."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser import visit
from tests.etl.evidence.made import evidence, photo, planted, write

LONG = "a class whose name goes on and on without an end " + "x" * 90


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 1200])
def test_it_is_as_wide_as_the_window_and_the_browser_has_nothing_to_say(
    tmp_path: Path, browser: Any, width: int, scheme: str
):
    write(tmp_path, evidence(planted(LONG), photo, max_per_class=8), name=LONG)
    file = tmp_path / "curation.html"
    found = visit(browser, file, width, scheme)
    assert (found.width, found.broken, found.said, found.asked) == (width, 0, [], [file.as_uri()])
    assert found.images > 10
