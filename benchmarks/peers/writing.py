"""How each peer writes a set of raw uint8 images: photographs decoded and resized, by its own writer in its own
parallel way.

All decode alike (`pixels`), with Pillow from the nearest DCT scale. None of them syncs its files to the disk, which
alacena does.
"""

import io
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.peers import module

Photographs = Sequence[tuple[str, int]]  # path, label
Writer = Callable[[Photographs, int, Path, int], None]  # photographs, side in pixels, empty folder, processes
SHARD_BYTES = 64 << 20


def pixels(file: str, size: int) -> npt.NDArray[np.uint8]:
    """The centre square at (size, size, 3): at the nearest DCT scale, then one bilinear resize."""
    with Image.open(io.BytesIO(Path(file).read_bytes())) as image:
        image.draft("RGB", (size, size))
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box))


def write_ffcv(files: Photographs, size: int, folder: Path, processes: int) -> None:
    fields = {
        "image": module("ffcv.fields").NDArrayField(np.dtype("uint8"), (size, size, 3)),
        "label": module("ffcv.fields").IntField(),
    }
    writer = module("ffcv.writer").DatasetWriter(str(folder / "set.beton"), fields, num_workers=processes)
    writer.from_indexed_dataset(Decoded(files, size))


def write_litdata(files: Photographs, size: int, folder: Path, processes: int) -> None:
    module("litdata").optimize(
        partial(sample, size),
        list(files),
        str(folder / "set"),
        chunk_bytes=SHARD_BYTES,
        num_workers=processes,
        start_method="fork",  # its own would import torch anew in each process
        verbose=False,
    )


def write_streaming(files: Photographs, size: int, folder: Path, processes: int) -> None:
    in_processes(streaming_part, files, size, folder, processes)
    module("streaming.base.util").merge_index(str(folder), keep_local=True)


def streaming_part(files: Photographs, size: int, folder: Path, part: int) -> None:
    columns = {"image": "bytes", "label": "int"}
    with module("streaming").MDSWriter(out=str(folder / str(part)), columns=columns, size_limit=SHARD_BYTES) as writer:
        for photograph in files:
            writer.write(sample(size, photograph))


def write_webdataset(files: Photographs, size: int, folder: Path, processes: int) -> None:
    in_processes(webdataset_part, files, size, folder, processes)


def webdataset_part(files: Photographs, size: int, folder: Path, part: int) -> None:
    pattern = str(folder / f"{part}-%05d.tar")
    with module("webdataset").ShardWriter(pattern, maxsize=SHARD_BYTES, verbose=0) as writer:
        for row, (file, label) in enumerate(files):
            image = pixels(file, size).tobytes()
            writer.write({"__key__": f"{part}-{row:08d}", "image.bin": image, "label.cls": label})


WRITERS: dict[str, Writer] = {
    "FFCV": write_ffcv,
    "LitData": write_litdata,
    "MosaicML Streaming": write_streaming,
    "WebDataset": write_webdataset,
}


class Decoded:
    """Photographs as the indexable dataset that FFCV's writer reads."""

    def __init__(self, files: Photographs, size: int) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[npt.NDArray[np.uint8], int]:
        file, label = self.files[row]
        return pixels(file, self.size), label


def sample(size: int, photograph: tuple[str, int]) -> dict[str, Any]:
    file, label = photograph
    return {"image": pixels(file, size).tobytes(), "label": label}


def in_processes(
    write: Callable[[Photographs, int, Path, int], None], files: Photographs, size: int, folder: Path, processes: int
) -> None:
    """Each process writes its share of the photographs as a part of its own; RuntimeError where one fails."""
    fork = multiprocessing.get_context("fork")  # the packages are imported already
    started = [fork.Process(target=write, args=(files[n::processes], size, folder, n)) for n in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a writing process ended with {process.exitcode}")
