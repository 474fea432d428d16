"""Opening a photograph once, in one process: all that extract writes down of it, against merely decoding it.

    python -m benchmarks.opening [ROUNDS]

In seconds of the processor, for the machine is shared. Takes half a minute.
"""

import hashlib
import io
import sys
import time
from collections.abc import Callable
from functools import partial

import imagehash
from PIL import Image

from benchmarks.measure import photographs, report, rounds
from etl import jpeg
from etl.images import measured, sight
from etl.measures import DETAIL_SIDE, hashes, small_grey

TOGETHER = 16  # as the engine sends them


def decode(several: list[bytes]) -> None:
    """Every pixel."""
    for data in several:
        with Image.open(io.BytesIO(data)) as image:
            image.load()


def digest_and_hashes(several: list[bytes]) -> object:
    """The digest, the whole-file check (a decode at a smaller scale reads the file to its end), and the hashes."""
    pictures = [jpeg.scaled(data, "L", (DETAIL_SIDE, DETAIL_SIDE)) for data in several]
    smalls = [small_grey(picture) for picture in pictures if picture is not None]
    return [hashlib.sha256(data).hexdigest() for data in several], hashes(smalls)


def everything(several: list[bytes]) -> object:
    """What extract does: the same, and brightness, sharpness, colour, orientation, frames."""
    return measured([sight(data, max_pixels=1 << 30, background="#ffffff") for data in several], turned=False)


def one_hash(several: list[bytes]) -> None:
    """What a tool does that opens an image and asks imagehash."""
    for data in several:
        with Image.open(io.BytesIO(data)) as image:
            imagehash.phash(image)


def main(count: int) -> None:
    files = sorted(photographs().rglob("*.jpg"), key=lambda file: file.name)[:800]
    data = [file.read_bytes() for file in files]
    parts = [data[start : start + TOGETHER] for start in range(0, len(data), TOGETHER)]

    def every(work: Callable[[list[bytes]], object]) -> None:
        for part in parts:
            work(part)

    rivals: dict[str, Callable[[], object]] = {
        "decode": partial(every, decode),
        "digest, check and four hashes": partial(every, digest_and_hashes),
        "all that extract writes down": partial(every, everything),
        "imagehash.phash alone": partial(every, one_hash),
    }
    title = f"opening {len(data):,} photographs, one process, from memory"
    asked = {"digest, check and four hashes": 1.11}
    seconds = rounds(rivals, count, time.process_time)
    report(title, seconds, dict.fromkeys(rivals, len(data)), "images/CPU-s", "decode", asked)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
