"""Starting: help, and a run that finds nothing to do, each as a process of its own from beginning to end.

    python -m benchmarks.starting [ROUNDS] [--quick]

A recipe of four stages over the photographs, and one over 100,000 small pictures with bytes of their own, are made once
in a temporary folder; then nothing changes. The programs' bytecode lies in that folder too, as after any first start,
whatever the environment says of writing it. `--quick` does without the 100,000: 20 seconds, else two to three minutes.
"""

import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, PngImagePlugin

from benchmarks.measure import arguments, machine, photographs, rounds, spread
from etl.sources.containers import open_container

ROOT = Path(__file__).resolve().parents[1]
MANY = 100_000
CLASSES = 20
RECIPE = """dataset = "{name}"
[extract]
source = "{source}"
[curate]
dedupe = "{dedupe}"
[transform]
size = {size}
"""


def small_pictures(place: Path) -> Path:
    """MANY pictures of 16×16 in class folders; each says its number, so no two have the same bytes."""
    drawn = Image.effect_noise((16, 16), 64).convert("RGB")
    for number in range(CLASSES):
        (place / f"class-{number}").mkdir(parents=True)
    for number in range(MANY):
        said = PngImagePlugin.PngInfo()
        said.add_text("number", str(number))
        drawn.save(place / f"class-{number % CLASSES}" / f"{number:06}.png", pnginfo=said, compress_level=1)
    return place


def packed(folder: Path) -> Path:
    file = folder.with_suffix(".tar")
    with tarfile.open(file, "w:") as tar:
        tar.add(folder, folder.name)
    return file


def recipe(file: Path, source: Path, *, dedupe: str, size: int) -> Path:
    file.write_text(RECIPE.format(name=file.stem, source=source, dedupe=dedupe, size=size), "utf-8")
    return file


class Program:
    """`cli.py` in a folder of its own; remembers the processor's seconds of each start."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = os.environ | {"PYTHONPYCACHEPREFIX": str(place / "bytecode"), "ALACENA_STORE": "store"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.busy: dict[str, list[float]] = {}

    def start(self, *arguments: str) -> None:
        before = _children()
        command = [sys.executable, str(ROOT / "cli.py"), *arguments]
        ended = subprocess.run(
            command, cwd=self.place, env=self.environment, check=False, capture_output=True, text=True
        )
        if ended.returncode:
            sys.exit(ended.stderr)
        self.busy.setdefault(" ".join(arguments), []).append(_children() - before)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(count: int, is_quick: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        program = Program(place)
        said = {  # what is started, and the most that it may take
            "help": (["--help"], 0.4),
            "help of train": (["train", "--help"], 0.4),
            "status of 3,781 photographs": (["status", "--dataset", "clothing"], 0.6),
            "run, 3,781 photographs, nothing to do": (["run", "clothing.toml"], 0.6),
        }
        recipe(place / "clothing.toml", photographs(), dedupe="near:64", size=32)
        if not is_quick:
            said["run, 100,000 pictures, nothing to do"] = (["run", "many.toml"], 3.0)
            many = small_pictures(place / "many")
            recipe(place / "many.toml", many, dedupe="off", size=8)
        for words, _ in reversed(said.values()):  # the stages are made, the bytecode is written
            program.start(*words)
        program.busy.clear()
        seconds = rounds({name: partial(program.start, *words) for name, (words, _) in said.items()}, count)
        busy = {name: program.busy[" ".join(words)] for name, (words, _) in said.items()}
        limits: dict[str, float | None] = {name: limit for name, (_, limit) in said.items()}
        if not is_quick:
            tar = packed(place / "many")
            spools = (place / f"spool-{number}" for number in range(count))
            listing: dict[str, Callable[[], object]] = {
                "listing a tar of 100,000, the first time": lambda: open_container(tar, next(spools)).entries(),
                "the same again": lambda: open_container(tar, place / "spool-0").entries(),
            }
            seconds |= rounds(listing, count)
            limits |= dict.fromkeys(listing)
    report(seconds, busy, limits)


def report(seconds: dict[str, list[float]], busy: dict[str, list[float]], limits: dict[str, float | None]) -> None:
    """A row a rival: seconds by the clock, seconds of the processor, and what it may take by the clock."""
    title = "starting, whole processes"
    print(f"\n{title}; {machine()}; n = {len(next(iter(seconds.values())))} rounds, median (least to most), seconds")
    rows: dict[str, dict[str, object]] = {}
    for name, taken in seconds.items():
        used, limit = busy.get(name), limits[name]
        rows[name] = {"seconds": spread(taken), "processor": spread(used) if used else None, "limit": limit}
        processor = f"   processor {shown(used)}" if used else ""
        print(f"  {name:<42} {shown(taken)}{processor}" + (f"   at most {limit}" if limit else ""))
    print(json.dumps({"title": title, "unit": "s", "machine": machine(), "rows": rows}))


def shown(values: list[float]) -> str:
    least, middle, most = spread(values)
    return f"{middle:.3f} ({least:.3f} to {most:.3f})"


if __name__ == "__main__":
    main(*arguments(5, 5))
