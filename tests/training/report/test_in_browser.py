"""The report in a real browser: nothing leaves the file, nothing is refused, and a phone scrolls one way only."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser import visit
from tests.training.report.made import made, names
from training.report import write_report

LONG = "a class whose name goes on and on without an end " + "x" * 90


@pytest.fixture(scope="module", params=[3, 26, 250])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of so many classes, one with a name that no line can hold."""
    classes = [LONG, *names(request.param - 1)]
    both = made(tmp_path_factory.mktemp("report"), classes, splits={"train": len(classes), "test": 3 * len(classes)})
    noted = {"argv": [LONG] * 3, "packages": {f"package {n}": LONG for n in range(60)}}
    (both.run / "environment.json").write_text(json.dumps(noted), "utf-8")
    return write_report(*both)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_is_as_wide_as_the_window_and_the_browser_has_nothing_to_say(
    report: Path, browser: Any, width: int, scheme: str
):
    found = visit(browser, report, width, scheme)
    assert (found.width, found.broken, found.said, found.asked) == (width, 0, [], [report.as_uri()])
    assert found.images >= 9
