"""The augmentations by name: what each draws, and what it does to a picture.

An operation draws its parameters from a generator that belongs to one view of one image, and later applies them to
pixels. The geometric ones give a matrix; all matrices of a view are multiplied and the picture is resampled once, with
its own mirror image beyond the border. To add one: a class with `draw` and `apply` (or `matrix`) in OPERATIONS, and its
test.
"""

import math
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from manifests.errors import Exit, UserError, known

# a b c d e f: from a point (x, y) of the result to (ax + by + c, dx + ey + f) in the picture, both in [-1, 1]². In
# Python's own floats: a linear algebra library may differ in the last bit from machine to machine.
Matrix = tuple[float, float, float, float, float, float]
Parameters = list[Any]  # what was drawn; plain JSON

DIGITS = 6  # of drawn numbers: enough for any pixel, and the same text everywhere
FLIPS = ("horizontal", "vertical", "both")
GREY = 128  # of an erased box, 0 to 255
BYTES_MEAN, BYTES_DEVIATION = 1020, math.sqrt(8 * (256**2 - 1) / 12)  # of the sum of eight uniform bytes
SHARE = "share at the most, either way"
REFERENCE = 224  # pixels of the shorter side at which a blur radius is meant


class Operation(NamedTuple):
    """One augmentation. `strength` is what a policy states; exactly one of `matrix` and `apply` is given."""

    unit: str  # what the strength means, for help and errors
    default: Any
    accepts: Callable[[Any], bool]
    draw: Callable[[Any, Random], Parameters]
    matrix: Callable[..., Matrix] | None = None
    apply: Callable[..., Image.Image] | None = None


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low < value <= high


def _around(centre: float) -> Callable[[float, Random], Parameters]:
    """One number, uniform within ± strength of the centre."""
    return lambda strength, random: [round(random.uniform(centre - strength, centre + strength), DIGITS)]


IDENTITY: Matrix = (1, 0, 0, 0, 1, 0)


def _product(one: Matrix, other: Matrix) -> Matrix:
    """First the other, then the one."""
    a, b, c, d, e, f = one
    g, h, i, j, k, m = other
    return a * g + b * j, a * h + b * k, a * i + b * m + c, d * g + e * j, d * h + e * k, d * i + e * m + f


def _rotate(degrees: float) -> Matrix:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cos, sin, 0, -sin, cos, 0


def _scale(factor: float) -> Matrix:
    return 1 / factor, 0, 0, 0, 1 / factor, 0


def _shift(x: float, y: float) -> Matrix:
    return 1, 0, -2 * x, 0, 1, -2 * y


def _flip(across: int, down: int) -> Matrix:
    return 1 - 2 * across, 0, 0, 0, 1 - 2 * down, 0


def _crop(side: float, x: float, y: float) -> Matrix:
    return side, 0, x, 0, side, y


def _shear(degrees: float) -> Matrix:
    return 1, math.tan(math.radians(degrees)), 0, 0, 1, 0


def _is_flip(value: Any) -> bool:
    return value in FLIPS


def _up_to(most: float, random: Random) -> Parameters:
    return [round(random.uniform(0, most), DIGITS)]


def _draw_shift(most: float, random: Random) -> Parameters:
    return [round(random.uniform(-most, most), DIGITS) for _ in range(2)]


def _draw_flip(kind: str, random: Random) -> Parameters:
    """Each direction asked for, with one chance in two."""
    across, down = random.random() < 0.5, random.random() < 0.5
    return [int(across and kind != "vertical"), int(down and kind != "horizontal")]


def _draw_crop(least: float, random: Random) -> Parameters:
    """Side of the kept square part, and its centre: all in units of the picture's side, centre from its middle."""
    side = math.sqrt(random.uniform(least, 1))
    return [round(v, DIGITS) for v in (side, *(random.uniform(side - 1, 1 - side) for _ in range(2)))]


def _draw_noise(most: float, random: Random) -> Parameters:
    return [round(random.uniform(0, most), DIGITS), random.getrandbits(32)]


def _draw_erase(most: float, random: Random) -> Parameters:
    """Left, top, width, height of a box of at most this share of the area, in units of the picture's sides."""
    area, aspect = random.uniform(most / 4, most), random.uniform(0.5, 2)
    width, height = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
    return [round(v, DIGITS) for v in (random.uniform(0, 1 - width), random.uniform(0, 1 - height), width, height)]


def _enhance(kind: Callable[[Image.Image], Any]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, factor: kind(image).enhance(factor)


def _saturate(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor) if image.mode == "RGB" else image


def _blur(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius * min(image.size) / REFERENCE))


def _noise(image: Image.Image, deviation: float, seed: int) -> Image.Image:
    """Near-normal noise, a sum of eight uniform bytes a value: whole numbers, so the same on every machine."""
    values = np.asarray(image)
    draws = np.random.PCG64(seed).random_raw(values.size).astype("<u8").view(np.uint8).reshape(-1, 8)
    noise = (draws.sum(1, dtype=np.int64) - BYTES_MEAN).reshape(values.shape) * (deviation / BYTES_DEVIATION)
    return Image.fromarray(np.clip(np.rint(values + noise), 0, 255).astype(np.uint8))


def _erase(image: Image.Image, left: float, top: float, width: float, height: float) -> Image.Image:
    x, y = round(left * image.width), round(top * image.height)
    box = (x, y, x + max(1, round(width * image.width)), y + max(1, round(height * image.height)))
    erased = image.copy()
    erased.paste(GREY if image.mode == "L" else (GREY,) * 3, box)
    return erased


