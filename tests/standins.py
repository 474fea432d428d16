"""The recipes' data sets in miniature: the same folders, lists and names of classes, with pictures of a few pixels.

A picture is smooth noise of (path) alone: all differ, none is like another, and nothing can be learned from them.
"""

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from PIL import Image

PIXELS = (36, 28)  # width, height
CELLS = 6  # of noise each way: coarse enough for a hash to see, fine enough for no two to be alike

FOOD = (
    "apple_pie", "Baked Potato", "burger", "butter_naan", "chai", "chapati", "cheesecake", "chicken_curry",
    "chole_bhature", "Crispy Chicken", "dal_makhani", "dhokla", "Donut", "fried_rice", "Fries", "Hot Dog", "ice_cream",
    "idli", "jalebi", "kaathi_rolls", "kadai_paneer", "kulfi", "masala_dosa", "momos", "omelette", "paani_puri",
    "pakode", "pav_bhaji", "pizza", "samosa", "Sandwich", "sushi", "Taco", "Taquito",
)  # fmt: skip
FOOD_CAPPED = "apple_pie"  # has 404 pictures, the others 5
ANIMALS = (
    "cane", "cavallo", "elefante", "farfalla", "gallina", "gatto", "mucca", "pecora", "ragno", "scoiattolo",
)  # fmt: skip
POKEMON = tuple(f"Pokemon{number:03d}" for number in range(1, 151))
SKETCHES = tuple(f"thing {number}" for number in range(250))
WNIDS = tuple(f"n{1_440_000 + 7 * number:08d}" for number in range(200))


def drawn(path: str, mode: str = "RGB") -> bytes:
    """A picture for this path, in the format of its suffix."""
    depth = len(mode)
    noise = Image.frombytes(mode, (CELLS, CELLS), Random(path).randbytes(CELLS * CELLS * depth))
    data = io.BytesIO()
    noise.resize(PIXELS, Image.Resampling.BICUBIC).save(data, "PNG" if path.endswith(".png") else "JPEG")
    return data.getvalue()


def _fill(root: Path, paths: Iterable[str], mode: str = "RGB") -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(drawn(path, mode))
    return root


def _write(root: Path, name: str, lines: Iterable[str]) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")


def food15(root: Path) -> list[str]:
    """34 class folders, one of them over the cap."""
    sizes = {name: 404 if name == FOOD_CAPPED else 5 for name in FOOD}
    _fill(root, (f"{name}/{number:03d}.jpg" for name, size in sizes.items() for number in range(size)))
    return [str(root)]


def animals5(root: Path) -> list[str]:
    """Ten Italian class folders under `raw-img`, with a script beside them."""
    _fill(root, (f"raw-img/{name}/OIP-{number}.jpeg" for name in ANIMALS for number in range(10)))
    _write(root, "translate.py", ['translate = {"cane": "dog"}'])
    return [str(root)]


def pokemon150(root: Path) -> list[str]:
    """150 class folders, unequal."""
    sizes = {name: 5 + index % 3 for index, name in enumerate(POKEMON)}
    _fill(root, (f"{name}/{number}.jpg" for name, size in sizes.items() for number in range(size)))
    return [str(root)]


def sketches250(root: Path) -> list[str]:
    """250 class folders of grey PNGs under `png`, train.txt, test.txt and mapping.txt."""
    paths = [[f"png/{name}/{250 * number + index}.png" for number in range(6)] for index, name in enumerate(SKETCHES)]
    _fill(root, (path for each in paths for path in each), "L")
    _write(root, "train.txt", (f"{path}\t{index}" for index, each in enumerate(paths) for path in each[:5]))
    _write(root, "test.txt", (f"{path}\t{index}" for index, each in enumerate(paths) for path in each[5:]))
    _write(root, "mapping.txt", (f"{name}\t{index}" for index, name in enumerate(SKETCHES)))
    return [str(root)]


def tinyimagenet200(root: Path) -> list[str]:
    """The folders and lists of the set as it is downloaded, with its boxes and its unlabelled test."""
    top = root / "tiny-imagenet-200"
    _fill(top, (f"train/{wnid}/images/{wnid}_{number}.JPEG" for wnid in WNIDS for number in range(5)))
    _fill(
        top,
        (f"{part}/images/{part}_{number}.JPEG" for part, size in (("val", 200), ("test", 7)) for number in range(size)),
    )
    for wnid in WNIDS:
        _write(top, f"train/{wnid}/{wnid}_boxes.txt", (f"{wnid}_{number}.JPEG\t0\t0\t9\t9" for number in range(5)))
    _write(top, "val/val_annotations.txt", (f"val_{n}.JPEG\t{wnid}\t0\t0\t9\t9" for n, wnid in enumerate(WNIDS)))
    _write(top, "wnids.txt", reversed(WNIDS))
    _write(top, "words.txt", ["n00001740\tentity", *(f"{wnid}\t{word(wnid)}, another name" for wnid in WNIDS)])
    return [str(root)]


def word(wnid: str) -> str:
    return f"noun {wnid[-4:]}"


def text2(root: Path) -> list[str]:
    """Two folders without classes, one with folders of its own; more pictures than the sample takes."""
    _fill(root / "signs", (f"street {number % 3}/{number}.jpg" for number in range(205)))
    _fill(root / "scenes", (f"{number}.jpg" for number in range(201)))
    return [f"text={root / 'signs'}", f"no_text={root / 'scenes'}"]


STANDINS: dict[str, Callable[[Path], list[str]]] = {
    "animals5": animals5,
    "food15": food15,
    "pokemon150": pokemon150,
    "sketches250": sketches250,
    "text2": text2,
    "tinyimagenet200": tinyimagenet200,
}  # recipe → draws its source below a folder, and gives what `--source` names
