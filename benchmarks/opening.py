"""Opening a photograph once, in one process: what extract and transform do with it, against merely decoding it.

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

from benchmarks.decoding import SIZE, decoded, square
from benchmarks.measure import photographs, report, rounds
from etl import jpeg
from etl.images import measured, picture, sight
from etl.measures import DETAIL_SIDE, hashes, small_grey
from etl.transform import pixel_contract
from manifests.recipe import Transform

TOGETHER = 16  # as the engine sends them


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

    def compared(title: str, works: dict[str, Callable[[list[bytes]], object]], against: str, asked: float) -> None:
        rivals = {name: partial(every, work) for name, work in works.items()}
        seconds, amounts = rounds(rivals, count, time.process_time), dict.fromkeys(rivals, len(data))
        shown = f"{title}: {len(data):,} photographs, one process, from memory"
        report(shown, seconds, amounts, "images/CPU-s", against, {next(iter(works)): asked})

    contract = pixel_contract(Transform(size=(SIZE, SIZE)), "#ffffff")
    works = {
        "digest, check and four hashes": digest_and_hashes,
        "all that extract writes down": everything,
        "decode": of_each(decoded),
        f"decode to {DETAIL_SIDE} px or more, Pillow": of_each(partial(decoded, least=DETAIL_SIDE)),
        f"decode to {DETAIL_SIDE} px or more, simplejpeg": of_each(partial(scaled, least=DETAIL_SIDE)),
        "imagehash.phash alone": one_hash,
    }
    compared("opening", works, "decode", 1.11)
    works = {"alacena": of_each(partial(picture, contract=contract)), "Pillow, its nearest scale": of_each(square)}
    compared(f"decoding and resizing to {SIZE}²", works, "Pillow, its nearest scale", 1)


def of_each(work: Callable[[bytes], object]) -> Callable[[list[bytes]], object]:
    """Nothing is kept: sixteen whole pictures would be memory of which each page is new."""

    def all_of_them(several: list[bytes]) -> None:
        for data in several:
            work(data)

    return all_of_them


def scaled(data: bytes, least: int) -> object:
    return jpeg.scaled(data, "RGB", (least, least))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
