"""How time and memory of each stage grow with the number of images; each stage and size in a process of its own.

    python -m benchmarks.growth [--quick]

With pixels: up to 100,000 JPEGs of 64 px, a thousand photographs again and again, each file with bytes of its own.
Tables alone: up to ten million rows (`benchmarks.simulated`), through the same functions as the stages. Prints a table,
with the slope of each stage from size to size (1 is linear), and a JSON line; writes docs/growth.svg but for --quick.
Takes about seven minutes where nothing else runs, quick half a minute. Slopes and plot are of processor seconds; n = 1.
Memory is the most that all processes of a stage hold together; pages that they share are counted in each.
"""

import io
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.growth_plot import plot
from benchmarks.measure import machine, photographs

WORKERS = 2
VARIANTS = 1000  # photographs that are repeated
SIDE = 64  # pixels of their longer side
PICTURE = Path(__file__).parents[1] / "docs" / "growth.svg"
PIXELS = {"extract": 100_000, "curate": 100_000, "augment": 100_000, "transform": 100_000}  # stage → largest size
TABLES = {"near": 1_000_000, "phash": 10_000_000, "views": 10_000_000, "copies": 1_000_000}
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
QUICK = (10_000, 100_000)  # the largest sizes, with pixels and of tables
EVERY = 0.05  # seconds between two looks at the memory


class Row(NamedTuple):
    """One part of one stage at one size."""

    stage: str
    images: int
    seconds: float
    of_processors: float  # seconds of all processors: what others do on the machine adds little to them
    megabytes: float


class Family(NamedTuple):
    """This process and all that descend from it."""

    megabytes: float
    seconds: dict[int, float]  # of the processor, by process


def family() -> Family:
    """As it is now."""
    stats: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
    found = {os.getpid()}
    while more := {process for process, stat in stats.items() if int(stat[1]) in found} - found:
        found |= more
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    seconds = {process: (int(stats[process][11]) + int(stats[process][12])) / tick for process in found}
    return Family(sum(int(stats[process][21]) for process in found) * page / 1e6, seconds)


@contextmanager
def measured(stage: str, images: int) -> Generator[None]:
    """Prints a row, as JSON, of what the block takes."""
    before, over = family(), threading.Event()
    most, spent = [before.megabytes], dict(before.seconds)

    def look() -> None:
        now = family()
        most[0] = max(most[0], now.megabytes)
        spent.update(now.seconds)

    def watch() -> None:
        while not over.wait(EVERY):
            look()

    watcher, started = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    yield
    seconds = time.perf_counter() - started
    over.set()
    watcher.join()
    look()
    processors = sum(spent.values()) - sum(before.seconds.values())
    print(json.dumps(Row(stage, images, round(seconds, 3), round(processors, 2), round(most[0], 1))), flush=True)


def with_comment(data: bytes, text: bytes) -> bytes:
    """A JPEG with a comment: the same picture, another file."""
    return data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[2:]


