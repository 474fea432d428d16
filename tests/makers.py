"""Small makers of pictures, files, tables and data sets: all drawn here, nothing downloaded, no fonts."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from etl.pipeline import bring
from etl.steps import Site
from manifests.pixels import PixelContract
from manifests.recipe import Recipe
from manifests.store import DatasetStore, Stage
from manifests.table import EXTRACTED

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
UINT8 = np.uint8


def image(width: int = 64, height: int = 48, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Coloured blocks over a gradient: like no other seed's for a hash, and the same for ever (integers only)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    blocks = generator.integers(0, 200, (6, 8, 3), dtype=np.int64)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    slope = (np.arange(width) * 55 // max(1, width - 1))[None, :, None]
    return Image.fromarray((blocks[rows][:, columns] + slope).astype(UINT8)).convert(mode)


def quarters(width: int = 40, height: int = 20) -> Image.Image:
    """Red, green; blue, white: each a quarter, so that every turn and flip is another picture."""
    values = np.zeros((height, width, 3), UINT8)
    values[: height // 2, : width // 2], values[: height // 2, width // 2 :] = RED, GREEN
    values[height // 2 :, : width // 2], values[height // 2 :, width // 2 :] = BLUE, WHITE
    return Image.fromarray(values)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def jpeg_bytes(width: int = 64, height: int = 48, *, seed: int = 0, quality: int = 90) -> bytes:
    return encoded(image(width, height, seed=seed), "JPEG", quality=quality)


def png_bytes(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    return encoded(image(width, height, seed=seed))


def array(picture: Image.Image) -> npt.NDArray[Any]:
    return np.asarray(picture)


def contract(height: int = 8, width: int | None = None, **changes: Any) -> PixelContract:
    values: dict[str, Any] = {
        "height": height, "width": width or height, "resize": "squash", "interpolation": "bilinear", "channels": "rgb",
        "dtype": "uint8", "decoder": "made up",
    }  # fmt: skip
    return PixelContract(**values | changes)


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def class_folders(root: Path, classes: dict[str, int], *, width: int = 40, height: int = 30, first: int = 0) -> Path:
    """So many distinct PNGs in a folder for each class."""
    seeds = iter(range(first, 1_000_000))
    return write(
        root,
        {
            f"{name}/{number:03}.png": png_bytes(width, height, seed=next(seeds))
            for name, count in classes.items()
            for number in range(count)
        },
    )


def digits(seed: int | str, count: int = 64) -> str:
    """Hex digits that belong to a seed."""
    import hashlib

    text = ""
    while len(text) < count:
        text += hashlib.sha256(f"{seed}/{len(text)}".encode()).hexdigest()
    return text[:count]


def flipped(hexadecimal: str, bits: int) -> str:
    """The same hash, but for so many of its first bits."""
    return f"{int(hexadecimal, 16) ^ (((1 << bits) - 1) << 100):064x}"


def rows(**columns: list[Any]) -> pl.DataFrame:
    """An image table: what is not named is that of distinct, usable 64×48 PNGs of class `a`."""
    count = len(next(iter(columns.values())))
    paths: list[str] = columns.get("path", [f"{number:04}.png" for number in range(count)])
    shas: list[str] = columns.get("sha256", [digits(path) for path in paths])
    values: dict[str, list[Any]] = {
        "path": paths,
        "sha256": shas,
        "label": ["a"] * count,
        "source_split": [None] * count,
        "sampled": [True] * count,
        "bytes": [1000] * count,
        "width": [64] * count,
        "height": [48] * count,
        "format": ["PNG"] * count,
        "mode": ["RGB"] * count,
        "orientation": [1] * count,
        "phash": [int(digits(f"p{sha}", 16), 16) for sha in shas],
        "dhash": [int(digits(f"e{sha}", 16), 16) for sha in shas],
        "phash256": [digits(f"q{sha}") for sha in shas],
        "dhash256": [digits(f"d{sha}") for sha in shas],
        "turned": [None] * count,
        "pixels": [None] * count,
        "luma_mean": [128.0] * count,
        "luma_std": [50.0] * count,
        "luma_low": [40.0] * count,
        "luma_high": [220.0] * count,
        "sharpness": [900.0] * count,
        "chroma": [60.0] * count,
        "animated": [False] * count,
        "problem": [None] * count,
    }
    return pl.DataFrame(values | columns, schema=EXTRACTED)


def recipe(source: Path | str | list[Any], **stages: dict[str, Any]) -> Recipe:
    """A recipe over a source: 16 px shards unless said otherwise."""
    sources = source if isinstance(source, list) else str(source)
    asked: dict[str, Any] = {"dataset": "made", "transform": {"size": 16}} | stages
    asked["extract"] = {"source": sources} | stages.get("extract", {})
    asked["transform"] = {"size": 16} | stages.get("transform", {})
    return Recipe.model_validate(asked)


def site(root: Path, *, workers: int = 0) -> Site:
    return Site(DatasetStore(root / "made"), workers)


def brought(asked: Recipe, root: Path, *, workers: int = 0, until: str = "transform") -> dict[str, Stage]:
    """Every stage made, in the store at `root`."""
    return bring(asked, site(root, workers=workers), until)


def made(asked: Recipe, root: Path, until: str = "transform", *, workers: int = 0) -> list[str]:
    """The stages that had to be made; those that were fresh are left out."""
    remade: list[str] = []
    bring(
        asked, site(root, workers=workers), until, lambda step, _: None if step.is_fresh else remade.append(step.stage)
    )
    return remade


def folder(root: Path, stage: Stage) -> Path:
    return DatasetStore(root / "made").folder(stage.stage, stage.key)


PIXELS: list[dict[str, Any]] = [  # what a transform may be asked for: each resize, each type, each normalisation
    {"size": 16},
    {"size": "12x20", "resize": "pad", "interpolation": "lanczos", "channels": "gray"},
    {"size": 16, "resize": "squash", "dtype": "float16", "normalise": "imagenet"},
    {"size": 16, "dtype": "bfloat16", "normalise": "dataset"},
    {"size": 16, "dtype": "float32", "normalise": "half"},
]
