"""What holds for every test: the laws are tried without a clock, for the machines that run them are shared.

One commit gets one verdict: the examples of a law are drawn from its own source. `make explore` draws others, and more.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.browser import started

SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("check", SHARED, derandomize=True)
settings.register_profile("explore", SHARED, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for the pages of a test file; the tests skip, and say so, where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        opened = started(running)
        yield opened
        opened.close()
