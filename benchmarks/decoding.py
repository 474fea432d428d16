"""What every tool has to do at the least with a photograph: the rivals that extract and transform are held against."""

import io
from pathlib import Path

from PIL import Image

SIZE = 224


def decode(file: str) -> int:
    """What every tool has to do at the least: all pixels of the file."""
    return len(decoded(Path(file).read_bytes()).getbands())


def decoded(data: bytes, least: int | None = None) -> Image.Image:
    """With Pillow; in full, or at the smallest DCT scale with no side below this."""
    with Image.open(io.BytesIO(data)) as image:
        if least is not None:
            image.draft("RGB", (least, least))
        image.load()
        return image


def decode_and_resize(file: str) -> int:
    """The same for the transform: nearest DCT scale, one resize to the size of the shards."""
    return len(square(Path(file).read_bytes()).tobytes())


def square(data: bytes) -> Image.Image:
    image = decoded(data, SIZE)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
