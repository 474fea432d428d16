"""Pictures from the shards' own pixels, as data in the page: what the model saw, and not the file it came from."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from manifests.pages.pictures import data_url, webp
from manifests.pixels import PixelContract
from manifests.shards import open_rows

SIDE = 128  # pixels of the longer side at the most


def thumbnail(shards: Path, shard: str, row: int, contract: PixelContract) -> str:
    """One row of a shard as a `data:` address of a WebP picture."""
    pixels = shown(np.asarray(open_rows(shards / shard).images[row]), contract)
    picture = Image.fromarray(pixels[..., 0] if contract.channels == "gray" else pixels)
    return data_url(webp(picture, SIDE))


def shown(row: npt.NDArray[Any], contract: PixelContract) -> npt.NDArray[np.uint8]:
    """(H, W, C) as stored → uint8 in [0, 255]: the normalisation of float shards is undone."""
    if contract.dtype == "uint8":
        return row
    if contract.dtype == "bfloat16":  # kept as its bits: the upper half of a float32
        row = (row.astype(np.uint32) << 16).view(np.float32)
    channels = contract.shape[2]
    mean, deviation = contract.mean or (0.0,) * channels, contract.deviation or (1.0,) * channels
    values = row.astype(np.float32) * np.asarray(deviation, np.float32) + np.asarray(mean, np.float32)
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
