"""A real browser for the tests of pages that are one file: what it shows, what it says, what it asks for."""

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BROKEN = "Array.from(document.images).filter(each => !each.complete || each.naturalWidth === 0).length"


@dataclass(frozen=True)
class Visit:
    """A page as a browser showed it, everything that folds being open."""

    width: int  # pixels that it needs
    images: int
    broken: int  # images that could not be shown
    said: list[str]  # on the console
    asked: list[str]  # addresses, but for those of pictures that the page holds


def started(playwright: Any) -> Any:
    """Chromium, or the test skips with a word."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    arguments = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


def visit(browser: Any, file: Path, width: int, scheme: str) -> Visit:
    """Open a file in a window of this width, in light or dark."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", partial(_heard, said, "text"))
    page.on("request", partial(_heard, asked, "url"))
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = Visit(
        width=page.evaluate("document.documentElement.scrollWidth"),
        images=page.evaluate("document.images.length"),
        broken=page.evaluate(BROKEN),
        said=said,
        asked=[url for url in asked if not url.startswith("data:image/webp")],
    )
    page.close()
    return found


def _heard(heard: list[str], name: str, event: Any) -> None:
    heard.append(getattr(event, name)[:200])
