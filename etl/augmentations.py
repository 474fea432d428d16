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
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from manifests.errors import Exit, UserError, known

Matrix = npt.NDArray[np.float64]  # 3×3: from a point of the result to a point of the picture, both in [-1, 1]²
Parameters = list[Any]  # what was drawn; plain JSON

DIGITS = 6  # of drawn numbers: enough for any pixel, and the same text everywhere
FLIPS = ("horizontal", "vertical", "both")
GREY = 128  # of an erased box, 0 to 255
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


def _affine(a: float, b: float, c: float, d: float, e: float, f: float) -> Matrix:
    return np.array([[a, b, c], [d, e, f], [0, 0, 1]], np.float64)


def _rotate(degrees: float) -> Matrix:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return _affine(cos, sin, 0, -sin, cos, 0)


def _scale(factor: float) -> Matrix:
    return _affine(1 / factor, 0, 0, 0, 1 / factor, 0)


def _shift(x: float, y: float) -> Matrix:
    return _affine(1, 0, -2 * x, 0, 1, -2 * y)


def _flip(across: int, down: int) -> Matrix:
    return _affine(1 - 2 * across, 0, 0, 0, 1 - 2 * down, 0)


def _crop(side: float, x: float, y: float) -> Matrix:
    return _affine(side, 0, x, 0, side, y)


def _shear(degrees: float) -> Matrix:
    return _affine(1, math.tan(math.radians(degrees)), 0, 0, 1, 0)


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
    values = np.asarray(image)
    noise = np.random.default_rng(seed).normal(0, deviation, values.shape)
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
    matrix = np.eye(3)
    for name, *values in parameters:
        if of := OPERATIONS[name].matrix:
            own = of(*values)
            own[0, 2] *= image.width / image.height  # a share of the width is meant, in units of half the height
            matrix = matrix @ own
    image = _resampled(image, matrix) if not np.array_equal(matrix, np.eye(3)) else image
    for name, *values in parameters:
        if apply := OPERATIONS[name].apply:
            image = apply(image, *values)
    return image


def _resampled(image: Image.Image, matrix: Matrix) -> Image.Image:
    """One bicubic resampling; what lies beyond the border is the picture's mirror image."""
    width, height = image.size
    to_unit = _affine(2 / width, 0, -1, 0, 2 / height, -1)
    aspect = _affine(width / height, 0, 0, 0, 1, 0)  # turn and shear in a square world, whatever the picture's shape
    matrix = np.linalg.inv(to_unit) @ np.linalg.inv(aspect) @ matrix @ aspect @ to_unit
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    beyond = [-corners[0].min(), corners[0].max() - width, -corners[1].min(), corners[1].max() - height]
    margin = max(0, math.ceil(max(beyond))) + 2  # two more for the filter's reach
    sides = ((margin, margin), (margin, margin), (0, 0))
    padded = Image.fromarray(np.pad(np.asarray(image), sides[: np.asarray(image).ndim], mode="symmetric"))
    shifted = _affine(1, 0, margin, 0, 1, margin) @ matrix
    return padded.transform(image.size, Image.Transform.AFFINE, shifted[:2].ravel().tolist(), Image.Resampling.BICUBIC)
