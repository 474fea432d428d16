"""Small pictures of the images, made from their decoded pixels: upright, without metadata, never the original file.

Thumbnails lie in `DATASET/thumbnails/ab/SHA256-192.webp`, made when first asked for; large views stay in memory.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from PIL import Image

from etl.images import Unusable, picture
from etl.review.queues import Row
from manifests.pages.pictures import webp
from manifests.pixels import PixelContract
from manifests.store import beside

SMALL, LARGE = 192, 1280  # pixels of the longer side at the most
LARGE_KEPT = 48  # large views held in memory, about 150 kB each
QUALITY = 82  # of WebP, in the large view
RIFF = 8  # bytes before those that a WebP file counts


def fitted(data: bytes, size: tuple[int, int], side: int, background: str) -> Image.Image:
    """The upright picture with at most `side` pixels on its longer side, never enlarged. Raises Unusable.

    `size`: width and height as the image table has them, after EXIF rotation.
    """
    width, height = size
    scale = min(1.0, side / max(width, height, 1))
    contract = PixelContract(
        height=max(1, round(height * scale)),
        width=max(1, round(width * scale)),
        resize="squash",
        interpolation="lanczos",
        channels="rgb",
        dtype="uint8",
        background=background,
        decoder="any",  # these pixels are only looked at
    )
    return picture(data, contract)


class Thumbnails:
    """Pictures by row. `read` gives a row's bytes, and raises Unusable where it cannot."""

    def __init__(self, folder: Path, read: Callable[[int], bytes], background: str) -> None:
        self.folder, self.read, self.background = folder, read, background
        self.large = lru_cache(LARGE_KEPT)(self._large)

    def small(self, row: Row) -> bytes:
        """A WebP file of at most 192 pixels. Raises Unusable."""
        if not row.width or not row.sha256:
            raise Unusable(row.rejected or "never opened")
        file = self.folder / row.sha256[:2] / f"{row.sha256}-{SMALL}.webp"
        if (there := _whole(file)) is not None:
            return there
        made = webp(self._fitted(row.id, row.width, row.height, SMALL), SMALL)
        _keep(file, made)
        return made

    def _large(self, number: int, width: int, height: int) -> bytes:
        """A WebP file of at most 1280 pixels. Raises Unusable."""
        return webp(self._fitted(number, width, height, LARGE), LARGE, QUALITY)

    def _fitted(self, number: int, width: int, height: int, side: int) -> Image.Image:
        return fitted(self.read(number), (width, height), side, self.background)


def _whole(file: Path) -> bytes | None:
    """A WebP file that has as many bytes as it says: the machine may have stopped while it was written."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    return data if data[:4] == b"RIFF" and len(data) == RIFF + int.from_bytes(data[4:8], "little") else None


def _keep(file: Path, data: bytes) -> None:
    """Whole or not at all; a store that is full or cannot be written only costs time, for it is made again."""
    temporary = beside(file).with_suffix(f".{threading.get_ident()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
