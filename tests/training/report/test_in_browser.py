"""The report in a real browser: nothing leaves the file, nothing is refused, and a phone scrolls one way only."""

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.report.made import made, names
from training.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LONG = "a class whose name goes on and on without an end " + "x" * 90


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=[3, 26, 250])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of so many classes, one with a name that no line can hold."""
    classes = [LONG, *names(request.param - 1)]
    both = made(tmp_path_factory.mktemp("report"), classes, splits={"train": len(classes), "test": 3 * len(classes)})
    noted = {"argv": [LONG] * 3, "packages": {f"package {n}": LONG for n in range(60)}}
    (both.run / "environment.json").write_text(json.dumps(noted), "utf-8")
    return write_report(*both)


def _heard(heard: list[str], name: str, event: Any) -> None:
    heard.append(getattr(event, name)[:200])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_is_as_wide_as_the_window_and_the_browser_has_nothing_to_say(
    report: Path, browser: Any, width: int, scheme: str
):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", partial(_heard, said, "text"))
    page.on("request", partial(_heard, asked, "url"))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    broken = "Array.from(document.images).filter(each => !each.complete || each.naturalWidth === 0).length"
    assert page.evaluate("document.images.length") >= 9
    assert page.evaluate(broken) == 0
    assert said == []
    assert [url for url in asked if not url.startswith("data:image/webp")] == [report.as_uri()]
    page.close()
