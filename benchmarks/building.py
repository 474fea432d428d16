"""Making the shards: extract against merely decoding, transform against merely decoding and resizing, and again.

    python -m benchmarks.building [ROUNDS] [--quick]

Every rival reads the same photographs with the same number of processes, whose start is counted for all of them. Then
the same with one process, and the whole again where one image was added. About three minutes; `--quick` reads every
eighth photograph, where the start of processes weighs more.
"""

import io
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks.measure import arguments, photographs, report, rounds
from etl import engine
from etl.pipeline import bring
from etl.steps import Site
from manifests.recipe import Curate, Extract, Recipe, Transform
from manifests.store import DatasetStore

WORKERS = 2
SIZE = 224
QUICK = 8  # of so many photographs one


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


def merely(work: Callable[[str], int], files: list[str]) -> None:
    for _ in engine.ordered_map(work, files, workers=WORKERS, lost=lost):
        pass


def copied(source: Path, place: Path, nth: int) -> list[str]:
    """The photographs in a folder of our own, to which one can be added."""
    for file in sorted(source.rglob("*.jpg"))[::nth]:
        target = place / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return sorted(str(file) for file in place.rglob("*.jpg"))


class Built:
    """The stages over the photographs, in a store of their own."""

    def __init__(self, source: Path, store: Path) -> None:
        self.dataset = DatasetStore(store / "clothing")
        self._source, self._added = source, 0
        self._recipe = Recipe(
            dataset="clothing",
            extract=Extract.model_validate({"source": str(source)}),
            curate=Curate(dedupe="off"),
            transform=Transform(size=(SIZE, SIZE)),
        )

    def extract(self, workers: int = WORKERS) -> None:
        shutil.rmtree(self.dataset.root, ignore_errors=True)
        bring(self._recipe, Site(self.dataset, workers), "extract")

    def transform(self, workers: int = WORKERS) -> None:
        shutil.rmtree(self.dataset.root / "transform", ignore_errors=True)
        self.again(workers)

    def again(self, workers: int = WORKERS) -> None:
        bring(self._recipe, Site(self.dataset, workers))

    def whole(self) -> None:
        shutil.rmtree(self.dataset.root, ignore_errors=True)
        self.again()

    def with_one_more(self) -> None:
        self._added += 1
        example = next(self._source.rglob("*.jpg"))
        comment = f"number {self._added}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment  # other bytes, the same picture
        data = example.read_bytes()
        example.with_name(f"added-{self._added}.jpg").write_bytes(data[:2] + marker + data[2:])
        self.again()


def main(count: int, is_quick: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        files = copied(photographs(), source, QUICK if is_quick else 1)
        built = Built(source, Path(place) / "store")
        amounts: dict[str, int] = {}

        def measured(
            title: str, rivals: Mapping[str, Callable[[], object]], against: str, asked: dict[str, float]
        ) -> None:
            amounts.update(dict.fromkeys(rivals, len(files)))
            report(title, rounds(rivals, count), amounts, "images/s", against, asked)

        of = f"from {len(files):,} photographs"
        merely(decode, files)  # once uncounted: the files lie in memory afterwards
        rivals = {"decode": partial(merely, decode, files), "extract": built.extract}
        measured(f"extract {of}, {WORKERS} processes", rivals, "decode", {"extract": 1.11})
        rivals = {"decode and resize": partial(merely, decode_and_resize, files), "transform": built.transform}
        measured(f"transform {of} at {SIZE}², {WORKERS} processes", rivals, "decode and resize", {"transform": 0.8})
        rivals = {"extract, 1 process": partial(built.extract, 1), "extract, 2 processes": built.extract}
        measured(f"extract {of}", rivals, "extract, 1 process", {"extract, 2 processes": 1.8})
        rivals = {"transform, 1 process": partial(built.transform, 1), "transform, 2 processes": built.transform}
        measured(f"transform {of}", rivals, "transform, 1 process", {"transform, 2 processes": 1.8})
        rivals = {
            "the first build": built.whole,
            "one image added": built.with_one_more,
            "again, unchanged": built.again,
        }
        measured(f"extract, curate and transform {of}", rivals, "the first build", {"one image added": 10})


if __name__ == "__main__":
    main(*arguments(3, 1))
