"""The shard set: per split, safetensors files with `images` (N, H, W, C) and `labels` (N,); the index is written last.

A shard file is created at its full size and then filled in place, from several processes if need be: `create` writes
the safetensors header, `Target` writes rows, `open_rows` maps the tensors. Labels come first and the header is padded
so that the images begin on a page.

Format: https://github.com/huggingface/safetensors#format
"""

import errno
import json
import math
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.digests import digest, file_digest
from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract

if TYPE_CHECKING:  # a run that finds nothing to do reads indexes alone
    import numpy as np
    import numpy.typing as npt

PAGE = 4096  # bytes
BLOCK = 4 << 20  # bytes copied at a time
HEADER_LIMIT = 1 << 20  # bytes: our headers have a few hundred; more is another program's file or a damaged one
# NumPy has no bfloat16: its bits are kept as uint16, and training views them as what they are.
STORED = {
    "uint8": ("U8", "uint8"),
    "float16": ("F16", "float16"),
    "bfloat16": ("BF16", "uint16"),
    "float32": ("F32", "float32"),
    "int64": ("I64", "int64"),
}


class Shard(BaseModel):
    """One file of a split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str  # relative to the index
    rows: int
    bytes: int
    sha256: str


class Index(BaseModel):
    """`index.json`: what the shard set holds. Class order is this list, here and everywhere after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    dataset: str
    classes: tuple[str, ...]
    contract: PixelContract
    mean: tuple[float, ...]  # per channel over all train rows, of values in [0, 1], before any normalisation
    deviation: tuple[float, ...]
    splits: dict[str, tuple[Shard, ...]]  # train, val, test; a split without rows has no shard

    @property
    def digest(self) -> str:
        """Of the content: the same for the same rows in the same files, however they were made."""
        return digest(self.model_dump(mode="json", exclude={"dataset"}))

    def rows(self, split: str) -> int:
        return sum(shard.rows for shard in self.splits.get(split, ()))


@dataclass(frozen=True)
class Rows:
    """A shard's tensors, mapped: images (N, H, W, C) and labels (N,) int64."""

    images: "npt.NDArray[Any]"
    labels: "npt.NDArray[np.int64]"


def create(file: Path, rows: int, shape: tuple[int, ...], dtype: str) -> None:
    """A shard of its final size: header written, rows still zero. A full disk fails here, not later in a page."""
    import numpy as np

    count = math.prod(shape)
    tag, kind = STORED[dtype]
    pixels = rows * count * np.dtype(kind).itemsize
    tensors = {
        "labels": {"dtype": "I64", "shape": [rows], "data_offsets": [0, 8 * rows]},
        "images": {"dtype": tag, "shape": [rows, *shape], "data_offsets": [8 * rows, 8 * rows + pixels]},
    }
    header = json.dumps(tensors, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header) + 8 * rows) % PAGE)
    with file.open("xb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        total = 8 + len(header) + 8 * rows + pixels
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(out.fileno(), 0, total)
        else:  # macOS has no such call; there a disk that fills up fails later
            out.truncate(total)


def open_rows(file: Path, *, writable: bool = False) -> Rows:
    """Map a shard's tensors. Raises UserError for a file that is no shard of ours."""
    if not file.is_file():
        raise damaged(file, "it is missing")
    size = file.stat().st_size
    with file.open("rb") as source:
        start = source.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size, HEADER_LIMIT):
            raise damaged(file, "its header is longer than the file")
        try:
            header = json.loads(source.read(length))
            mode = "r+" if writable else "r"
            images, labels = (_map(file, header[name], 8 + length, mode) for name in ("images", "labels"))
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(file, f"its header is not that of a shard ({error})") from None
    return Rows(images, labels)


class Target:
    """A shard file that rows of images are written to, each at its place, by several processes if need be."""

    def __init__(self, file: Path) -> None:
        self._start, self._row, self._rows = _images_at(file)
        self._file = file.open("r+b", buffering=0)

    def put(self, row: int, pixels: bytes) -> None:
        """Write one row's pixels, as the shard stores them. Raises ValueError for a row that it does not have."""
        if not 0 <= row < self._rows or len(pixels) != self._row:
            raise ValueError(f"row {row}: {len(pixels)} bytes; there are {self._rows} rows of {self._row}")
        self._file.seek(self._start + row * self._row)
        self._write(pixels)

    def copy(self, other: Path, runs: Iterable[tuple[int, int, int]]) -> None:
        """Runs of rows from another shard of the same contract: first row here, first row there, how many. ValueError
        for rows that are not there, here or there."""
        start, size, rows = _images_at(other)
        with other.open("rb", buffering=0) as file:
            for row, other_row, count in runs:
                if size != self._row or not 0 <= other_row <= rows - count or not 0 <= row <= self._rows - count:
                    raise ValueError(f"{count} rows from {other_row} of {rows} to {row} of {self._rows}")
                self._file.seek(self._start + row * self._row)
                file.seek(start + other_row * size)
                left = count * size
                while left:
                    if not (block := file.read(min(left, BLOCK))):
                        raise ValueError(f"{other}: cut short")
                    self._write(block)
                    left -= len(block)

    def _write(self, data: bytes) -> None:
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, "not written whole")


def _images_at(file: Path) -> tuple[int, int, int]:
    """Where a shard's images begin, the bytes of a row, and how many rows there are. Images lie last."""
    images = open_rows(file).images
    return file.stat().st_size - images.nbytes, images.nbytes // max(1, len(images)), len(images)


def _map(file: Path, tensor: dict[str, Any], start: int, mode: Any) -> "npt.NDArray[Any]":
    import numpy as np

    kind = dict(STORED.values())[tensor["dtype"]]
    shape = tuple(tensor["shape"])
    if math.prod(shape) == 0:
        return np.empty(shape, kind)
    return np.memmap(file, kind, mode, start + tensor["data_offsets"][0], shape)


def damaged(place: Path, what: str) -> UserError:
    return UserError(f"{place}: damaged: {what}; run transform again after removing {place.parent}.", Exit.STALE)


def describe(file: Path, rows: int) -> Shard:
    return Shard(file=file.name, rows=rows, bytes=file.stat().st_size, sha256=file_digest(file))


def write_index(index: Index, folder: Path) -> None:
    (folder / "index.json").write_text(index.model_dump_json(indent=1) + "\n", "utf-8")


def read_index(folder: Path) -> Index:
    """The index of a shard set. Raises UserError where there is none or it is not ours."""
    file = folder / "index.json"
    try:
        return Index.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file}: no shard set here; make one with: alacena transform", Exit.STALE) from None
    except ValidationError as error:
        raise damaged(file, str(error.errors()[0]["msg"])) from None


def is_sound(folder: Path, shard: Shard) -> bool:
    """Whether a shard file is, byte for byte, what the index says."""
    file = folder / shard.file
    return file.is_file() and file.stat().st_size == shard.bytes and file_digest(file) == shard.sha256
