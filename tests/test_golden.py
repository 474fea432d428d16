"""Numbers that must not move: facts and decisions of a fixed set of PNGs, drawn with integers only.

A change here changes every user's tables. Where it is meant, raise `etl.keys.HASH_VERSION` if hashes moved, and write
the file again: `.venv/bin/python -m tests.test_golden`.
"""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from tests.makers import UINT8, array, brought, folder, image, recipe, write

GOLDEN = Path(__file__).parent / "golden/table.json"
COLUMNS = [
    "path", "sha256", "width", "height", "mode", "orientation", "phash", "phash256", "dhash256", "problem", "class",
    "cluster", "group", "rejected", "split",
]  # fmt: skip


COLOURS = {"L": (8, 0), "I;16": (16, 0), "RGB": (8, 2), "P": (8, 3), "RGBA": (8, 6)}  # mode → PNG's depth and type


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def deflated(data: bytes) -> bytes:
    """Stored blocks, written here: what a compressor makes depends on its version."""
    blocks = [data[start : start + 65535] for start in range(0, len(data), 65535)]
    body = b"".join(
        struct.pack("<BHH", number == len(blocks), len(block), 65535 - len(block)) + block
        for number, block in enumerate(blocks, 1)
    )
    return b"\x78\x01" + body + struct.pack(">I", zlib.adler32(data))


def stored(picture: Image.Image, exif: bytes = b"") -> bytes:
    """A PNG of which each byte is decided here."""
    depth, colour = COLOURS[picture.mode]
    values = array(picture).astype(">u2" if depth == 16 else np.uint8)
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    header = struct.pack(">IIBBBBB", *picture.size, depth, colour, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"PLTE", bytes(picture.getpalette() or [])),
        (b"eXIf", exif),
        (b"IDAT", deflated(lines)),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts if part[1]) + chunk(b"IEND", b"")


def noisy(picture: Image.Image, seed: int) -> Image.Image:
    noise = np.random.Generator(np.random.PCG64(seed)).integers(-3, 4, array(picture).shape)
    return Image.fromarray(np.clip(array(picture).astype(np.int64) + noise, 0, 255).astype(UINT8))


def turned(picture: Image.Image) -> bytes:
    """Orientation 6, as the only entry of a little-endian EXIF block."""
    exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    return stored(picture.transpose(Image.Transpose.ROTATE_90), exif)


def files() -> dict[str, bytes]:
    """Three classes with every kind of picture and fault."""
    plain = {
        f"{name}/{n}.png": stored(image(72 + n, 56, seed=100 * i + n)) for i, name in enumerate("abc") for n in range(9)
    }
    grey = Image.fromarray((array(image(64, 64, seed=7, mode="L")).astype(np.uint16) * 257).astype(np.uint16))
    clear = image(60, 60, seed=8)
    clear.putalpha(Image.fromarray(np.tile(np.arange(60, dtype=UINT8) * 4, (60, 1))))
    return plain | {
        "a/copy.png": stored(image(73, 56, seed=1)),
        "a/near.png": stored(noisy(image(74, 56, seed=2), 1)),
        "b/conflict.png": stored(image(75, 56, seed=3)),
        "b/turned.png": turned(image(77, 56, seed=105)),
        "b/grey16.png": stored(grey),
        "c/clear.png": stored(clear),
        "c/palette.png": stored(image(64, 48, seed=9, mode="L").convert("P")),
        "c/black.png": stored(Image.new("RGB", (40, 40))),
        "c/white.png": stored(Image.new("L", (40, 40), 255)),
        "c/small.png": stored(image(12, 90, seed=10)),
        "c/cut.png": stored(image(50, 50, seed=11))[:3000],
        "c/text.png": b"no picture",
        "c/empty.png": b"",
    }


def table(root: Path) -> list[dict[str, Any]]:
    source = write(root / "source", files())
    asked = recipe(source, curate={"min_side": 16, "max_per_class": 8, "split": "0.6,0.2,0.2"})
    done = brought(asked, root, until="curate")["curate"]
    return pl.read_parquet(folder(root, done) / "images.parquet").select(COLUMNS).to_dicts()


class TestGoldenTable:
    """The same pictures have the same hashes and the same decisions, in every version."""

    def test_nothing_has_moved(self, tmp_path: Path):
        expected: list[dict[str, Any]] = json.loads(GOLDEN.read_text("utf-8"))
        actual = table(tmp_path)
        assert [row["path"] for row in actual] == [row["path"] for row in expected]
        for found, stated in zip(actual, expected, strict=True):
            assert found == stated

    def test_it_holds_every_kind_of_decision(self):
        kinds = {str(row["rejected"]).split(": ")[0] for row in json.loads(GOLDEN.read_text("utf-8"))}
        assert kinds == {
            "None", "unusable", "too small", "duplicate", "near duplicate", "label conflict", "over the cap",
        }  # fmt: skip


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in table(Path(place)))
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(f"[\n{text}\n]\n", "utf-8")
