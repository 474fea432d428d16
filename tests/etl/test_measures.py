import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from etl.measures import SIDE, TURNS, brightness, chroma, hashes, measures, sharpness, small_grey
from tests.makers import image


def noise(seed: int, side: int = SIDE) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    return Image.fromarray(values).filter(ImageFilter.GaussianBlur(seed % 4))


class TestHashes:
    """They are imagehash's own, bit for bit."""

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6))
    def test_of_any_picture(self, seed: int):
        small = noise(seed)
        found = hashes(small)
        assert f"{found.phash:016x}" == str(imagehash.phash(small, 8))
        assert f"{found.dhash:016x}" == str(imagehash.dhash(small, 8))
        assert (found.phash256, found.dhash256) == (str(imagehash.phash(small, 16)), str(imagehash.dhash(small, 16)))

    def test_those_of_the_turned_are_the_hashes_of_the_turned_picture(self):
        grey = noise(3, 200)
        turned = measures(grey, turned=True).turned
        assert turned is not None
        small = small_grey(grey)
        assert turned == "".join("".join(hashes(small.transpose(turn))[2:]) for turn in TURNS)
        assert len(turned) == 7 * 128
        assert measures(grey, turned=False).turned is None


class TestBrightness:
    """Mean, deviation, 5th and 99th percentile, exactly."""

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6))
    def test_they_are_numpys(self, seed: int):
        values = np.asarray(noise(seed), np.float64)
        mean, deviation, low, high = brightness(noise(seed))
        assert mean == pytest.approx(values.mean())
        assert deviation == pytest.approx(values.std())
        ordered = np.sort(values, axis=None)
        assert (low, high) == (ordered[int(0.05 * ordered.size)], ordered[int(0.99 * ordered.size)])

    def test_one_colour(self):
        assert brightness(Image.new("L", (SIDE, SIDE), 200)) == (200.0, 0.0, 200.0, 200.0)


class TestSharpness:
    """Variance of the Laplacian at one size: it falls with blur, and does not depend on the resolution."""

    def test_it_is_the_variance_of_the_laplacian(self):
        values = np.asarray(noise(1, 128), np.int64)
        laplacian = values[1:-1, 2:] + values[1:-1, :-2] + values[2:, 1:-1] + values[:-2, 1:-1] - 4 * values[1:-1, 1:-1]
        assert sharpness(noise(1, 128)) == pytest.approx(laplacian.var(), rel=1e-4)

    def test_blur_makes_it_fall(self):
        sharp = image(256, 256, seed=4).convert("L").filter(ImageFilter.UnsharpMask())
        found = [sharpness(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 2, 4, 8)]
        assert found == sorted(found, reverse=True)
        assert found[0] > 4 * found[-1]

    def test_a_larger_copy_is_as_sharp(self):
        small = noise(7, 128)
        assert sharpness(small.resize((512, 512), Image.Resampling.NEAREST)) == sharpness(small)

    @pytest.mark.parametrize("size", [(1, 1), (2, 90), (90, 2)])
    def test_in_two_pixels_there_is_no_detail(self, size: tuple[int, int]):
        assert sharpness(Image.new("L", size)) == 0.0


class TestChroma:
    """How far the colours are from grey: 0 to 128."""

    def test_grey_has_none_and_a_coloured_thing_on_it_has(self):
        picture = Image.new("RGB", (200, 200), (90, 90, 90))
        assert chroma(picture) == 0.0
        picture.paste((255, 0, 0), (0, 0, 30, 30))
        assert chroma(picture) > 100
