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
# From nothing to most: even steps of lightness in OKLab (Ottosson 2020), so that the order is seen in grey and by
# colour-blind eyes too; the hue turns from blue over red to yellow.
RAMP = (
    (29, 21, 71), (68, 32, 96), (113, 42, 109), (160, 54, 108), (203, 75, 93), (236, 107, 67), (255, 148, 36),
    (255, 195, 49), (250, 241, 110),
)  # fmt: skip
COVER = 0.56  # how much of an overlay is the ramp's; the rest is the photograph's, in grey


def thumbnail(shards: Path, shard: str, row: int, contract: PixelContract) -> str:
    """One row of a shard as a `data:` address of a WebP picture."""
    return data_url(webp(_picture(shards, shard, row, contract), SIDE))


def overlaid(shards: Path, shard: str, row: int, contract: PixelContract, places: npt.NDArray[np.float32]) -> str:
    """The same row, in grey, under the colours of a map (h, w) in [0, 1] of its places."""
    picture = _picture(shards, shard, row, contract).convert("L")
    scale = SIDE / max(picture.size)  # small ones are enlarged, for the map's sake
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    smooth = Image.fromarray(places.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    grey = Image.merge("RGB", [picture.resize(size, Image.Resampling.BICUBIC)] * 3)
    return data_url(webp(Image.blend(grey, Image.fromarray(coloured(np.asarray(smooth))), COVER), SIDE))


def coloured(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """(H, W) in [0, 1] → (H, W, 3): what lies outside is taken for the nearer end."""
    steps = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(values, steps, [colour[c] for colour in RAMP]) for c in range(3)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def _picture(shards: Path, shard: str, row: int, contract: PixelContract) -> Image.Image:
    pixels = shown(np.asarray(open_rows(shards / shard).images[row]), contract)
    return Image.fromarray(pixels[..., 0] if contract.channels == "gray" else pixels)


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
