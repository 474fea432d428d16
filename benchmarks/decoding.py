"""What every tool has to do at the least with a photograph: the rivals that extract and transform are held against."""

import io
from pathlib import Path

from PIL import Image

SIZE = 224


def decode(file: str) -> int:
    """What every tool has to do at the least: all pixels of the file."""
    with Image.open(io.BytesIO(Path(file).read_bytes())) as image:
        image.load()
        return image.width


def decode_and_resize(file: str) -> int:
    """The same for the transform: nearest DCT scale, one resize to the size of the shards."""
    with Image.open(io.BytesIO(Path(file).read_bytes())) as image:
        image.draft("RGB", (SIZE, SIZE))
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return len(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box).tobytes())
