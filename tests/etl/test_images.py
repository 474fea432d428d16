import io
import struct
import zlib
from typing import Any

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from etl.images import FORMATS, Facts, Unusable, eight_bit, facts, pixels, resized, silence_told
from manifests.pixels import PixelContract
from tests.makers import BLUE, GREEN, RED, UINT8, WHITE, array, contract, encoded, image, jpeg_bytes, quarters

LIMIT = 1_000_000  # pixels
TURNS = {  # EXIF orientation → what a camera did to the upright picture
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


def known(data: bytes, *, max_pixels: int = LIMIT, background: str = "#ffffff") -> Facts:
    return facts(data, max_pixels=max_pixels, background=background)


def problem(data: bytes) -> str | None:
    return known(data).problem


def as_is(data: bytes, width: int, height: int, **changes: Any) -> list[Any]:
    """The pixels at the picture's own size."""
    return pixels(data, contract(height, width, **changes)).tolist()


def one_colour(data: bytes, **changes: Any) -> list[Any]:
    """The pixel of a picture of one colour, at 2×2."""
    values = pixels(data, contract(2, **changes))
    assert (values == values[0, 0]).all()
    return values[0, 0].tolist()


def single(value: Any, kind: Any, size: int = 4) -> Image.Image:
    return Image.fromarray(np.full((size, size), value, kind))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, data: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand: Pillow cannot write 16-bit colour."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


class TestModes:
    """Every mode a decoder gives comes out as the same 8-bit pixels."""

    def test_grey_is_the_same_value_in_three_channels(self):
        assert one_colour(encoded(Image.new("L", (4, 4), 77))) == [77, 77, 77]

    def test_palette_without_transparency_shows_its_colours(self):
        data = encoded(quarters().quantize(8))
        assert known(data).mode == "P"
        assert as_is(data, 40, 20) == array(quarters()).tolist()

    def test_palette_with_a_transparent_entry_lies_over_the_background(self):
        picture = quarters().quantize(8)
        red = picture.getpixel((0, 0))
        data = encoded(picture, transparency=red)
        values = pixels(data, contract(20, 40, background="#102030"))
        assert [values[0, 0].tolist(), values[0, 39].tolist()] == [[16, 32, 48], list(GREEN)]

    @pytest.mark.parametrize(("background", "expected"), [("#ffffff", [255, 155, 155]), ("#000000", [100, 0, 0])])
    def test_rgba_is_blended_over_the_background(self, background: str, expected: list[int]):
        data = encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 100)))
        assert one_colour(data, background=background) == expected

    @pytest.mark.parametrize(("background", "expected"), [("#ffffff", 155), ("#0000ff", None)])
    def test_grey_with_alpha_is_blended_over_the_background(self, background: str, expected: int | None):
        data = encoded(Image.new("LA", (4, 4), (0, 100)))
        assert one_colour(data, background=background) == ([155] * 3 if expected else [0, 0, 155])

    def test_a_fully_transparent_picture_is_the_background_alone(self):
        seen = known(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0))), background="#ffffff")
        assert (seen.luma_mean, seen.luma_std) == (255.0, 0.0)

    def test_grey_with_a_transparent_value_lies_over_the_background(self):
        picture = Image.fromarray(np.array([[0, 0], [200, 200]], UINT8))
        data = encoded(picture, transparency=0)
        assert as_is(data, 2, 2) == [[[255] * 3] * 2, [[200] * 3] * 2]

    def test_cmyk_is_converted_to_its_colour(self):
        data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
        assert known(data).mode == "CMYK"
        red, green, blue = one_colour(data)
        assert red > 250
        assert max(green, blue) < 6

    @pytest.mark.parametrize(("value", "expected"), [(0, 0), (257, 1), (32768, 128), (65535, 255), (256 * 100, 100)])
    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_sixteen_bit_grey_is_scaled_not_clipped(self, kind: str, value: int, expected: int):
        assert one_colour(encoded(single(value, np.uint16), kind)) == [expected] * 3

    def test_sixteen_bit_colour_is_scaled_not_clipped(self):
        row = struct.pack(">3H", 0xFFFF, 0x8080, 0x0101) * 4
        assert one_colour(png(4, 4, 16, 2, (b"\0" + row) * 4)) == [255, 128, 1]

    def test_big_endian_sixteen_bit_tiff_is_read_as_such(self):
        data = encoded(Image.fromarray(np.full((4, 4), 257 * 3, ">u2")), "TIFF")
        assert known(data).mode == "I;16B"
        assert one_colour(data) == [3, 3, 3]

    @pytest.mark.parametrize(
        ("value", "top", "expected"), [(0.5, 1.0, 128), (51.0, 255.0, 51), (257.0, 65535.0, 1), (0.0, 0.0, 0)]
    )
    def test_float_tiff_is_scaled_from_the_range_that_holds_it(self, value: float, top: float, expected: int):
        values = np.full((4, 4), value, np.float32)
        values[3, 3] = top
        assert as_is(encoded(Image.fromarray(values), "TIFF"), 4, 4)[0][0] == [expected] * 3

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (float("nan"), "unreadable: pixel values that are not finite"),
            (float("inf"), "unreadable: pixel values that are not finite"),
            (-1.0, "unreadable: pixel values from -1 to -1; expected 0 to 1, 255 or 65535"),
            (1e6, "unreadable: pixel values from 1e+06 to 1e+06; expected 0 to 1, 255 or 65535"),
        ],
    )
    def test_floats_that_are_no_picture_have_a_reason(self, value: float, said: str):
        assert problem(encoded(single(value, np.float32), "TIFF")) == said

    def test_one_bit_is_black_and_white(self):
        picture = Image.fromarray(np.array([[0, 255], [255, 0]], UINT8)).convert("1")
        assert as_is(encoded(picture), 2, 2) == [[[0] * 3, [255] * 3], [[255] * 3, [0] * 3]]

    def test_gif_shows_its_first_frame(self):
        frames = [Image.new("RGB", (4, 4), colour) for colour in (BLUE, RED)]
        data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
        assert one_colour(data) == list(BLUE)

    @pytest.mark.parametrize(("kind", "options"), [("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
    def test_lossless_formats_give_the_pixels_of_the_png(self, kind: str, options: dict[str, Any]):
        data, same = encoded(image(), kind, **options), encoded(image())
        assert known(data).format == kind
        for resize in ("crop", "pad", "squash"):
            asked = contract(20, 30, resize=resize)
            assert pixels(data, asked).tolist() == pixels(same, asked).tolist()
        assert known(data)[6:] == known(same)[6:]

    @pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
    def test_lossy_formats_give_nearly_the_pixels_of_the_png(self, kind: str):
        difference = pixels(encoded(quarters(), kind, quality=95), contract(20, 40)).astype(int) - array(quarters())
        assert np.abs(difference).mean() < 12

    def test_float_and_wide_modes_are_not_touched_otherwise(self):
        assert eight_bit(Image.new("L", (1, 1), 9), "#ffffff").mode == "L"


class TestOrientation:
    """A picture that a camera turned is the picture of an upright one."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
    def test_the_pixels_are_those_of_the_upright_picture(self, kind: str, orientation: int):
        turn = TURNS[orientation]
        stored = quarters() if turn is None else quarters().transpose(turn)
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
        data = encoded(stored, kind, exif=exif, **options)
        seen = known(data)
        assert (seen.width, seen.height, seen.orientation, seen.problem) == (40, 20, orientation, None)
        for resize in ("crop", "pad", "squash"):
            asked = contract(20, 40, resize=resize)
            difference = pixels(data, asked).astype(int) - array(quarters()).astype(int)
            assert np.abs(difference).max() <= (8 if kind == "JPEG" else 0)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_hashes_are_those_of_the_upright_picture(self, orientation: int):
        turn = TURNS[orientation]
        picture = image(300, 200)
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = known(encoded(picture if turn is None else picture.transpose(turn), exif=exif))
        assert turned[6:] == known(encoded(picture))[6:]

    @pytest.mark.parametrize("orientation", [1, 6, 8])
    def test_avif_which_turns_by_itself_is_not_turned_twice(self, orientation: int):
        turn = TURNS[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(quarters() if turn is None else quarters().transpose(turn), "AVIF", quality=95, exif=exif)
        assert (known(data).width, known(data).height) == (40, 20)
        difference = pixels(data, contract(20, 40)).astype(int) - array(quarters()).astype(int)
        assert np.abs(difference).mean() < 12

    @pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
    def test_it_is_a_whole_number_however_the_camera_wrote_it(self, kind: int):
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory.tagtype[0x0112] = kind
        directory[0x0112] = 6.0 if kind in {11, 12} else 6
        exif = b"Exif\0\0II*\0\x08\0\0\0" + directory.tobytes(8)
        assert repr(known(encoded(quarters(), "JPEG", exif=exif)).orientation) == "6"

    @pytest.mark.parametrize("value", [0, 9, 255])
    def test_a_value_without_meaning_is_upright(self, value: int):
        exif = Image.Exif()
        exif[0x0112] = value
        seen = known(encoded(quarters(), "JPEG", exif=exif))
        assert (seen.orientation, seen.width, seen.height) == (1, 40, 20)

    def test_broken_metadata_does_not_make_the_pixels_unusable(self):
        seen = known(encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x01" * 40))
        assert (seen.problem, seen.orientation) == (None, 1)


class TestFacts:
    """What is written down of a picture is the picture's own."""

    def test_size_format_and_mode_are_those_of_the_file(self):
        seen = known(encoded(image(31, 17)))
        assert seen[1:6] == (31, 17, "PNG", "RGB", 1)

    def test_a_large_jpeg_keeps_its_size_though_it_is_decoded_small(self):
        assert known(jpeg_bytes(1031, 517))[1:3] == (1031, 517)

    def test_the_digest_is_that_of_the_bytes_even_where_they_are_no_image(self):
        assert known(b"").sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    def test_facts_of_a_64_px_grey_picture_are_imagehashs_own(self):
        grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=UINT8))
        seen = known(encoded(grey))
        assert (f"{seen.phash:016x}", seen.phash256) == (str(imagehash.phash(grey)), str(imagehash.phash(grey, 16)))
        assert seen.dhash256 == str(imagehash.dhash(grey, 16))

    def test_luma_is_measured_on_the_grey_picture(self):
        values = np.zeros((64, 64), UINT8)
        values[:32] = 200
        seen = known(encoded(Image.fromarray(values)))
        assert (seen.luma_mean, seen.luma_std) == (100.0, 100.0)

    def test_a_jpeg_decoded_small_hashes_like_the_whole_picture(self):
        picture = image(1024, 768)
        one, other = known(encoded(picture, "JPEG", quality=95)), known(encoded(picture))
        assert one.phash is not None
        assert other.phash is not None
        assert (one.phash ^ other.phash).bit_count() <= 4


class TestMeasures:
    """What extract measures beyond the hashes, from the same decode."""

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_colour_is_told_from_grey_that_is_stored_in_three_channels(self, kind: str):
        picture = image(200, 150)
        grey = picture.convert("L").convert("RGB")
        seen = [known(encoded(each, kind)).chroma for each in (picture, grey, picture.convert("L"))]
        assert (seen[0] or 0) > 20
        assert max(seen[1] or 0, seen[2] or 0) <= 1

    def test_those_of_a_jpeg_are_of_its_smallest_scale_that_has_96_pixels_each_way(self):
        data = jpeg_bytes(300, 200)
        with Image.open(io.BytesIO(data)) as picture:
            picture.draft("RGB", (150, 100))
            half = picture.copy()
        assert half.size == (150, 100)
        assert known(data)._replace(sha256="", width=0, height=0, format="") == known(encoded(half))._replace(
            sha256="", width=0, height=0, format=""
        )

    def test_several_frames_are_told_and_one_is_not(self):
        frames = [image(20, 20, seed=seed) for seed in range(3)]
        for kind in ("GIF", "WEBP", "PNG"):
            data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
            assert (known(data).animated, known(encoded(frames[0], kind)).animated) == (True, False)
        assert known(encoded(frames[0], "JPEG")).animated is False

    def test_only_an_image_that_says_nothing_has_a_digest_of_its_pixels(self):
        blank = Image.new("RGB", (30, 20), (9, 9, 9))
        seen = [known(encoded(blank, kind)).pixels for kind in ("PNG", "BMP", "TIFF")]
        assert seen[0] is not None
        assert len(set(seen)) == 1
        assert known(encoded(Image.new("RGB", (30, 20), (9, 9, 8)))).pixels not in {None, seen[0]}
        assert known(encoded(Image.new("RGB", (20, 30), (9, 9, 9)))).pixels not in {None, seen[0]}
        assert known(encoded(image(30, 20))).pixels is None

    def test_mirrored_and_turned_hashes_are_there_where_they_are_asked_for(self):
        data = encoded(image(64, 64, mode="L"))
        turned = facts(data, max_pixels=LIMIT, background="#ffffff", turned=True).turned or ""
        mirrored = known(encoded(image(64, 64, mode="L").transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
        assert turned[:128] == f"{mirrored.phash256}{mirrored.dhash256}"
        assert known(data).turned is None


class TestReasons:
    """What cannot be used has a reason that a person understands, and that is true."""

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "empty"),
            (b"just some text that somebody left here", "not an image"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "not an image: EPS"),
            (b"%PDF-1.7", "not an image: PDF"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image: SVG"),
            (b"PK\x03\x04rest", "not an image: zip archive"),
            (b"\xff\xd8\xff", "unreadable: a JPEG whose header is cut off or damaged"),
            (b"\x89PNG\r\n\x1a\n", "unreadable: a PNG whose header is cut off or damaged"),
        ],
    )
    def test_what_is_no_image(self, data: bytes, said: str):
        assert problem(data) == said

    def test_an_eps_starts_no_other_program(self, monkeypatch: pytest.MonkeyPatch):
        import subprocess

        started: list[Any] = []

        def popen(*command: Any, **_: Any) -> None:
            started.append(command)

        monkeypatch.setattr(subprocess, "Popen", popen)
        assert problem(encoded(image(8, 8), "EPS")) == "not an image: EPS"
        assert started == []
        assert "EPS" not in FORMATS

    @pytest.mark.parametrize("kind", ["PPM", "TGA", "PCX", "ICO", "JPEG2000", "SGI"])
    def test_a_format_that_is_not_listed_is_not_decoded(self, kind: str):
        said = problem(encoded(image(32, 32), kind))
        assert said is not None
        assert said.startswith("not an image")

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.95])
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF"])
    def test_a_file_that_was_cut_off_is_truncated(self, kind: str, share: float):
        data = encoded(image(200, 150), kind)
        assert problem(data[: int(share * len(data))]) == "truncated"

    def test_a_progressive_jpeg_that_was_cut_off_is_truncated(self):
        data = encoded(image(400, 300), "JPEG", progressive=True)
        assert [problem(data[: len(data) // n]) for n in (2, 3)] == ["truncated"] * 2

    def test_a_png_without_its_end_is_truncated_though_all_pixels_are_there(self):
        assert problem(encoded(image())[:-12]) == "truncated"

    def test_a_png_with_a_flipped_bit_fails_its_checksum(self):
        data = bytearray(encoded(image()))
        data[len(data) // 2] ^= 1
        assert problem(bytes(data)) == "unreadable: broken PNG file (bad header checksum in b'IDAT')"

    def test_a_png_without_pixels_is_said_in_words(self):
        data = encoded(image())
        start = data.index(b"IDAT") - 4
        assert problem(data[:start] + data[-12:]) == "unreadable: its data is damaged"

    @pytest.mark.parametrize("length", range(8, 60))
    def test_a_header_cut_anywhere_is_a_reason(self, length: int):
        said = problem(encoded(image())[:length])
        assert said in {"truncated", "unreadable: a PNG whose header is cut off or damaged"}

    def test_too_many_pixels_are_read_from_the_header_before_any_decode(self):
        data = png(100_000, 50_000, 8, 2, b"\0")
        assert len(data) < 100
        assert problem(data) == "too many pixels: 100000×50000 is over 1,000,000"

    def test_the_limit_itself_is_allowed(self):
        data = encoded(Image.new("L", (100, 50), 3))
        assert known(data, max_pixels=5000).problem is None
        assert known(data, max_pixels=4999).problem == "too many pixels: 100×50 is over 4,999"

    def test_pillows_own_limit_is_not_in_the_way(self):
        data = encoded(Image.new("1", (20_000, 10_000)))
        assert known(data, max_pixels=200_000_000)[1:3] == (20_000, 10_000)

    def test_pixels_of_a_bad_file_raise_the_reason(self):
        with pytest.raises(Unusable, match=r"^truncated$"):
            pixels(encoded(image(), "JPEG")[:400], contract())


def whole(seen: Facts) -> bool:
    """All facts or none, and a reason in the latter case."""
    at_times = {"sha256", "problem", "turned", "pixels"}  # turned and pixels are of some images only
    values = [value for name, value in seen._asdict().items() if name not in at_times]
    return seen.sha256 is not None and (
        all(v is not None for v in values) if seen.problem is None else all(v is None for v in values)
    )


SMALL = {kind: encoded(image(40, 30), kind) for kind in KINDS}


class TestAnyBytes:
    """Whatever the bytes are, there are facts or a reason; and what has facts has pixels."""

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=300), st.sampled_from([b"", *(data[:24] for data in SMALL.values())]))
    def test_random_bytes(self, data: bytes, head: bytes):
        assert whole(known(head + data))

    @settings(max_examples=250, deadline=None)
    @given(
        st.sampled_from(KINDS),
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
        st.floats(0.2, 1),
        st.booleans(),
    )
    def test_flipped_and_cut(self, kind: str, flips: list[tuple[float, int]], cut: float, at_the_head: bool):
        data = bytearray(SMALL[kind])
        for place, value in flips:
            data[int(place * (64 if at_the_head else len(data)))] = value
        data = bytes(data[: int(cut * len(data))])
        seen = known(data)
        assert whole(seen)
        if seen.problem is None:
            assert pixels(data, contract(8)).shape == (8, 8, 3)


class TestGeometry:
    """crop fills and cuts the middle, pad fits and fills, squash ignores the aspect."""

    def test_squash_keeps_every_quarter(self):
        values = pixels(encoded(quarters(80, 20)), contract(16, resize="squash"))
        assert [values[y, x].tolist() for y, x in [(2, 2), (2, 13), (13, 2), (13, 13)]] == [
            list(c) for c in (RED, GREEN, BLUE, WHITE)
        ]

    def test_crop_of_a_wide_picture_cuts_left_and_right(self):
        bars = np.zeros((20, 80, 3), UINT8)
        bars[:, :30], bars[:, 30:50], bars[:, 50:] = RED, GREEN, BLUE
        values = pixels(encoded(Image.fromarray(bars)), contract(20, resize="crop"))
        assert (values == np.array(GREEN)).all()

    def test_crop_of_a_tall_picture_cuts_top_and_bottom(self):
        bars = np.zeros((80, 20, 3), UINT8)
        bars[:30], bars[30:50], bars[50:] = RED, GREEN, BLUE
        values = pixels(encoded(Image.fromarray(bars)), contract(20, resize="crop"))
        assert (values == np.array(GREEN)).all()

    def test_pad_centres_the_whole_picture_over_the_background(self):
        data = encoded(Image.new("RGB", (80, 20), RED))
        values = pixels(data, contract(16, resize="pad", background="#00ff00"))
        assert (values[6:10] == np.array(RED)).all()
        assert (values[:6] == np.array(GREEN)).all()
        assert (values[10:] == np.array(GREEN)).all()

    def test_pad_of_a_grey_contract_fills_with_the_background_in_grey(self):
        values = pixels(
            encoded(Image.new("L", (20, 80), 0)), contract(16, resize="pad", channels="gray", background="#ff0000")
        )
        assert values.shape == (16, 16, 1)
        assert sorted(set(values.ravel().tolist())) == [0, 76]

    def test_a_picture_of_the_asked_size_is_left_as_it_is(self):
        for resize in ("crop", "pad", "squash"):
            assert as_is(encoded(image(30, 20)), 30, 20, resize=resize) == array(image(30, 20)).tolist()

    def test_grey_is_the_luma_of_the_colours(self):
        values = as_is(encoded(quarters(4, 2)), 4, 2, channels="gray")
        assert values == [[[76], [76], [150], [150]], [[29], [29], [255], [255]]]

    def test_height_comes_before_width(self):
        assert pixels(encoded(image()), contract(10, 20)).shape == (10, 20, 3)

    def test_a_jpeg_decoded_small_shows_the_same_picture(self):
        picture = image(1200, 900)
        for resize in ("crop", "pad", "squash"):
            asked = contract(96, resize=resize)
            one = pixels(encoded(picture, "JPEG", quality=95, subsampling=0), asked).astype(int)
            assert np.abs(one - pixels(encoded(picture), asked)).mean() < 4

    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box"])
    def test_every_interpolation_gives_the_shape(self, interpolation: str):
        assert one_colour(encoded(Image.new("RGB", (9, 7), RED)), interpolation=interpolation) == list(RED)

    @pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
    @pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (2, 3)])
    def test_tiny_and_extreme_pictures_have_pixels(self, size: tuple[int, int], resize: str):
        data = encoded(Image.new("RGB", size, RED))
        assert known(data).problem is None
        values = pixels(data, contract(16, 24, resize=resize, background="#ff0000"))
        assert (values == np.array(RED)).all()

    @settings(max_examples=200, deadline=None)
    @given(
        st.integers(1, 300),
        st.integers(1, 300),
        st.integers(1, 256),
        st.integers(1, 256),
        st.sampled_from(["crop", "pad"]),
    )
    def test_any_size_to_any_size(self, width: int, height: int, wide: int, high: int, resize: Any):
        asked: PixelContract = contract(high, wide, resize=resize)
        assert resized(Image.new("L", (width, height)), asked).size == (wide, high)

    @pytest.mark.parametrize(("side", "wide", "high"), [(29, 64, 224), (225, 64, 224), (58, 64, 224)])
    def test_sides_whose_quotient_rounds_up_are_cropped_like_others(self, side: int, wide: int, high: int):
        assert resized(Image.new("L", (side, side)), contract(high, wide, resize="crop")).size == (wide, high)


class TestSilence:
    """A picture that says nothing to a hash has the digest of its pixels, of the bytes that were measured."""

    def test_of_other_bytes_there_is_none(self):
        flat = encoded(Image.new("RGB", (20, 20), (9, 9, 9)))
        seen = known(flat)
        assert seen.pixels is not None
        again = silence_told(seen._replace(pixels=None), lambda: flat, "#ffffff")
        assert again == seen
        other = encoded(Image.new("RGB", (20, 20), (8, 8, 8)))
        assert silence_told(seen, lambda: other, "#ffffff").problem == "changed while it was read"
