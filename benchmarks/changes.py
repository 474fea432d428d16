"""What happens to a photograph on its way through the world: 28 changes, each from an RGB picture to a file's bytes."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Change = Callable[[Image.Image], bytes]


def stored(picture: Image.Image, kind: str = "JPEG", **more: Any) -> bytes:
    """As a file: JPEG of quality 90 unless said otherwise."""
    out = io.BytesIO()
    picture.save(out, kind, **({"quality": 90} if kind == "JPEG" else {}) | more)
    return out.getvalue()


def scaled(factor: float) -> Change:
    return lambda p: stored(p.resize((round(p.width * factor), round(p.height * factor)), Image.Resampling.BICUBIC))


def thumbnail(side: int) -> Change:
    def change(picture: Image.Image) -> bytes:
        small = picture.copy()
        small.thumbnail((side, side))
        return stored(small)

    return change


def gamma(power: float) -> Change:
    return lambda p: stored(p.point([round(255 * (level / 255) ** power) for level in range(256)] * 3))


def enhanced(kind: Callable[[Image.Image], Any], factor: float) -> Change:
    return lambda p: stored(kind(p).enhance(factor))


def cropped(share: float) -> Change:
    """So much of each side gone, all around."""

    def change(picture: Image.Image) -> bytes:
        left, top = round(picture.width * share), round(picture.height * share)
        return stored(picture.crop((left, top, picture.width - left, picture.height - top)))

    return change


def captioned(share: float) -> Change:
    """A black bar with white words over the lowest part of the picture."""

    def change(picture: Image.Image) -> bytes:
        marked, top = picture.copy(), round(picture.height * (1 - share))
        draw = ImageDraw.Draw(marked)
        draw.rectangle((0, top, marked.width, marked.height), fill=(0, 0, 0))
        size = max(8, round(0.7 * share * picture.height))
        draw.text((marked.width // 20, top), "for sale, as good as new", fill=(255, 255, 255), font_size=size)
        return stored(marked)

    return change


def watermarked(picture: Image.Image) -> bytes:
    """Half transparent words across the middle."""
    over = Image.new("RGBA", picture.size)
    size = picture.width // 8
    place = (picture.width // 10, picture.height // 2)
    ImageDraw.Draw(over).text(place, "photo stock", fill=(255, 255, 255, 110), font_size=size)
    return stored(Image.alpha_composite(picture.convert("RGBA"), over).convert("RGB"))


def noisy(deviation: float) -> Change:
    def change(picture: Image.Image) -> bytes:
        values = np.asarray(picture, np.float32)
        noise = np.random.default_rng(0).normal(0, deviation, values.shape)
        return stored(Image.fromarray(np.clip(values + noise, 0, 255).astype(np.uint8)))

    return change


def sideways(picture: Image.Image) -> bytes:
    """Stored turned, with the turn in the EXIF block, as a phone does it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return stored(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)


CHANGES: dict[str, Change] = {
    "JPEG quality 90": lambda p: stored(p, quality=90),
    "JPEG quality 50": lambda p: stored(p, quality=50),
    "JPEG quality 30": lambda p: stored(p, quality=30),
    "JPEG quality 10": lambda p: stored(p, quality=10),
    "PNG": lambda p: stored(p, "PNG"),
    "WebP quality 80": lambda p: stored(p, "WEBP", quality=80),
    "EXIF-rotated": sideways,
    "half size": scaled(0.5),
    "one and a half size": scaled(1.5),
    "128 px thumbnail": thumbnail(128),
    "64 px thumbnail": thumbnail(64),
    "gamma 0.7": gamma(0.7),
    "gamma 1.4": gamma(1.4),
    "brightness + 20 %": enhanced(ImageEnhance.Brightness, 1.2),
    "brightness - 20 %": enhanced(ImageEnhance.Brightness, 0.8),
    "contrast + 20 %": enhanced(ImageEnhance.Contrast, 1.2),
    "contrast - 20 %": enhanced(ImageEnhance.Contrast, 0.8),
    "grey": lambda p: stored(ImageOps.grayscale(p)),
    "blur, radius 2": lambda p: stored(p.filter(ImageFilter.GaussianBlur(2))),
    "noise, deviation 10": noisy(10),
    "watermark": watermarked,
    "caption bar 6 %": captioned(0.06),
    "frame of 3 %": lambda p: stored(ImageOps.expand(p, round(0.03 * p.width), (255, 255, 255))),
    "crop 2 %": cropped(0.01),
    "crop 5 %": cropped(0.025),
    "crop 10 %": cropped(0.05),
    "turned by 2 degrees": lambda p: stored(p.rotate(2, Image.Resampling.BICUBIC)),
    "mirrored": lambda p: stored(ImageOps.mirror(p)),
}
