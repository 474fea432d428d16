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
from etl.images import facts
from etl.measures import DETAIL_SIDE, hashes, small_grey


def decode(data: bytes) -> object:
    """Every pixel."""
    with Image.open(io.BytesIO(data)) as image:
        return image.load()


def digest_and_hashes(data: bytes) -> object:
    """The digest, the whole-file check (a decode at a smaller scale reads the file to its end), and the hashes."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", (DETAIL_SIDE, DETAIL_SIDE))
        image.load()
        return hashlib.sha256(data).hexdigest(), hashes([small_grey(image)])


def everything(data: bytes) -> object:
    """What extract does: the same, and brightness, sharpness, colour, orientation, frames."""
    return facts(data, max_pixels=1 << 30, background="#ffffff")


def one_hash(data: bytes) -> object:
    """What a tool does that opens an image and asks imagehash."""
    with Image.open(io.BytesIO(data)) as image:
        return imagehash.phash(image)


def main(count: int) -> None:
    data = [file.read_bytes() for file in sorted(photographs().rglob("*.jpg"), key=lambda file: file.name)[:800]]

    def every(work: Callable[[bytes], object]) -> None:
        for each in data:
            work(each)

    rivals: dict[str, Callable[[], object]] = {
        "decode": partial(every, decode),
        "digest, check and four hashes": partial(every, digest_and_hashes),
        "all that extract writes down": partial(every, everything),
        "imagehash.phash alone": partial(every, one_hash),
    }
    title = f"opening {len(data):,} photographs, one process, from memory"
    report(title, rounds(rivals, count, time.process_time), dict.fromkeys(rivals, len(data)), "images/CPU-s", "decode")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
