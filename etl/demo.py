"""The demo's data set: pictures of six things from a cupboard, drawn here, with faults planted among them.

`plant` draws the pictures and plants the faults; `findings` says, fault by fault, whether extract and curate found it.
The recipe is `manifests/recipes/demo.toml`. A picture is made of (seed, class, number) alone.
"""

import colorsys
import io
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image, ImageDraw, ImageFilter

from manifests.digests import rank
from manifests.table import kept

Colour = tuple[int, int, int]
Plane = npt.NDArray[np.floating[Any]]  # (H, W), 32 bits where it matters for speed
Point = tuple[float, float]  # in units of the thing's own square, (0, 0) its upper left corner

CLASSES = {"bottle": 150, "cup": 90, "jar": 36, "pan": 84, "plate": 78, "spoon": 84}  # pictures drawn of each
LARGE, SMALL = "bottle", "jar"  # the class that a cap thins, and the one that it must not touch
SHORT_SIDE = (120, 230)  # pixels
ASPECTS = (1.0, 4 / 3, 3 / 4, 3 / 2)  # width : height
OVERSAMPLED = 2  # PIL's shapes are not antialiased: things are drawn this much larger and scaled down
QUALITY = 88  # of the JPEGs
TOO_WIDE = 12_000  # pixels each way: together over the 100 million that extract accepts
ORIENTATION, SIDEWAYS = 0x0112, 6  # EXIF tag, and its value for a camera that was held upright


class Copy(NamedTuple):
    """A file that shows what another one shows."""

    path: str
    of: str


@dataclass(frozen=True)
class Planted:
    """What lies in the folder; paths are relative to it."""

    folder: Path
    drawn: dict[str, int]  # class → pictures that are like no other
    large: str  # the class with the most
    small: str  # the class with the fewest
    exact: tuple[Copy, ...]  # identical bytes, same class
    near: tuple[Copy, ...]  # smaller and compressed again: as JPEG, PNG, WebP, and stored sideways
    conflict: Copy  # identical bytes, another class
    sideways: tuple[str, int, int]  # a photo stored sideways; its width and height once it is turned
    unusable: dict[str, str]  # path → why, in extract's words
    system: tuple[str, ...]  # what an operating system leaves behind: no images

    @property
    def files(self) -> int:
        """Those that the image table has a row of: all but the system's."""
        copies = len(self.exact) + len(self.near) + 1
        return sum(self.drawn.values()) + copies + 1 + len(self.unusable)  # 1: the sideways photo


class Finding(NamedTuple):
    """What was planted, what was found, and whether the two are the same."""

    planted: str
    found: str
    agrees: bool


def plant(folder: Path, seed: int = 0) -> Planted:
    """Draw the pictures into class folders and plant the faults. Files that bear the same names are replaced."""
    for name, pictures in CLASSES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            _save(folder / _path(name, number), picture(name, seed, number))
    more = (picture("cup", seed, number) for number in count(CLASSES["cup"]))
    photo = next(each for each in more if each.width != each.height)  # of a square one, nobody sees how it lies
    _save(folder / "cup/held upright.jpg", photo, sideways=True)
    return Planted(
        folder=folder,
        drawn=dict(CLASSES),
        large=LARGE,
        small=SMALL,
        exact=tuple(_copied(folder, *one) for one in (("cup", 3), ("plate", 11), ("plate", 12), ("bottle", 20))),
        near=(
            _again(folder, _path("cup", 40), "cup/thumbnail.jpg", 0.6),
            _again(folder, _path("spoon", 12), "spoon/export.png", 0.8),
            _again(folder, _path("bottle", 33), "bottle/from the web.webp", 0.7),
            _again(folder, _path("pan", 50), "pan/from the phone.jpg", 0.9, sideways=True),
        ),
        conflict=_write(folder, "plate/looks like a plate.jpg", _path("pan", 7)),
        sideways=("cup/held upright.jpg", *photo.size),
        unusable=_spoiled(folder),
        system=_left_behind(folder),
    )


def _path(name: str, number: int) -> str:
    return f"{name}/{name}-{number:03d}.jpg"


def _save(file: Path, image: Image.Image, *, sideways: bool = False, quality: int = QUALITY) -> None:
    """In the format of the suffix; `sideways` as a phone does it, with the turn in the EXIF block."""
    exif = Image.Exif()
    if sideways:
        exif[ORIENTATION] = SIDEWAYS
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(file, quality=quality, exif=exif)


def _write(folder: Path, path: str, of: str) -> Copy:
    (folder / path).write_bytes((folder / of).read_bytes())
    return Copy(path, of)