OPERATIONS: dict[str, Operation] = {
    "rotate": Operation("degrees at the most, either way", 15, _number(0, 180), _around(0), matrix=_rotate),
    "scale": Operation("share it grows or shrinks by at the most", 0.1, _number(0, 0.9), _around(1), matrix=_scale),
    "shift": Operation("share of the side at the most, either way", 0.1, _number(0, 1), _draw_shift, matrix=_shift),
    "flip": Operation("horizontal, vertical or both", "horizontal", _is_flip, _draw_flip, matrix=_flip),
    "crop": Operation("least share of the area that stays", 0.8, _number(0, 1), _draw_crop, matrix=_crop),
    "shear": Operation("degrees at the most, either way", 10, _number(0, 60), _around(0), matrix=_shear),
    "brightness": Operation(SHARE, 0.2, _number(0, 1), _around(1), apply=_enhance(ImageEnhance.Brightness)),
    "contrast": Operation(SHARE, 0.2, _number(0, 1), _around(1), apply=_enhance(ImageEnhance.Contrast)),
    "saturation": Operation(SHARE, 0.2, _number(0, 1), _around(1), apply=_saturate),
    "blur": Operation("radius at the most, in pixels of a 224 px picture", 1.0, _number(0, 20), _up_to, apply=_blur),
    "noise": Operation("deviation at the most, in levels of 0 to 255", 8, _number(0, 128), _draw_noise, apply=_noise),
    "erase": Operation("share of the area at the most", 0.1, _number(0, 0.8), _draw_erase, apply=_erase),
}

PRESETS: dict[str, dict[str, Any]] = {
    "light": {"flip": "horizontal", "rotate": 10, "scale": 0.1, "shift": 0.05, "brightness": 0.1, "contrast": 0.1},
    "strong": {
        "flip": "horizontal", "rotate": 20, "crop": 0.6, "shear": 8, "brightness": 0.3, "contrast": 0.3,
        "saturation": 0.3, "blur": 1.0, "erase": 0.15,
    },
}  # fmt: skip


def policy(asked: str | dict[str, Any], place: str) -> dict[str, Any]:
    """Operation → strength, in the order stated. Raises UserError (exit 3) naming place, value and what is known."""
    if isinstance(asked, str):
        if asked in PRESETS:
            return PRESETS[asked]
        parts = [part.strip().partition(":") for part in asked.split(",") if part.strip()]
        asked = {name: _value(text) if sign else None for name, sign, text in parts}
    stated: dict[str, Any] = {}
    for name, strength in asked.items():
        if name not in OPERATIONS:
            raise UserError(
                f"{place}: unknown augmentation {name!r}. {known(name, [*OPERATIONS, *PRESETS])}", Exit.RECIPE
            )
        operation = OPERATIONS[name]
        stated[name] = operation.default if strength is None or strength is True else strength
        if not operation.accepts(stated[name]):
            raise UserError(
                f"{place}: {name} = {strength!r}: expected {operation.unit}, such as {operation.default}.", Exit.RECIPE
            )
    if not stated:
        raise UserError(f"{place}: names no augmentation. {known('', [*PRESETS, *OPERATIONS])}", Exit.RECIPE)
    return stated


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def drawn(stated: dict[str, Any], random: Random) -> list[Parameters]:
    """The parameters of one view: [operation, parameter…] for each operation of the policy."""
    return [[name, *OPERATIONS[name].draw(strength, random)] for name, strength in stated.items()]


def augmented(image: Image.Image, parameters: list[Parameters]) -> Image.Image:
    """The picture under these operations, same size and mode: geometry first and at once, then the others in order."""
    matrix, aspect = IDENTITY, image.width / image.height
    for name, *values in parameters:
        if of := OPERATIONS[name].matrix:
            a, b, c, d, e, f = of(*values)
            matrix = _product(matrix, (a, b, c * aspect, d, e, f))  # a share of the width, in units of half the height
    image = _resampled(image, matrix)
    for name, *values in parameters:
        if apply := OPERATIONS[name].apply:
            image = apply(image, *values)
    return image


MIRRORED: dict[tuple[float, ...], Image.Transpose] = {  # these move whole pixels: nothing is resampled
    (-1, 0, 0, 0, 1, 0): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, 0, -1, 0): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, 0, -1, 0): Image.Transpose.ROTATE_180,
}


def _resampled(image: Image.Image, matrix: Matrix) -> Image.Image:
    """At most one bicubic resampling; what lies beyond the border is the picture's mirror image."""
    if matrix == IDENTITY:
        return image
    if matrix in MIRRORED:
        return image.transpose(MIRRORED[matrix])
    width, height = image.size
    # From pixels to a square world [-1, 1] high, where turning and shearing mean the same for every shape, and back.
    to_unit: Matrix = (2 / height, 0, -width / height, 0, 2 / height, -1)
    to_pixels: Matrix = (height / 2, 0, width / 2, 0, height / 2, height / 2)
    moved = _product(to_pixels, _product(matrix, to_unit))
    a, b, c, d, e, f = moved
    across = [c, a * width + c, b * height + c, a * width + b * height + c]
    down = [f, d * width + f, e * height + f, d * width + e * height + f]
    beyond = max(-min(across), max(across) - width, -min(down), max(down) - height)
    margin = max(0, math.ceil(round(beyond, 6))) + 2  # two more for the filter's reach
    sides = ((margin, margin), (margin, margin), (0, 0))
    padded = Image.fromarray(np.pad(np.asarray(image), sides[: np.asarray(image).ndim], mode="symmetric"))
    coefficients = [round(v, 9) for v in (a, b, c + margin, d, e, f + margin)]
    return padded.transform(image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
