"""What is measured of a picture at extract: three perceptual hashes and a few cheap figures of its quality.

All of it comes from the grey picture of one scaled decode, the colour from its chroma. `etl.images` decodes, the rules
of `etl.faults` and `etl.curate` decide what follows from the figures.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Bits = npt.NDArray[np.bool_]

SIDE = 64  # pixels of the grey picture that hashes and brightness are taken from
SHARP_SIDE = 128  # pixels of the grey picture that sharpness is taken from: a smaller one is not enlarged
COLOUR_SIDE = 16  # pixels of the averaged chroma: noise is gone, a coloured thing is not
SILENT = 4.0  # luma deviation (0 to 255) under which a picture says nothing: its hash would match any other such one
LOW, HIGH = 0.05, 0.99  # of the pixels: the percentiles that tell a bright and a dark picture
LEVELS = np.arange(256)
DIGITS = 6  # of a frequency: rounding errors, which differ from machine to machine, do not decide a bit of a drawing
TURNS = tuple(Image.Transpose)  # the seven mirrored and turned pictures, in this order in the table


Plane = npt.NDArray[np.float64]


def _cosines(size: int, count: int) -> Plane:
    """The first rows of the unnormalised DCT-II: what scipy.fftpack.dct does, as one matrix product."""
    place, frequency = np.arange(size), np.arange(count)[:, None]
    return 2 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * size))


def _lanczos(size: int, wanted: int) -> Plane:
    """(size, wanted): what a row of pixels is multiplied by to become as Pillow's LANCZOS makes it.

    Pillow's weights are whole numbers of 2^-22 (its Resample.c), so products and sums of them are exact in 53 bits.
    """
    scale = size / wanted
    weights = np.zeros((size, wanted))
    for column in range(wanted):
        centre = (column + 0.5) * scale
        low, high = max(0, int(centre - 3 * scale + 0.5)), min(size, int(centre + 3 * scale + 0.5))
        distance = (np.arange(low, high) - centre + 0.5) / scale
        window = np.where((distance >= -3) & (distance < 3), np.sinc(distance) * np.sinc(distance / 3), 0)
        weights[low:high, column] = window / window.sum()
    return np.trunc(weights * 2.0**22 + np.copysign(0.5, weights)) / 2.0**22


COSINES = {side: _cosines(side, side // 4) for side in (32, 64)}
ACROSS = np.concatenate([_lanczos(SIDE, width) for width in (32, 17, 9)], axis=1)
DOWN = {height: _lanczos(SIDE, height).T.copy() for height in (32, 16, 8)}


class Hashes(NamedTuple):
    """The perceptual hashes of a grey picture, by imagehash's definitions."""

    phash: int  # 64 bits, the first one the highest
    dhash: int  # 64 bits
    phash256: str  # 64 hex digits
    dhash256: str  # 64 hex digits


class Measures(NamedTuple):
    """The figures of the image table; the columns there have the meanings."""

    phash: int
    dhash: int
    phash256: str
    dhash256: str
    turned: str | None
    luma_mean: float
    luma_std: float
    luma_low: float
    luma_high: float
    sharpness: float


def measures(grey: Image.Image, *, turned: bool) -> Measures:
    """Of an upright L picture, as the scaled decode gives it."""
    small = small_grey(grey)
    others = "".join("".join(hashes(small.transpose(turn))[2:]) for turn in TURNS) if turned else None
    return Measures(*hashes(small), others, *brightness(small), sharpness(grey))


def brightness(small: Image.Image) -> tuple[float, float, float, float]:
    """Mean, deviation, 5th and 99th percentile of a grey picture, each 0 to 255; from its histogram, so exact."""
    counts = np.array(small.histogram())
    total = small.width * small.height
    mean = float(counts @ LEVELS) / total
    low, high = np.searchsorted(np.cumsum(counts), [LOW * total, HIGH * total], side="right")
    return mean, math.sqrt(max(0.0, float(counts @ LEVELS**2) / total - mean**2)), float(low), float(high)


def small_grey(grey: Image.Image) -> Image.Image:
    """64×64: whole pixels averaged first, then one antialiased resize."""
    return grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=1.0)


def hashes(small: Image.Image) -> Hashes:
    """Of a 64×64 grey picture: the bits that imagehash's `phash` and `dhash` give, in a third of their time.

    Only where a frequency is nothing but rounding errors, as in a drawing of straight lines, its bit is 0 here.
    """
    grey = np.asarray(small, np.float64)
    across = _rounded(grey @ ACROSS)
    middle, wider, tiny = across[:, :32], across[:, 32:49], across[:, 49:]
    phash, dhash = _phash(_rounded(DOWN[32] @ middle)), _dhash(_rounded(DOWN[8] @ tiny))
    return Hashes(int(phash, 16), int(dhash, 16), _phash(grey), _dhash(_rounded(DOWN[16] @ wider)))


def _rounded(values: Plane) -> Plane:
    """As bytes are: to the nearest whole number, within 0 and 255. In place."""
    values += 0.5
    np.floor(values, out=values)
    np.maximum(values, 0, out=values)
    return np.minimum(values, 255, out=values)


def _phash(grey: Plane) -> str:
    """Which of the lowest frequencies lie above their median. http://www.hackerfactor.com/blog/archives/432.html"""
    cosines = COSINES[len(grey)]
    lowest = np.round(cosines @ grey @ cosines.T, DIGITS)
    ordered = np.sort(lowest, axis=None)
    middle = len(ordered) // 2
    return _hex(lowest > (ordered[middle - 1] + ordered[middle]) / 2)


def _dhash(grey: Plane) -> str:
    """Where it grows brighter from left to right. http://www.hackerfactor.com/blog/archives/529.html"""
    return _hex(grey[:, 1:] > grey[:, :-1])


def _hex(bits: Bits) -> str:
    return np.packbits(bits).tobytes().hex()


def sharpness(grey: Image.Image) -> float:
    """Variance of the Laplacian at 128×128: how much fine detail there is at the size that models look at.

    J. L. Pech-Pacheco et al.: Diatom autofocusing in brightfield microscopy, ICPR 2000. Taken at one size, so that
    photographs of different resolutions can be compared; under 3 pixels a side there is no detail.
    """
    small = grey.resize((min(SHARP_SIDE, grey.width), min(SHARP_SIDE, grey.height)), Image.Resampling.BOX)
    if min(small.size) < 3:
        return 0.0
    values = np.asarray(small).astype(np.int16)
    laplacian = values[1:-1, 2:] + values[1:-1, :-2]
    laplacian += values[2:, 1:-1]
    laplacian += values[:-2, 1:-1]
    laplacian -= 4 * values[1:-1, 1:-1]
    squares = int(np.square(laplacian, dtype=np.int32).sum(dtype=np.int64))  # whole numbers: the same on any machine
    return squares / laplacian.size - (int(laplacian.sum(dtype=np.int64)) / laplacian.size) ** 2


def chroma(picture: Image.Image) -> float:
    """Largest distance from grey of Cb and Cr in an RGB or YCbCr picture, averaged to 16×16: 0 to 128."""
    sampled = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)  # 16 samples to average are enough, and quick
    averaged = sampled.resize((COLOUR_SIDE, COLOUR_SIDE), Image.Resampling.BOX).convert("YCbCr")
    values = np.asarray(averaged)[..., 1:].astype(np.int16)
    return float(np.abs(values - 128).max())
