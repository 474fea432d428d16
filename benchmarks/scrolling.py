"""The review page under the wheel: how long it takes to load, and how long its frames are while it is scrolled.

    python cli.py review                        # in another terminal: prints the address
    python -m benchmarks.scrolling ADDRESS [ROUNDS]

Headless Chromium, 1440×900, all images on one page, 120 pixels a frame for eight seconds: a wheel held down.
"""

import json
import shutil
import statistics
import sys
import time
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.measure import machine

SECONDS, PIXELS = 8, 120  # of scrolling; a frame
SCROLL = """([seconds, pixels]) => new Promise((done) => {
  const main = document.querySelector("main"), frames = [], end = performance.now() + 1000 * seconds;
  let last = performance.now();
  requestAnimationFrame(function frame() {
    const now = performance.now();
    frames.push(now - last);
    last = now;
    main.scrollTop += pixels;
    now < end ? requestAnimationFrame(frame) : done(frames);
  });
})"""


def one_round(browser: Browser, address: str) -> dict[str, Any]:
    """Seconds to load, tiles, and the frames in milliseconds."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    started = time.perf_counter()
    page.goto(f"{address}?queue=all")
    page.wait_for_selector("html[data-ready]")
    loaded = time.perf_counter() - started
    page.wait_for_timeout(500)
    frames: list[float] = page.evaluate(SCROLL, [SECONDS, PIXELS])[2:]
    tiles = page.locator("main .t").count()
    page.close()
    slow = sum(frame > 50 for frame in frames)
    return {
        "tiles": tiles, "load_s": loaded, "median_ms": statistics.median(frames), "longest_ms": max(frames),
        "frames": len(frames), "over_50_ms": slow,
    }  # fmt: skip


def main(address: str, count: int) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        rounds = [one_round(browser, address) for _ in range(count)]
        browser.close()
    print(f"{rounds[0]['tiles']:,} tiles; {machine()}, drawing in software; n = {count} rounds, median (least to most)")
    for name in ("load_s", "median_ms", "longest_ms", "over_50_ms", "frames"):
        values = sorted(each[name] for each in rounds)
        print(f"  {name:<12} {statistics.median(values):8.2f} ({values[0]:.2f} to {values[-1]:.2f})")
    print(json.dumps({"machine": machine(), "rounds": rounds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
