"""What every benchmark needs: rounds that take the rivals in turn, their medians, one table and one JSON line."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CLOTHING = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "clothing"
NOTHING: Mapping[str, float] = {}
UNPREPARED: Mapping[str, Callable[[], object]] = {}


def photographs() -> Path:
    """The photographs that the figures are taken on; they lie beside the project."""
    if not CLOTHING.is_dir():
        sys.exit(f"{CLOTHING}: the photographs for the benchmarks are missing; nothing was measured.")
    return CLOTHING


def arguments(rounds: int, quick: int) -> tuple[int, bool]:
    """How many rounds, and whether in a hurry: `python -m benchmarks.X [ROUNDS] [--quick]`."""
    words = [word for word in sys.argv[1:] if word != "--quick"]
    is_quick = len(words) < len(sys.argv) - 1
    return int(words[0]) if words else (quick if is_quick else rounds), is_quick


def rounds(
    rivals: Mapping[str, Callable[[], object]],
    count: int,
    clock: Callable[[], float] = time.perf_counter,
    before: Mapping[str, Callable[[], object]] = UNPREPARED,
) -> dict[str, list[float]]:
    """Seconds of each rival in each round; in every round all take their turn, so a drifting machine hits all alike.

    What `before` has for a rival is done each time before its clock starts.

    With `time.process_time` they are seconds of the processor, for rivals of one thread on a machine that others use.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(count):
        for name, run in rivals.items():
            before.get(name, lambda: None)()
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return seconds


def report(
    title: str,
    seconds: dict[str, list[float]],
    amounts: dict[str, int],
    unit: str,
    against: str,
    asked: Mapping[str, float] = NOTHING,
) -> None:
    """A row a rival: its speed and its ratio to one of them, each as median (least to most) over the rounds.

    `asked` is the ratio that a rival should have at the least.
    """
    print(f"\n{title}; {machine()}; n = {len(next(iter(seconds.values())))} rounds, median (least to most)")
    rows: dict[str, Any] = {}
    for name, times in seconds.items():
        speeds = [amounts[name] / each for each in times]
        ratios = [s / (amounts[against] / t) for s, t in zip(speeds, seconds[against], strict=True)]
        rows[name] = {"speed": spread(speeds), "ratio": spread(ratios)}
        low, middle, high = spread(speeds)
        least, ratio, most = spread(ratios)
        speed = f"{middle:>10,.0f} {unit} ({low:,.0f} to {high:,.0f})"
        wanted = f"   asked: {asked[name]:g}" if name in asked else ""
        print(f"  {name:<42} {speed}   {ratio:6.3f} ({least:.3f} to {most:.3f}){wanted}")
    facts = {"title": title, "unit": unit, "against": against, "asked": dict(asked), "machine": machine()}
    print(json.dumps(facts | {"rows": rows}))


def spread(values: list[float]) -> tuple[float, float, float]:
    """Least, median, most."""
    return round(min(values), 3), round(statistics.median(values), 3), round(max(values), 3)


def machine() -> str:
    return f"{os.cpu_count()} cores ({platform.processor() or platform.machine()}), Python {platform.python_version()}"
