import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from etl.measures import (
    DETAIL_SIDE,
    SIDE,
    averaged_colour,
    brightness,
    chroma,
    hashes,
    measures,
    planes,
    sharpness,
    small_grey,
    turned_hashes,
)
from tests.makers import image


def noise(seed: int, side: int = SIDE) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    return Image.fromarray(values).filter(ImageFilter.GaussianBlur(seed % 4))


class TestHashes:
    """They are imagehash's own, bit for bit."""

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
    def test_of_any_pictures_together(self, seeds: list[int]):
        pictures = [noise(seed) for seed in seeds]
        for small, found in zip(pictures, hashes([np.asarray(small) for small in pictures]), strict=True):
            assert f"{found.phash:016x}" == str(imagehash.phash(small, 8))
            assert f"{found.dhash:016x}" == str(imagehash.dhash(small, 8))
            wide = str(imagehash.phash(small, 16)), str(imagehash.dhash(small, 16))
            assert (found.phash256, found.dhash256) == wide

    def test_those_of_the_turned_are_the_hashes_of_the_turned_pictures(self):
        pictures = [noise(seed) for seed in (3, 4)]
        found = turned_hashes([np.asarray(small) for small in pictures])
        for small, turned in zip(pictures, found, strict=True):
            laid = hashes([np.asarray(small.transpose(way)) for way in Image.Transpose])
            assert turned == "".join(each.phash256 + each.dhash256 for each in laid)

    def test_of_a_copy_of_another_size_nearly_the_same(self):
        """512 bits; by averages of whole pixels, which depend on where these fall, 36 would change instead of 24."""
        assert sum(most_changed_by_size(seed) for seed in range(8)) / 8 <= 28


def most_changed_by_size(seed: int) -> int:
    picture = image(800, 600, seed=seed).convert("L").filter(ImageFilter.GaussianBlur(2))
    sizes = [(800, 600), (400, 300), (133, 100), (100, 133)]
    found = hashes([small_grey(picture.resize(size, Image.Resampling.BICUBIC)) for size in sizes])
    original, *others = [int(each.phash256 + each.dhash256, 16) for each in found]
    return max((original ^ other).bit_count() for other in others)


class TestBrightness:
    """Mean, deviation, 5th and 99th percentile, exactly."""

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6))
    def test_they_are_numpys(self, seed: int):
        values = np.asarray(noise(seed), np.float64)
        mean, deviation, low, high = brightness(np.asarray(noise(seed)))
        assert mean == pytest.approx(values.mean())
        assert deviation == pytest.approx(values.std())
        ordered = np.sort(values, axis=None)
        assert (low, high) == (ordered[int(0.05 * ordered.size)], ordered[int(0.99 * ordered.size)])

    def test_one_colour(self):
        assert brightness(np.full((SIDE, SIDE), 200, np.uint8)) == (200.0, 0.0, 200.0, 200.0)


def sharp(picture: Image.Image) -> float:
    return sharpness(planes(picture).detail)


class TestSharpness:
    """Variance of the Laplacian at one size: it falls with blur, and does not depend on the resolution."""

    def test_it_is_the_variance_of_the_laplacian(self):
        values = np.asarray(noise(1, DETAIL_SIDE), np.int64)
        laplacian = values[1:-1, 2:] + values[1:-1, :-2] + values[2:, 1:-1] + values[:-2, 1:-1] - 4 * values[1:-1, 1:-1]
        assert sharp(noise(1, DETAIL_SIDE)) == pytest.approx(laplacian.var())

    def test_blur_makes_it_fall(self):
        picture = image(256, 256, seed=4).convert("L").filter(ImageFilter.UnsharpMask())
        found = [sharp(picture.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 2, 4, 8)]
        assert found == sorted(found, reverse=True)
        assert found[0] > 4 * found[-1]

    def test_a_larger_copy_is_as_sharp(self):
        small = noise(7, DETAIL_SIDE)
        assert sharp(small.resize((4 * DETAIL_SIDE, 4 * DETAIL_SIDE), Image.Resampling.NEAREST)) == sharp(small)

    @pytest.mark.parametrize("size", [(1, 1), (2, 90), (90, 2)])
    def test_in_two_pixels_there_is_no_detail(self, size: tuple[int, int]):
        assert sharp(Image.new("L", size)) == 0.0


class TestChroma:
    """How far the colours are from grey: 0 to 128."""

    def test_grey_has_none_and_a_coloured_thing_on_it_has(self):
        picture = Image.new("RGB", (200, 200), (90, 90, 90))
        assert chroma(averaged_colour(picture)) == 0.0
        picture.paste((255, 0, 0), (0, 0, 30, 30))
        assert chroma(averaged_colour(picture)) > 100

    def test_a_grey_picture_has_none(self):
        assert chroma(averaged_colour(Image.new("L", (9, 9), 7))) == 0.0


class TestMeasures:
    """Of several pictures at once, whatever their sizes, what each has alone."""

    def test_together_and_alone(self):
        pictures = [image(300, 200, seed=1), image(40, 30, seed=2), image(90, 700, seed=3).convert("L")]
        seen = [planes(picture) for picture in pictures]
        assert measures(seen) == [measures([each])[0] for each in seen]
        assert measures([]) == []
