"""The graph's resize against Pillow's: the same levels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from etl.images import array, resized
from tests.makers import contract
from training.resizing import Resize

RESIZES = ("crop", "pad", "squash")
FILTERS = ("bilinear", "bicubic", "lanczos", "box")


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def both(levels: npt.NDArray[np.uint8], **values: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What the graph makes of a picture, and what Pillow does: (height, width, C)."""
    pixels = contract(**values)
    picture = Image.fromarray(levels)
    pillow = array(resized(picture if pixels.channels == "rgb" else picture.convert("L"), pixels), pixels)
    ours = Resize(pixels)(torch.from_numpy(levels)[None])[0].numpy()
    assert ours.dtype == pillow.dtype == np.uint8
    return ours.astype(np.int64), pillow.astype(np.int64)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_it_is_pillows_resize(resize: str, interpolation: str, channels: str):
    for number, (height, width) in enumerate([(1, 1), (7, 5), (24, 40), (48, 80), (300, 300), (211, 413), (37, 1000)]):
        ours, pillow = both(
            noise(height, width, number), height=24, width=40, resize=resize, interpolation=interpolation,
            channels=channels, background="#1278f0",
        )  # fmt: skip
        assert ours.tolist() == pillow.tolist()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(24, 40), (48, 80), (7, 5), (100, 333)])
def test_nearest_takes_the_same_pixels(resize: str, size: tuple[int, int]):
    ours, pillow = both(noise(*size), height=24, width=40, resize=resize, interpolation="nearest")
    assert ours.tolist() == pillow.tolist()


@given(
    height=st.integers(1, 160), width=st.integers(1, 160),
    resize=st.sampled_from(RESIZES), kind=st.sampled_from(FILTERS),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_pillows_resize_for_any_size(height: int, width: int, resize: str, kind: str, seed: int):
    ours, pillow = both(noise(height, width, seed), height=16, resize=resize, interpolation=kind)
    assert ours.tolist() == pillow.tolist()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1000, 37), (100, 37), (400, 200), (72, 40)])
def test_of_a_tall_picture_the_columns_come_first_as_in_new_pillows(resize: str, size: tuple[int, int]):
    decoder = f"pixels 1, pillow {PIL.__version__}"
    ours, pillow = both(noise(*size), height=24, width=40, resize=resize, decoder=decoder)
    assert ours.tolist() == pillow.tolist()


def test_pixels_of_an_older_pillow_have_their_rows_first():
    tall = torch.from_numpy(noise(1000, 37))[None]
    older, newer = (Resize(contract(24, 40, decoder=f"pixels 1, pillow {v}"))(tall) for v in ("12.1.0", "13.0.0"))
    assert 0 < (older != newer).float().mean() < 0.5


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", [*FILTERS, "nearest"])
def test_a_picture_of_the_right_size_is_left_as_it_is(resize: str, interpolation: str):
    levels = noise(12, 20)
    pixels = contract(12, 20, resize=resize, interpolation=interpolation)
    assert Resize(pixels)(torch.from_numpy(levels)[None])[0].tolist() == levels.tolist()


def test_all_pictures_of_a_batch_are_resized_alike():
    levels = np.stack([noise(30, 50, seed) for seed in range(3)])
    resize = Resize(contract(16, resize="crop"))
    together = resize(torch.from_numpy(levels))
    assert together.tolist() == [resize(torch.from_numpy(one)[None])[0].tolist() for one in levels]


@pytest.mark.parametrize(("channels", "level"), [("rgb", [18, 120, 240]), ("gray", [103])])
def test_around_a_padded_picture_is_the_background(channels: str, level: list[int]):
    levels = np.zeros((10, 40, 3), np.uint8)
    pixels = contract(16, resize="pad", channels=channels, background="#1278f0")
    found = Resize(pixels)(torch.from_numpy(levels)[None])[0]
    assert found[0, 0].tolist() == found[-1, -1].tolist() == level
    assert found[6:10].max().item() == 0
