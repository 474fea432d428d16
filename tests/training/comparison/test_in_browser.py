"""The page in a real browser: nothing is refused by its own policy, and a phone scrolls one way only."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.comparison.made import contest, store
from training.compare import compared
from training.comparison import write_comparison

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LONG = "a class whose name goes on and on without an end " + "x" * 90
RUNS = {f"mobilenet_v3_small_100.lamb_in1k-tuned-3f9a1c2b-seed{seed}": "1100110011" for seed in range(3)}
OTHERS = {f"simple-seed{seed}": "1111110111" for seed in range(3)}


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


def _heard(heard: list[str], name: str, event: Any) -> None:
    heard.append(getattr(event, name)[:200])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_is_as_wide_as_the_window_and_the_browser_has_nothing_to_say(
    tmp_path: Path, browser: Any, width: int, scheme: str
):
    folders = contest(tmp_path, RUNS | OTHERS, (LONG, "bee"))
    file = write_comparison(store(tmp_path), compared(folders, "test"))
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", partial(_heard, said, "text"))
    page.on("request", partial(_heard, asked, "url"))
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    broken = "Array.from(document.images).filter(each => !each.complete || each.naturalWidth === 0).length"
    assert page.evaluate("document.images.length") == 9
    assert page.evaluate(broken) == 0
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:image/webp"))] == []
    page.close()
