"""A picture of any size → the contract's size, by Pillow's own arithmetic, in operations that leave with the model.

What `etl.images.resized` does to a decoded picture, `Resize` does to a batch of them, to the same levels: each of the
two passes is a multiplication by a matrix whose rows hold the weights of a pixel to be, and its result is rounded. The
weights are Pillow's, in double precision and cut to its 22 bits after the point; with levels of 8 bits, the sums of
float64 are exact. The price is the time: docs/predicting.md has it.
https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from manifests.pixels import PixelContract

WEIGHT_BITS = 22  # of Pillow's weights after the point, for pictures of 8 bits
COLUMNS_FIRST = 13  # the version of Pillow from which on tall pictures are resized by columns first
LUMA = (19595, 38470, 7471)  # Pillow's grey of red, green and blue, in 65,536ths
LUMA_BITS = 16


class Filter(NamedTuple):
    """What a source pixel counts at a distance from the pixel to be, in widths of the coarser of the two."""

    support: float  # where it ends
    weight: Callable[[Tensor], Tensor]


class Span(NamedTuple):
    """One side of the pictures: from where to where it is read, and where its pixels go. All are float64 scalars."""

    start: Tensor  # in source pixels
    end: Tensor
    first: Tensor  # of the pixels to be; those before it, and from `pixels` on, are background
    pixels: Tensor


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' convolution with a = -0.5."""
    x = distance.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((x - 5) * x + 8) * x - 4
    return torch.where(x < 1, near, torch.where(x < 2, -0.5 * far, 0.0))


def _lanczos(distance: Tensor) -> Tensor:
    return torch.where(distance.abs() < 3, _sinc(distance) * _sinc(distance / 3), 0.0)


def _sinc(x: Tensor) -> Tensor:
    turned = x * math.pi
    return torch.where(x == 0, 1.0, torch.sin(turned) / torch.where(x == 0, 1.0, turned))


def _box(distance: Tensor) -> Tensor:
    return ((distance > -0.5) & (distance <= 0.5)).double()


FILTERS = {
    "bilinear": Filter(1, _triangle),
    "bicubic": Filter(2, _cubic),
    "lanczos": Filter(3, _lanczos),
    "box": Filter(0.5, _box),
}


class Resize(nn.Module):
    """(N, H, W, 3) uint8 RGB of any size → (N, height, width, C) uint8 of the contract, before any normalisation."""

    def __init__(self, contract: PixelContract) -> None:
        super().__init__()
        self.contract = contract
        version = re.search(r"pillow (\d+)", contract.decoder)
        self.rows_first = version is not None and int(version[1]) < COLUMNS_FIRST
        self.register_buffer("luma", torch.tensor(LUMA, dtype=torch.int32), persistent=False)
        self.register_buffer("background", background(contract).view(-1, 1, 1), persistent=False)

    luma: Tensor
    background: Tensor

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        values = self._channels(images).permute(0, 3, 1, 2).double()
        down, across = self._spans(_scalar(height), _scalar(width))
        left, right = (
            self._weights(down, height, self.contract.height),
            self._weights(across, width, self.contract.width),
        )
        first = self._is_tall(_scalar(height), _scalar(width), down, across)
        values = _either(first, _columns_first, _rows_first, (values, left, right))
        if self.contract.resize == "pad":
            inside = _inside(down, self.contract.height)[:, None] & _inside(across, self.contract.width)
            values = torch.where(inside, values, self.background)
        return values.permute(0, 2, 3, 1).to(torch.uint8)

    def _is_tall(self, height: Tensor, width: Tensor, down: Span, across: Span) -> Tensor:
        """Whether Pillow passes over the columns first; each pass rounds, so the order is seen in some levels.

        From 13 on it does where the height falls by more than twice what the width does:
        https://github.com/python-pillow/Pillow/pull/9549
        """
        if self.rows_first:
            return torch.zeros((), dtype=torch.bool)
        return (height > down.pixels) & (height - down.pixels > 2 * (width - across.pixels))

    def _channels(self, images: Tensor) -> Tensor:
        if self.contract.channels == "rgb":
            return images
        summed = (images.int() * self.luma).sum(-1, keepdim=True) + (1 << (LUMA_BITS - 1))
        return torch.div(summed, 1 << LUMA_BITS, rounding_mode="floor")

    def _spans(self, height: Tensor, width: Tensor) -> tuple[Span, Span]:
        """What `etl.images.resized` reads and fills, downwards and across."""
        high, wide = self.contract.height, self.contract.width
        if self.contract.resize == "crop":
            scale = torch.minimum(width / wide, height / high)
            return _middle(height, high, scale), _middle(width, wide, scale)
        if self.contract.resize == "pad":
            scale = torch.minimum(wide / width, high / height)
            return _fitted(height, high, scale), _fitted(width, wide, scale)
        return _squashed(height, high), _squashed(width, wide)

    def _weights(self, span: Span, size: int, pixels: int) -> Tensor:
        """(pixels to be, source pixels) float64: each row sums to 1, or is all 0 where there is only background."""
        kind = self.contract.interpolation
        scale = _single(span.end - span.start) / span.pixels
        centres = span.start + (torch.arange(pixels, dtype=torch.float64) - span.first + 0.5)[:, None] * scale
        places = torch.arange(size, dtype=torch.float64)
        if kind == "nearest":
            weights = (centres.floor().clamp(_scalar(0), _scalar(size) - 1) == places).double()
        else:
            spread = scale.clamp(min=1.0)
            support = FILTERS[kind].support * spread
            first, end = (centres - support + 0.5).floor(), (centres + support + 0.5).floor()
            found = FILTERS[kind].weight((places - centres + 0.5) * (1 / spread))
            found = torch.where((places >= first) & (places < end), found, 0.0)
            weights = _cut(found / found.sum(1, keepdim=True))
        return weights * _inside(span, pixels)[:, None]