def pictures(count: int, folder: Path) -> None:
    """So many small JPEGs in class folders."""
    from PIL import Image

    variants: list[tuple[str, bytes]] = []
    for file in sorted(photographs().rglob("*.jpg"), key=lambda file: (file.name, file.parent.name))[:VARIANTS]:
        with Image.open(file) as image:
            image.draft("RGB", (SIDE, SIDE))
            image.thumbnail((SIDE, SIDE))
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=85)
        variants.append((file.parent.name, out.getvalue()))
        (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name, data = variants[number % len(variants)]
        (folder / name / f"{number:07}.jpg").write_bytes(with_comment(data, str(number).encode()))


def of_pixels(stage: str, count: int, folder: Path) -> None:
    """One stage of the pipeline; those before it lie in the store."""
    from etl.pipeline import bring
    from etl.steps import Site
    from manifests.recipe import Curate, Extract, Recipe, Transform
    from manifests.store import DatasetStore

    recipe = Recipe(
        dataset="growth",
        extract=Extract.model_validate({"source": str(folder / "source")}),
        curate=Curate(dedupe="exact"),  # of a thousand photographs again and again any other would leave a thousand
        transform=Transform(size=(32, 32)),
    )
    with measured(stage, count):
        bring(recipe, Site(DatasetStore(folder / "growth"), WORKERS), stage)


def of_tables(work: str, count: int, folder: Path) -> None:
    """What a stage does of its table."""
    {"near": curation, "phash": curation, "views": views, "copies": views}[work](work, count, folder)


def curation(work: str, count: int, folder: Path) -> None:
    """As `etl.curate.make` does it."""
    import polars as pl

    from etl.curate import beside, class_order, funnel, marks, needed
    from etl.evidence import write_curation
    from manifests.recipe import Curate
    from manifests.table import scan_table, table_digest, write_table

    settings = Curate(dedupe={"near": "near:64", "phash": "phash:4"}[work])
    images = pl.scan_parquet(sorted((folder / "images").glob("*.parquet")), glob=False)
    with measured(f"curate {settings.dedupe}", count):
        marked = marks(images.select(needed(settings)).collect(), settings)
    if work != "phash":
        return
    with measured("write the curated table", count):
        write_table(beside(images, marked), folder / "curated.parquet")
    del marked
    table = scan_table(folder / "curated.parquet")
    with measured("digest of the table", count):
        table_digest(table)
    with measured("funnel and curation.html", count):
        classes = class_order(table, settings)
        counts = {**funnel(table, classes), "classes": classes, "unmatched": []}
        write_curation(folder, table, classes, counts, settings, None, name="growth", digests={})


def views(work: str, count: int, folder: Path) -> None:
    """As `etl.augment.make` does it: one view of each image, or with a copy of each that is in train."""
    from etl.augment import READ, augment
    from manifests.recipe import Augment
    from manifests.table import read_table, write_table

    named = {"views": "augment, no copies", "copies": "augment, a copy each"}[work]
    with measured(named, count):
        found = augment(read_table(folder / "curated.parquet", READ), Augment(copies=int(work == "copies")))
        write_table(found, folder / "views.parquet")


def child(kind: str, what: str, count: int, folder: Path) -> list[Row]:
    """One stage in a process of its own: what it took."""
    command = [sys.executable, "-m", "benchmarks.growth", kind, what, str(count), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rows = [Row(*json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
    for row in rows:
        print(shown(row), flush=True)
    return rows


def grown(kind: str, largest: int) -> list[Row]:
    """Every stage at every size up to the largest."""
    rows: list[Row] = []
    limits = {"pixels": PIXELS, "tables": TABLES}[kind]
    for count in (size for size in SIZES if size <= largest):
        with tempfile.TemporaryDirectory() as place:
            child("make", kind, count, Path(place))
            for what, most in limits.items():
                if count <= most:
                    rows += child(kind, what, count, Path(place))
    return rows


def make(kind: str, count: int, folder: Path) -> None:
    """What is measured afterwards."""
    if kind == "pixels":
        pictures(count, folder / "source")
    else:
        from benchmarks.simulated import simulated

        (folder / "images").mkdir()
        simulated(count, folder / "images")


def slopes(rows: list[Row]) -> dict[str, list[float]]:
    """Stage → how steep its time of the processors grows from each size to the next: 1 where it is linear."""
    stages: dict[str, list[Row]] = {}
    for row in rows:
        stages.setdefault(row.stage, []).append(row)
    return {stage: [round(slope(*two), 2) for two in pairwise(each)] for stage, each in stages.items()}


def slope(before: Row, after: Row) -> float:
    least = 0.01  # what the clock can tell
    grown = max(after.of_processors, least) / max(before.of_processors, least)
    return math.log(grown) / math.log(after.images / before.images)


def shown(row: Row) -> str:
    each = 1e6 * row.of_processors / row.images
    times = f"{row.seconds:>9.2f} s {row.of_processors:>9.2f} CPU-s {each:>9.1f} CPU-µs each"
    return f"  {row.stage:<26} {row.images:>12,} {times} {row.megabytes:>8,.0f} MB"


def main(*, is_quick: bool) -> None:
    pixels, tables = QUICK if is_quick else (max(SIZES), max(SIZES))
    print(f"growth; {machine()}, {WORKERS} workers; n = 1", flush=True)
    rows = {"with pixels": grown("pixels", min(pixels, max(PIXELS.values()))), "tables": grown("tables", tables)}
    steep = {kind: slopes(each) for kind, each in rows.items()}
    print("slope of the CPU seconds from size to size (1 is linear; under it, start-up is the larger part):")
    for kind, stages in steep.items():
        for stage, values in stages.items():
            print(f"  {stage:<28} {kind:<12} " + "  ".join(f"{value:5.2f}" for value in values))
    facts: dict[str, Any] = {"title": "growth", "machine": machine(), "workers": WORKERS, "n": 1, "slopes": steep}
    print(json.dumps(facts | {"rows": rows}))
    if not is_quick:
        PICTURE.write_text(plot(rows), "utf-8")


if __name__ == "__main__":
    parts: dict[str, Callable[[str, int, Path], None]] = {"make": make, "pixels": of_pixels, "tables": of_tables}
    if len(sys.argv) > 2:
        parts[sys.argv[1]](sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(is_quick="--quick" in sys.argv)
