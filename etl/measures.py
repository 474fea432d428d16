"""What is measured of a picture at extract: four perceptual hashes and a few cheap figures of its quality.

All of it comes from one scaled decode: sharpness from 96×96 grey pixels, hashes and brightness from 64×64, colour from
16×16. `etl.images` decodes, the rules of `etl.faults` and `etl.curate` decide what follows from the figures.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Bits = npt.NDArray[np.bool_]
Levels = npt.NDArray[np.uint8]

SIDE = 64  # pixels of the grey picture that hashes and brightness are taken from
DETAIL_SIDE = 96  # pixels of the grey picture that sharpness is taken from: a smaller one is not enlarged
COLOUR_SIDE = 16  # pixels of the averaged chroma: noise is gone, a coloured thing is not
SILENT = 4.0  # luma deviation (0 to 255) under which a picture says nothing: its hash would match any other such one
LOW, HIGH = 0.05, 0.99  # of the pixels: the percentiles that tell a bright and a dark picture
LEVELS = np.arange(256)
TURNS = 7  # ways to lay a picture other than its own, in the order of PIL.Image.Transpose
DIGITS = 6  # of a frequency: rounding errors, which differ from machine to machine, do not decide a bit of a drawing
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
    """The columns of the image table that are measured; the meanings stand there."""

    phash: int
    dhash: int
    phash256: str
    dhash256: str
    luma_mean: float
    luma_std: float
    luma_low: float
    luma_high: float
    sharpness: float
    chroma: float


class Planes(NamedTuple):
    """What is measured of a picture: 14 kB, whatever its size."""

    small: Levels  # (64, 64) grey
    detail: Levels  # grey, at most (96, 96)
    colour: Levels  # (16, 16, 3) Y, Cb, Cr, averaged; empty of a grey picture


def planes(picture: Image.Image) -> Planes:
    """Of an upright L or RGB picture, as the scaled decode gives it."""
    grey = picture.convert("L")
    detail = grey.resize((min(DETAIL_SIDE, grey.width), min(DETAIL_SIDE, grey.height)), Image.Resampling.BOX)
    return Planes(small_grey(grey), np.asarray(detail), averaged_colour(picture))


def measures(several: Sequence[Planes]) -> list[Measures]:
    """One step after the other, each for all: so its code stays near the core: with the decode 0.62 ms an image, and
    0.69 picture by picture (16 at a time, one core, the least of 11)."""
    if not several:
        return []
    bright = [brightness(each.small) for each in several]
    sharp = [sharpness(each.detail) for each in several]
    colour = [chroma(each.colour) for each in several]
    hashed = hashes([each.small for each in several])
    return [Measures(*h, *b, s, c) for h, b, s, c in zip(hashed, bright, sharp, colour, strict=True)]


def small_grey(grey: Image.Image) -> Levels:
    """(64, 64) of an L picture, for `hashes`: by one antialiased resize, of a much larger one after whole pixels were
    averaged. Of 28 changes of photographs it finds as many as LANCZOS, in half the time; BOX finds fewer."""
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.HAMMING, reducing_gap=2.0))


def brightness(small: Levels) -> tuple[float, float, float, float]:
    """Mean, deviation, 5th and 99th percentile of grey pixels, each 0 to 255; from their histogram, so exact."""
    counts = np.bincount(small.ravel(), minlength=256)
    mean = float(counts @ LEVELS) / small.size
    low, high = np.searchsorted(np.cumsum(counts), [LOW * small.size, HIGH * small.size], side="right")
    return mean, math.sqrt(max(0.0, float(counts @ LEVELS**2) / small.size - mean**2)), float(low), float(high)


def hashes(smalls: Sequence[Levels]) -> list[Hashes]:
    """Of 64×64 grey pictures: the bits that imagehash's `phash` and `dhash` give, in less than a third of their time.

    Several at once, because for one the calls of NumPy take longer than their work: 0.031 ms a picture of 16, 0.071 of
    one. Only where a frequency is nothing but rounding errors, as in a drawing of straight lines, its bit is 0 here.
    """
    grey = np.stack(smalls).astype(np.float64)
    across = _rounded(grey @ ACROSS)  # picture by picture: a product as large as all of them would start threads
    middle, wider, tiny = across[..., :32], across[..., 32:49], across[..., 49:]
    found = (
        _phash(_rounded(DOWN[32] @ middle)),
        _dhash(_rounded(DOWN[8] @ tiny)),
        _phash(grey),
        _dhash(_rounded(DOWN[16] @ wider)),
    )
    return [Hashes(int(phash, 16), int(dhash, 16), *wide) for phash, dhash, *wide in zip(*found, strict=True)]


def turned_hashes(smalls: Sequence[Levels]) -> list[str]:
    """phash 256 and dhash 256 of each picture laid the seven other ways, in the order of PIL.Image.Transpose."""
    laid = [hashes(list(way)) for way in _turns(np.stack(smalls))]
    return ["".join(each.phash256 + each.dhash256 for each in ways) for ways in zip(*laid, strict=True)]


def _turns(smalls: Levels) -> list[Levels]:
    """(N, 64, 64) mirrored left to right, top to bottom, turned by 90, 180 and 270 degrees, transposed, transversed."""
    across = smalls.transpose(0, 2, 1)
    quarters = [np.rot90(smalls, quarter, (1, 2)) for quarter in (1, 2, 3)]
    return [smalls[:, :, ::-1], smalls[:, ::-1], *quarters, across, across[:, ::-1, ::-1]]


def _rounded(values: Plane) -> Plane:
    """As bytes are: to the nearest whole number, within 0 and 255. In place."""
    values += 0.5
    np.floor(values, out=values)
    return np.clip(values, 0, 255, out=values)


def _phash(grey: Plane) -> list[str]:
    """Which of the lowest frequencies lie above their median. http://www.hackerfactor.com/blog/archives/432.html"""
    cosines = COSINES[grey.shape[1]]
    lowest = np.round(cosines @ grey @ cosines.T, DIGITS).reshape(len(grey), -1)
    half = lowest.shape[1] // 2
    middle = np.partition(lowest, (half - 1, half))[:, half - 1 : half + 1].sum(1, keepdims=True) / 2
    return _hex(lowest > middle)