def background(contract: PixelContract) -> Tensor:
    """(C,) float64: the level of each channel around a padded picture."""
    digits = contract.background.removeprefix("#")
    red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
    if contract.channels == "rgb":
        return torch.tensor([red, green, blue], dtype=torch.float64)
    grey = sum(part * level for part, level in zip(LUMA, (red, green, blue), strict=True)) + (1 << (LUMA_BITS - 1))
    return torch.tensor([grey >> LUMA_BITS], dtype=torch.float64)


def _middle(size: Tensor, pixels: int, scale: Tensor) -> Span:
    """The middle of a side, as much as fits at this scale. Pillow takes its box in single precision."""
    start = ((size - pixels * scale) / 2).clamp(min=0.0)
    return Span(_single(start), _single(size - start), _scalar(0), _scalar(pixels))


def _fitted(size: Tensor, pixels: int, scale: Tensor) -> Span:
    """A whole side, shrunk or grown by the scale, in the middle of the pixels to be."""
    inner = (size * scale).round().clamp(min=1.0)  # to even, as Python rounds
    return Span(_scalar(0), size, ((pixels - inner) / 2).floor(), inner)


def _squashed(size: Tensor, pixels: int) -> Span:
    return Span(_scalar(0), size, _scalar(0), _scalar(pixels))


def _inside(span: Span, pixels: int) -> Tensor:
    """Which of the pixels to be show something of the picture."""
    places = torch.arange(pixels, dtype=torch.float64)
    return (places >= span.first) & (places < span.first + span.pixels)


def _cut(weights: Tensor) -> Tensor:
    """To WEIGHT_BITS after the point, halves away from 0."""
    steps = weights * (1 << WEIGHT_BITS)
    return steps.sign() * (steps.abs() + 0.5).floor() / (1 << WEIGHT_BITS)


def _either(
    condition: Tensor, yes: Callable[..., Tensor], no: Callable[..., Tensor], operands: tuple[Tensor, ...]
) -> Tensor:
    """`yes` of the operands where the condition holds, else `no`; an exported graph makes the choice itself."""
    if torch.compiler.is_exporting():
        return torch.cond(condition, yes, no, operands)
    return (yes if condition else no)(*operands)


def _rows_first(values: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return _whole(left @ _whole(values @ right.mT))


def _columns_first(values: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return _whole(_whole(left @ values) @ right.mT)


def _whole(values: Tensor) -> Tensor:
    """To whole levels, halves up, within 0 to 255."""
    return (values + 0.5).floor().clamp(0, 255)


def _single(value: Tensor) -> Tensor:
    return value.float().double()


def _scalar(value: int) -> Tensor:
    return torch.full((), value, dtype=torch.float64)
