"""Making the shards: extract against merely decoding, transform against merely decoding and resizing, and again.

    python -m benchmarks.building [ROUNDS]

Every rival reads the same photographs with the same number of processes. Takes about two minutes.
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.measure import photographs, report, rounds
from etl import engine
from etl.pipeline import bring
from etl.steps import Site
from manifests.recipe import Curate, Extract, Recipe, Transform
from manifests.store import DatasetStore

WORKERS = 2
SIZE = 224


def decode(file: str) -> int:
    """What every tool has to do at the least: all pixels of the file."""
    with Image.open(io.BytesIO(Path(file).read_bytes())) as image:
        image.load()
        return image.width


def decode_and_resize(file: str) -> int:
    """The same for the transform: nearest DCT scale, one resize to the size of the shards."""
    with Image.open(io.BytesIO(Path(file).read_bytes())) as image:
        image.draft("RGB", (SIZE, SIZE))
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return len(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box).tobytes())


def lost(_: str, why: str) -> int:
    raise RuntimeError(why)


def main(count: int) -> None:
    source = photographs()
    files = sorted(str(file) for file in source.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as place:
        dataset = DatasetStore(Path(place) / "clothing")
        recipe = Recipe(
            dataset="clothing",
            extract=Extract.model_validate({"source": str(source)}),
            curate=Curate(dedupe="off"),
            transform=Transform(size=(SIZE, SIZE)),
        )
        site = Site(dataset, WORKERS)

        def extract() -> None:
            shutil.rmtree(dataset.root, ignore_errors=True)
            bring(recipe, site, "extract")

        def transform() -> None:
            shutil.rmtree(dataset.root / "transform", ignore_errors=True)
            bring(recipe, site)

        def merely(task: str) -> None:
            work = {"decode": decode, "decode and resize": decode_and_resize}[task]
            for _ in engine.ordered_map(work, files, workers=WORKERS, lost=lost):
                pass

        rivals: dict[str, Callable[[], object]] = {
            "decode": partial(merely, "decode"),
            "extract": extract,
            "decode and resize": partial(merely, "decode and resize"),
            "transform": transform,
            "everything again, unchanged": lambda: bring(recipe, site),
        }
        seconds = rounds(rivals, count)
    report(
        f"building from {len(files):,} photographs, {WORKERS} processes",
        seconds,
        dict.fromkeys(rivals, len(files)),
        "images/s",
        "decode",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
