import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from etl import jpeg
from tests.makers import image

SUBSAMPLINGS = ["4:4:4", "4:2:2", "4:2:0"]


def encoded(picture: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def pillows(data: bytes, mode: str, scale: int) -> Image.Image:
    """Drafted to 1/scale, which divides the size."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft(mode, (picture.width // scale, picture.height // scale))
        return picture.copy()


class TestScaled:
    """Pillow's pixels where Pillow has the scale, and the scales between them."""

    @settings(max_examples=30, deadline=None)
    @given(
        st.sampled_from([1, 2, 4, 8]), st.sampled_from(SUBSAMPLINGS), st.booleans(), st.booleans(),
        st.integers(1, 20), st.integers(1, 20),
    )  # fmt: skip
    def test_every_pixel_is_pillows(
        self, scale: int, subsampling: str, progressive: bool, grey: bool, wide: int, high: int
    ):
        picture = image(8 * wide, 8 * high, seed=wide)
        picture = picture.convert("L") if grey else picture
        data = encoded(picture, subsampling=subsampling, progressive=progressive)
        expected = pillows(data, picture.mode, scale)
        found = jpeg.scaled(data, picture.mode, expected.size)
        assert found is not None
        assert (found.mode, found.size, found.tobytes()) == (picture.mode, expected.size, expected.tobytes())

    def test_the_luma_of_a_colour_picture(self):
        data = encoded(image(160, 120))
        found = jpeg.scaled(data, "L", (80, 60))
        assert found is not None
        assert found.tobytes() == pillows(data, "L", 2).tobytes()

    @pytest.mark.parametrize(
        ("least", "size"),
        [((50, 50), (50, 50)), ((51, 51), (100, 100)), ((150, 1), (150, 150)), ((201, 1), (250, 250)),
         ((1, 301), (350, 350)), ((900, 900), (400, 400)), ((1, 1), (50, 50))],
    )  # fmt: skip
    def test_the_smallest_eighth_that_is_large_enough(self, least: tuple[int, int], size: tuple[int, int]):
        found = jpeg.scaled(encoded(image(400, 400)), "RGB", least)
        assert found is not None
        assert found.size == size

    def test_five_eighths_are_close_to_a_resize_of_the_whole(self):
        picture = image(400, 320, seed=3).resize((800, 640), Image.Resampling.LANCZOS)
        found = jpeg.scaled(encoded(picture), "RGB", (500, 400))
        assert found is not None
        assert found.size == (500, 400)
        expected = np.asarray(picture.resize((500, 400), Image.Resampling.LANCZOS), np.int64)
        assert np.abs(np.asarray(found, np.int64) - expected).mean() < 6

    @pytest.mark.parametrize("cut", [1, 2, 100, 2000])
    def test_nothing_of_a_file_that_is_cut_short(self, cut: int):
        assert jpeg.scaled(encoded(image(200, 200))[:-cut], "RGB", (50, 50)) is None

    def test_nothing_of_a_file_with_a_damaged_byte_that_libjpeg_warns_of(self):
        data = bytearray(encoded(image(200, 200)))
        data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xd9"
        assert jpeg.scaled(bytes(data), "RGB", (50, 50)) is None

    def test_nothing_of_other_colours_nor_of_other_files(self):
        cmyk = encoded(Image.new("CMYK", (64, 64), (10, 20, 30, 40)))
        assert jpeg.scaled(cmyk, "CMYK", (8, 8)) is None
        assert jpeg.scaled(b"", "RGB", (8, 8)) is None
        assert jpeg.scaled(b"GIF89a" + bytes(100), "RGB", (8, 8)) is None

    def test_too_little_memory_says_nothing_of_the_file(self, monkeypatch: pytest.MonkeyPatch):
        def hungry(*_: object, **__: object) -> None:
            raise ValueError("Insufficient memory (case 4)")  # libjpeg's own words

        monkeypatch.setattr(simplejpeg, "decode_jpeg", hungry)
        with pytest.raises(MemoryError):
            jpeg.scaled(encoded(image(64, 64)), "RGB", (8, 8))