def _dhash(grey: Plane) -> list[str]:
    """Where it grows brighter from left to right. http://www.hackerfactor.com/blog/archives/529.html"""
    return _hex((grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grey), -1))


def _hex(bits: Bits) -> list[str]:
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


def sharpness(detail: Levels) -> float:
    """Variance of the Laplacian of grey pixels: how much fine detail there is.

    J. L. Pech-Pacheco et al.: Diatom autofocusing in brightfield microscopy, ICPR 2000. Taken at 96×96, so that
    photographs of different resolutions can be compared; under 3 pixels a side there is no detail.
    """
    if min(detail.shape) < 3:
        return 0.0
    values = detail.astype(np.int16)
    laplacian = values[1:-1, 2:] + values[1:-1, :-2]
    laplacian += values[2:, 1:-1]
    laplacian += values[:-2, 1:-1]
    laplacian -= 4 * values[1:-1, 1:-1]
    whole = laplacian.ravel().astype(np.float64)  # whole numbers, and sums of them: the same on any machine
    return float(whole @ whole) / whole.size - (float(whole.sum()) / whole.size) ** 2


def averaged_colour(picture: Image.Image) -> Levels:
    """(16, 16, 3) Y, Cb and Cr of an RGB picture, averaged; empty of a grey one."""
    if picture.mode != "RGB":
        return np.empty((0, 0, 3), np.uint8)
    sampled = picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)  # 16 samples to average are enough, and quick
    return np.asarray(sampled.reduce(SIDE // COLOUR_SIDE).convert("YCbCr"))


def chroma(colour: Levels) -> float:
    """Largest distance of Cb or Cr from grey, 0 to 128."""
    return float(np.abs(colour[..., 1:].astype(np.int16) - 128).max(initial=0))
