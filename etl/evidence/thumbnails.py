"""Small pictures of images for a page: decoded again from the source, never the original file."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from PIL import Image

from etl.images import Unusable, picture
from manifests.pages.pictures import data_url, webp
from manifests.pixels import PixelContract

SIDE = 160  # pixels of the longer side
QUALITY = 68  # of WebP: about 4 kB for a photograph of this size
WORK = 400_000_000  # pixels decoded for one page: a second for common photographs, some for a folder of scans
SCALED = 8  # a JPEG is decoded at a fraction of its size, and costs so many times less

Row = dict[str, Any]  # of the image table


class Thumbnail(NamedTuple):
    """An image as the page shows it, or why it cannot."""

    address: str  # data:…; empty where there is no picture
    width: int  # pixels
    height: int
    absent: str = ""  # why there is none


class Thumbnails:
    """Makes the pictures of one page. `read` gives an image's bytes by its path; None where the source is away."""

    def __init__(self, read: Callable[[str], bytes] | None) -> None:
        self.read = read
        self.left = WORK

    def of(self, rows: Sequence[Row]) -> list[Thumbnail]:
        """A picture for each row, in order. What was undecodable at extract is not tried again."""
        # Encoding is the larger half, and runs outside the interpreter's lock; decoding stays in this thread, for
        # neither archives nor the silencing of warnings may be shared.
        with ThreadPoolExecutor(2) as threads:
            begun = list(self._begun(rows, threads))
        return [each._replace(address=data_url(file.result())) if file else each for each, file in begun]

    def _begun(
        self, rows: Sequence[Row], threads: ThreadPoolExecutor
    ) -> Iterator[tuple[Thumbnail, Future[bytes] | None]]:
        for row in rows:
            width, height = fitted(row["width"] or SIDE, row["height"] or SIDE)
            found = self._decoded(row, width, height)
            if isinstance(found, str):
                yield Thumbnail("", width, height, found), None
            else:
                yield Thumbnail("", width, height), threads.submit(webp, found, SIDE, QUALITY)

    def _decoded(self, row: Row, width: int, height: int) -> Image.Image | str:
        """The picture, or why there is none."""
        if row["problem"] is not None or row["width"] is None:
            return "no picture"
        if self.read is None:
            return "source away"
        if not self._afforded(row):
            return "too large to draw here"
        contract = PixelContract(
            height=height, width=width, resize="squash", interpolation="bilinear", channels="rgb", dtype="uint8",
            decoder="thumbnail",
        )  # fmt: skip
        try:
            return picture(self.read(row["path"]), contract)
        except (Unusable, OSError, MemoryError):  # no picture of a page is worth a curation
            return "not readable now"

    def _afforded(self, row: Row) -> bool:
        """Whether there is work left for this one. In pixels and not in seconds: a page must be the same anywhere."""
        pixels = row["width"] * row["height"]
        cost = pixels // SCALED if row["format"] in {"JPEG", "MPO"} else pixels
        if cost > self.left:
            return False
        self.left -= cost
        return True


def fitted(width: int, height: int) -> tuple[int, int]:
    """The largest size of this aspect within SIDE, not above the image's own; at least one pixel each way."""
    scale = min(1.0, SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
