"""Making the shards: extract against merely decoding, transform against merely decoding and resizing, and again.

    python -m benchmarks.building [ROUNDS] [--quick]

Every rival reads the same photographs with the same number of processes, whose start is counted for all of them. Then
the same with one process, and the whole again where one image was added. About three minutes; `--quick` reads every
eighth photograph, where the start of processes weighs more.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.decoding import SIZE, decode, decode_and_resize
from benchmarks.measure import arguments, photographs, report, rounds
from etl import engine

WORKERS = 2
QUICK = 8  # of so many photographs one


def lost(_: str, why: str) -> int:
    raise RuntimeError(why)


def merely(work: Callable[[str], int], files: list[str]) -> None:
    for _ in engine.ordered_map(engine.each(work), files, workers=WORKERS, lost=lost):
        pass


def copied(source: Path, place: Path, nth: int) -> list[str]:
    """The photographs in a folder of our own, to which one can be added."""
    for file in sorted(source.rglob("*.jpg"))[::nth]:
        target = place / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return sorted(str(file) for file in place.rglob("*.jpg"))


def main(count: int, is_quick: bool) -> None:
    from benchmarks.built import Built  # by this process alone: each worker imports this module

    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        files = copied(photographs(), source, QUICK if is_quick else 1)
        built = Built(source, Path(place) / "store")

        def measured(
            title: str,
            rivals: Mapping[str, Callable[[], object]],
            against: str,
            asked: dict[str, float],
            before: Mapping[str, Callable[[], object]],
        ) -> None:
            report(
                title,
                rounds(rivals, count, before=before),
                dict.fromkeys(rivals, len(files)),
                "images/s",
                against,
                asked,
            )

        def compared(
            stage: str,
            make: Callable[[int], None],
            forget: Callable[[], object],
            rival: str,
            work: Callable[[str], int],
            asked: float,
        ) -> None:
            rivals = {rival: partial(merely, work, files), stage: partial(make, WORKERS)}
            title = f"{stage} from {len(files):,} photographs"
            measured(f"{title}, {WORKERS} processes", rivals, rival, {stage: asked}, {stage: forget})
            one, two = f"{stage}, 1 process", f"{stage}, 2 processes"
            rivals = {one: partial(make, 1), two: partial(make, 2)}
            measured(title, rivals, one, {two: 1.8}, dict.fromkeys(rivals, forget))

        merely(decode, files)  # once uncounted: the files lie in memory afterwards
        compared("extract", built.extract, built.forget, "decode", decode, 1.11)
        forget, rival = partial(built.forget, "transform"), f"decode and resize to {SIZE}²"
        compared("transform", built.all, forget, rival, decode_and_resize, 0.8)
        again = partial(built.all, WORKERS)
        rivals = {"the first build": again, "one image added": again, "again, unchanged": again}
        title = f"extract, curate and transform from {len(files):,} photographs"
        before = {"the first build": built.forget, "one image added": built.add}
        measured(title, rivals, "the first build", {"one image added": 10}, before)


if __name__ == "__main__":
    main(*arguments(3, 1))