def _copied(folder: Path, name: str, number: int) -> Copy:
    return _write(folder, _path(name, number).replace(".jpg", "_copy.jpg"), _path(name, number))


def _again(folder: Path, of: str, path: str, scale: float, *, sideways: bool = False) -> Copy:
    """Scaled down and compressed again: no byte is the same, and hardly a difference to be seen."""
    with Image.open(folder / of) as image:
        size = round(image.width * scale), round(image.height * scale)
        _save(folder / path, image.resize(size, Image.Resampling.LANCZOS), sideways=sideways, quality=60)
    return Copy(path, of)


def _spoiled(folder: Path) -> dict[str, str]:
    """Files that no image can be had from."""
    whole = (folder / _path("spoon", 1)).read_bytes()
    wide = io.BytesIO()
    Image.new("1", (TOO_WIDE, TOO_WIDE)).save(wide, "PNG")
    files = {
        "spoon/half a download.jpg": (whole[: len(whole) // 2], "truncated"),
        "jar/empty.jpg": (b"", "empty"),
        "bottle/poster.png": (wide.getvalue(), f"too many pixels: {TOO_WIDE}×{TOO_WIDE} is over 100,000,000"),
        "cup/shopping list.txt": (b"flour, salt, two lemons\n", "not an image"),
    }
    for path, (data, _) in files.items():
        (folder / path).write_bytes(data)
    return {path: why for path, (_, why) in files.items()}


def _left_behind(folder: Path) -> tuple[str, ...]:
    files = {".DS_Store": b"\0\0\0\1Bud1", "plate/Thumbs.db": b"\xd0\xcf\x11\xe0"}
    for path, data in files.items():
        (folder / path).write_bytes(data)
    return tuple(files)


def findings(planted: Planted, table: pl.DataFrame, counts: dict[str, Any]) -> list[Finding]:
    """Each fault against the curated image table; `counts` are those of the extract stage."""
    why: dict[str, str | None] = dict(table.select("path", "rejected").iter_rows())
    exact = {copy.path: f"duplicate: identical to {copy.of}" for copy in planted.exact}
    near = {copy.path: f"near duplicate: … bits from {copy.of}" for copy in planted.near}
    conflict = _conflict(planted.conflict)
    unusable = {path: f"unusable: {text}" for path, text in planted.unusable.items()}
    system = len(planted.system)
    return [
        _every_file(planted, table),
        _rejected(f"{len(exact)} exact duplicates", exact, why),
        _rejected(f"{len(near)} near duplicates", near, why),
        _rejected("1 image under two classes", conflict, why),
        _rejected(f"{len(unusable)} unusable files", unusable, why),
        _no_more(exact | near | conflict | unusable, why),
        _turned(planted.sideways, table),
        _thinned(planted, table),
        Finding(
            f"{system} files of operating systems",
            f"{counts['system_files']} counted apart",
            counts["system_files"] == system,
        ),
    ]


def _every_file(planted: Planted, table: pl.DataFrame) -> Finding:
    stay, gone = kept(table).height, table["rejected"].count()
    agrees = stay + gone == planted.files == table["path"].n_unique()
    return Finding(f"{planted.files} files", f"{table.height}: {stay} kept, {gone} rejected", agrees)


def _rejected(what: str, expected: dict[str, str], why: dict[str, str | None]) -> Finding:
    """Whether each path was rejected for just this reason; `…` in it stands for how many bits differ, of how many."""
    patterns = {path: re.escape(reason).replace("…", r"\d+ of \d+") for path, reason in expected.items()}
    wrong = [path for path, pattern in patterns.items() if not re.fullmatch(pattern, why.get(path) or "")]
    kind = next(iter(expected.values())).partition(":")[0]
    found = f"{len(expected) - len(wrong)} rejected as {kind}"
    return Finding(what, "; ".join([found, *(f"{path}: {why.get(path) or 'kept'}" for path in wrong)]), not wrong)


def _conflict(twins: Copy) -> dict[str, str]:
    """Path → reason, of both."""
    return {
        path: f"label conflict: identical to {twin}, which is {twin.partition('/')[0]!r}"
        for path, twin in (twins, twins[::-1])
    }


def _no_more(expected: dict[str, str], why: dict[str, str | None]) -> Finding:
    """Whether nothing else was taken for a fault: no picture is like another by chance."""
    kinds = {reason.partition(":")[0] for reason in expected.values()}
    alarms = [
        path for path, reason in why.items() if path not in expected and (reason or "").partition(":")[0] in kinds
    ]
    return Finding("nothing else wrong", "; ".join([f"{len(alarms) or 'no'} false alarms", *alarms]), not alarms)


def _turned(sideways: tuple[str, int, int], table: pl.DataFrame) -> Finding:
    path, *size = sideways
    row = table.filter(pl.col("path") == path).select("orientation", "width", "height", "rejected").rows()
    found = f"{row[0][1]}×{row[0][2]}, orientation {row[0][0]}, {row[0][3] or 'kept'}" if row else "not found"
    return Finding(f"1 photo stored sideways, {size[0]}×{size[1]} upright", found, row == [(SIDEWAYS, *size, None)])


def _thinned(planted: Planted, table: pl.DataFrame) -> Finding:
    over = table.filter(pl.col("rejected").str.starts_with("over the cap"))
    stay = kept(table).filter(pl.col("class") == planted.large).height
    drawn, least = planted.drawn[planted.large], planted.drawn[planted.small]
    names = " and ".join(sorted(set(over["class"]))) or "none"
    agrees = names == planted.large and over.height + stay == drawn
    found = f"{over.height} of {names} over the cap, {stay} kept"
    return Finding(f"{drawn} of {planted.large} beside {least} of {planted.small}", found, agrees)


# The pictures ---------------------------------------------------------------------------------------------------------


class Pen:
    """Draws into a transparent square; lengths and places are fractions of its side."""

    def __init__(self, side: int) -> None:
        self.image = Image.new("RGBA", (side, side))
        self._draw = ImageDraw.Draw(self.image)

    def _pixels(self, points: Iterable[Point]) -> list[Point]:
        return [(x * self.image.width, y * self.image.width) for x, y in points]

    def disc(self, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        self._draw.ellipse(self._pixels([(x - across, y - down), (x + across, y + down)]), colour)

    def ring(self, x: float, y: float, across: float, down: float, colour: Colour, thick: float) -> None:
        box = self._pixels([(x - across, y - down), (x + across, y + down)])
        self._draw.ellipse(box, outline=colour, width=round(thick * self.image.width))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, round_by: float = 0.0) -> None:
        self._draw.rounded_rectangle(self._pixels([(left, top), (right, bottom)]), round_by * self.image.width, colour)

    def area(self, points: list[Point], colour: Colour) -> None:
        self._draw.polygon(self._pixels(points), colour)


def _tone(colour: Colour, factor: float) -> Colour:
    """Darker under 1, lighter above."""
    if factor <= 1:
        red, green, blue = (round(value * factor) for value in colour)
    else:
        red, green, blue = (round(255 - (255 - value) / factor) for value in colour)
    return red, green, blue


def _bottle(pen: Pen, colour: Colour, random: Random) -> None:
    half, neck = random.uniform(0.12, 0.17), random.uniform(0.04, 0.06)
    shoulder = random.uniform(0.36, 0.5)
    pen.box(0.5 - neck, 0.08, 0.5 + neck, 0.6, colour)
    pen.disc(0.5, shoulder, half, 0.13, colour)
    pen.box(0.5 - half, shoulder, 0.5 + half, 0.96, colour, 0.04)
    pen.box(0.5 - neck - 0.01, 0.04, 0.5 + neck + 0.01, 0.12, _tone(colour, 0.55), 0.01)
    top = random.uniform(0.55, 0.62)
    pen.box(0.5 - half, top, 0.5 + half, top + random.uniform(0.14, 0.24), _tone(colour, random.choice((0.6, 2.6))))
    pen.box(0.5 - half * 0.7, shoulder + 0.02, 0.5 - half * 0.5, 0.9, _tone(colour, 1.7), 0.01)


def _jar(pen: Pen, colour: Colour, random: Random) -> None:
    half, top = random.uniform(0.19, 0.27), random.uniform(0.26, 0.36)
    pen.box(0.5 - half, top - 0.06, 0.5 + half, 0.92, colour, 0.09)
    pen.box(0.5 - half * 0.86, top - 0.16, 0.5 + half * 0.86, top - 0.01, _tone(colour, 0.5), 0.02)
    label = random.uniform(0.5, 0.56)
    pen.box(0.5 - half, label, 0.5 + half, label + random.uniform(0.16, 0.26), _tone(colour, random.choice((0.6, 2.6))))
    pen.box(0.5 - half * 0.8, top + 0.03, 0.5 - half * 0.64, 0.84, _tone(colour, 1.7), 0.01)


def _cup(pen: Pen, colour: Colour, random: Random) -> None:
    half, foot = random.uniform(0.21, 0.27), random.uniform(0.13, 0.2)
    top, bottom = random.uniform(0.26, 0.36), random.uniform(0.8, 0.88)
    pen.ring(0.47 + half, (top + bottom) / 2 - 0.03, 0.12, random.uniform(0.13, 0.18), _tone(colour, 0.8), 0.045)
    pen.area([(0.45 - half, top), (0.45 + half, top), (0.45 + foot, bottom), (0.45 - foot, bottom)], colour)
    pen.disc(0.45, bottom, foot, 0.05, colour)
    pen.disc(0.45, top, half, 0.075, _tone(colour, 1.5))
    pen.disc(0.45, top + 0.012, half * 0.86, 0.055, _tone(colour, 0.35))


def _plate(pen: Pen, colour: Colour, random: Random) -> None:
    wide, flat = random.uniform(0.38, 0.46), random.uniform(0.68, 1.0)
    rim = random.uniform(0.62, 0.72)
    pen.disc(0.5, 0.5, wide, wide * flat, _tone(colour, 1.6))
    pen.ring(0.5, 0.5, wide * 0.93, wide * 0.93 * flat, colour, random.uniform(0.01, 0.035))
    pen.disc(0.5, 0.5, wide * rim, wide * rim * flat, _tone(colour, 1.25))
    pen.disc(0.5, 0.507, wide * rim * 0.94, wide * rim * 0.94 * flat, _tone(colour, 1.8))


def _pan(pen: Pen, colour: Colour, random: Random) -> None:
    wide, flat = random.uniform(0.25, 0.3), random.uniform(0.85, 1.0)
    thick = random.uniform(0.03, 0.05)
    pen.box(0.35, 0.5 - thick, random.uniform(0.9, 0.98), 0.5 + thick, _tone(colour, 0.6), thick)
    pen.disc(0.34, 0.5, wide, wide * flat, colour)
    pen.disc(0.34, 0.5, wide * 0.88, wide * 0.88 * flat, _tone(colour, 0.45))
    pen.disc(0.34, 0.51, wide * 0.8, wide * 0.8 * flat, _tone(colour, 0.6))


def _spoon(pen: Pen, colour: Colour, random: Random) -> None:
    long, wide = random.uniform(0.13, 0.2), random.uniform(0.08, 0.12)
    thick = random.uniform(0.014, 0.024)
    pen.box(0.2, 0.5 - thick, 0.95, 0.5 + thick, colour, thick)
    pen.disc(0.92, 0.5, 0.05, thick * 1.5, colour)
    pen.disc(0.22, 0.5, long, wide, colour)
    pen.disc(0.22, 0.5, long * 0.78, wide * 0.74, _tone(colour, 0.7))
    pen.disc(0.2, 0.49, long * 0.4, wide * 0.3, _tone(colour, 1.6))


class Thing(NamedTuple):
    """How a class is drawn, and how far it may be turned, in degrees."""

    draw: Callable[[Pen, Colour, Random], None]
    turned: float


THINGS = {
    "bottle": Thing(_bottle, 35),
    "cup": Thing(_cup, 25),
    "jar": Thing(_jar, 35),
    "pan": Thing(_pan, 180),
    "plate": Thing(_plate, 180),
    "spoon": Thing(_spoon, 180),
}


def picture(name: str, seed: int, number: int) -> Image.Image:
    """The picture of a class with this number: on a table or at a wall, with crumbs, in some light."""
    random = Random(rank(seed, "demo", name, number))
    short, aspect = random.randint(*SHORT_SIDE), random.choice(ASPECTS)
    width, height = round(short * max(aspect, 1)), round(short * max(1 / aspect, 1))
    image = _ground(width, height, random)
    for _ in range(random.randint(0, 6)):
        _scatter(image, random)
    _put(image, _drawn(THINGS[name], round(short * random.uniform(0.62, 0.95)), random), random)
    return _lit(image, random)


def _colour(random: Random, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(random.random(), random.uniform(*saturation), random.uniform(*value))
    return round(255 * red), round(255 * green), round(255 * blue)


def _drawn(thing: Thing, side: int, random: Random) -> Image.Image:
    pen = Pen(side * OVERSAMPLED)
    thing.draw(pen, _colour(random, (0.15, 0.85), (0.45, 0.95)), random)
    turned = pen.image.rotate(random.uniform(-thing.turned, thing.turned), Image.Resampling.BILINEAR)
    return turned.resize((side, side), Image.Resampling.BOX)


def _put(image: Image.Image, thing: Image.Image, random: Random) -> None:
    """Near the middle, with a soft shadow to one side."""
    room = 0.1 * min(image.size)
    x = round((image.width - thing.width) / 2 + random.uniform(-room, room))
    y = round((image.height - thing.height) / 2 + random.uniform(-room, room))
    shadow = thing.getchannel("A").filter(ImageFilter.BoxBlur(thing.width * 0.02)).point(lambda alpha: alpha * 0.45)
    away = round(thing.width * random.uniform(0.01, 0.04))
    image.paste((25, 20, 30), (x + random.choice((-away, away)), y + away), shadow)
    image.paste(thing, (x, y), thing)


def _scatter(image: Image.Image, random: Random) -> None:
    """A pea, a berry or a crumb."""
    x, y = random.uniform(0, image.width), random.uniform(0, image.height)
    radius = min(image.size) * random.uniform(0.015, 0.045)
    colour = _colour(random, (0.3, 0.9), (0.3, 0.9))
    ImageDraw.Draw(image).ellipse([x - radius, y - radius, x + radius, y + radius], colour, _tone(colour, 0.7))


def _lit(image: Image.Image, random: Random) -> Image.Image:
    """Light that falls off to one side, and a camera's noise."""
    noise = np.random.default_rng(random.getrandbits(64))
    along, _ = _turned_grid(image.width, image.height, random.uniform(0, 2 * math.pi))
    light = random.uniform(0.78, 1.08) + random.uniform(0, 0.22) * along
    grain = random.uniform(2, 9) * noise.standard_normal(light.shape, np.float32)
    values = np.asarray(image) * light[:, :, None] + grain[:, :, None]
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _ground(width: int, height: int, random: Random) -> Image.Image:
    """What the thing lies on or stands before: two colours, mixed by a pattern of 0 to 1."""
    pattern = random.choice(GROUNDS)(width, height, random)
    colour = _colour(random, (0.05, 0.45), (0.5, 0.98))
    one, other = (np.array(tone, np.float32) for tone in (colour, _tone(colour, random.choice((0.62, 0.75, 1.9)))))
    mixed = one + (other - one) * np.clip(pattern, 0, 1)[:, :, None]
    return Image.fromarray(mixed.astype(np.uint8))


def _turned_grid(width: int, height: int, angle: float) -> tuple[Plane, Plane]:
    """Coordinates along and across a direction, about -1 to 1 on the shorter side."""
    short = min(width, height)
    x = ((2 * np.arange(width, dtype=np.float32) - width) / short)[None, :]
    y = ((2 * np.arange(height, dtype=np.float32) - height) / short)[:, None]
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def _clouds(width: int, height: int, cells: tuple[int, int], random: Random) -> Plane:
    """Smooth noise of 0 to 1 with so many cells across and down."""
    values = np.random.default_rng(random.getrandbits(64)).random((cells[1], cells[0]), np.float32)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def _wall(width: int, height: int, random: Random) -> Plane:
    return 0.8 * _clouds(width, height, (4, 4), random) + 0.2 * _clouds(width, height, (24, 24), random)


def _wood(width: int, height: int, random: Random) -> Plane:
    boards = random.randint(3, 6)
    grain = _clouds(width, height, (3, 40), random)
    wide = math.ceil(height / boards)
    board = np.repeat(np.array([random.uniform(-0.3, 0.3) for _ in range(boards)], np.float32), wide)[:height, None]
    seam = (np.arange(height) % wide < 2)[:, None]
    return np.where(seam, np.float32(1), grain * np.float32(0.7) + board)


def _checked_cloth(width: int, height: int, random: Random) -> Plane:
    """Gingham: bands both ways, darkest where they cross."""
    along, across = _turned_grid(width, height, random.uniform(0, math.pi))
    each = random.uniform(4, 9)
    return ((along * each // 1) % 2 + (across * each // 1) % 2) / 2 + 0.15 * _clouds(width, height, (30, 30), random)


def _tiles(width: int, height: int, random: Random) -> Plane:
    along, across = _turned_grid(width, height, random.uniform(-0.3, 0.3))
    each = random.uniform(1.2, 2.6)
    grout = np.minimum((along * each) % 1, (across * each) % 1) < 0.06
    shade = np.sin(12.9 * (along * each // 1) + 78.2 * (across * each // 1)) * 0.25 + 0.3
    return np.where(grout, np.float32(1), shade + 0.2 * _clouds(width, height, (12, 12), random))


def _striped_cloth(width: int, height: int, random: Random) -> Plane:
    along, _ = _turned_grid(width, height, random.uniform(0, math.pi))
    stripes = np.sin(along * random.uniform(6, 20)) > random.uniform(-0.4, 0.6)
    return stripes * 0.8 + 0.2 * _clouds(width, height, (30, 30), random)


GROUNDS: tuple[Callable[[int, int, Random], Plane], ...] = (_wall, _wood, _checked_cloth, _tiles, _striped_cloth)
