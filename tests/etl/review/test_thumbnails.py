import io
from pathlib import Path

import pytest
from PIL import Image

from etl.images import Unusable
from etl.review.thumbnails import Thumbnails, fitted
from tests.etl.review.desks import row
from tests.makers import encoded, image, jpeg_bytes, png_bytes

EXIF_TURNED = 6


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def turned_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = EXIF_TURNED
    exif[0x010E] = "who took it, and where"
    return encoded(image(400, 300), "JPEG", exif=exif.tobytes())


class TestThumbnails:
    """Small, upright, without metadata, made once, never the file itself."""

    def made(self, root: Path, data: bytes, **values: object) -> tuple[Thumbnails, list[int]]:
        asked: list[int] = []

        def read(number: int) -> bytes:
            asked.append(number)
            return data

        return Thumbnails(root, read, "#ffffff"), asked

    def test_upright_and_without_metadata(self, tmp_path: Path):
        here, _ = self.made(tmp_path, turned_jpeg())
        made = opened(here.small(row(0, width=300, height=400)))
        assert (made.format, made.size, dict(made.getexif())) == ("WEBP", (144, 192), {})

    def test_made_once_and_kept_by_the_digest(self, tmp_path: Path):
        here, asked = self.made(tmp_path, jpeg_bytes(300, 200))
        one = row(0, width=300, height=200)
        assert here.small(one) == here.small(one)
        kept = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.*")]
        assert (asked, kept) == ([0], [f"{one.sha256[:2]}/{one.sha256}-192.webp"])

    def test_what_was_cut_off_is_made_again(self, tmp_path: Path):
        here, asked = self.made(tmp_path, jpeg_bytes(300, 200))
        one = row(0, width=300, height=200)
        whole = here.small(one)
        file = next(tmp_path.rglob("*.webp"))
        file.write_bytes(whole[:-9])
        assert (here.small(one), asked) == (whole, [0, 0])

    def test_a_store_that_cannot_be_written_is_no_hindrance(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        here, _ = self.made(tmp_path / "file", jpeg_bytes(300, 200))
        assert opened(here.small(row(0, width=300, height=200))).size == (192, 128)

    def test_an_image_that_cannot_be_used_says_why(self, tmp_path: Path):
        here, _ = self.made(tmp_path, b"")
        with pytest.raises(Unusable, match="truncated"):
            here.small(row(0, width=0, rejected="unusable: truncated"))

    def test_small_images_are_not_enlarged_and_large_ones_fit(self):
        assert fitted(png_bytes(20, 10), (20, 10), 192, "#ffffff").size == (20, 10)
        assert fitted(png_bytes(3000, 10), (3000, 10), 1280, "#ffffff").size == (1280, 4)
