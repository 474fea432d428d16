"""The shards of one split as mapped memory: gathering rows into buffers, and having the disk read ahead of it.

`training.batches` says which rows; `training.direct`, `training.ring` and `training.resident` where they go.
"""

import math
import os
import resource
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from manifests.errors import Exit, UserError
from manifests.shards import PAGE, Shard, damaged, open_rows, read_index
from training.turns import Numbers

DTYPES = {"uint8": torch.uint8, "float16": torch.float16, "uint16": torch.bfloat16, "float32": torch.float32}
AHEAD = 64 << 20  # bytes of rows that the disk is asked for before they are gathered
REQUEST = 512 << 10  # bytes asked for at once: the kernel reads no more than its own limit, and leaves out the rest
CACHE_SHARE = 0.5  # of the free memory that a split may take in the kernel's cache
PATIENCE = 2.0  # seconds that the first batch may wait for the split to be read; a few gigabytes
BLOCK = 1 << 20  # bytes of a plain read
OTHER_FILES = 256  # files that a process may still open beside the shards of a split
COLD = 8  # batches that are asked for without looking, once a row was missing

Batch = tuple[Tensor, Tensor]  # images (B, *shape) as stored, labels (B,) int64


class Mapped:
    """The mapped shards of one split, as one tensor of rows: of words of 8 bytes where a row's length allows.

    Rows of a shard begin on a page and buffers on 64 bytes: where both have the same place within a cache line, as
    rows of 32², 64², 96², 128² or 224² pixels have, copying is 1.4 times as quick as where they have not (measured on
    one core, rows of 150,528 bytes: 145,000 rows/s against 100,000, n = 7, spread under 5 %).
    """

    def __init__(self, folder: Path, split: str) -> None:
        shards = read_index(folder).splits.get(split, ())
        if not sum(shard.rows for shard in shards):
            raise UserError(f"{folder}: the split {split} has no rows.", Exit.REFUSED)
        _allow_open(len(shards))
        parts, labels = zip(*(_tensors(_whole(folder, shard)) for shard in shards), strict=True)
        shapes = {(images.shape[1:], images.dtype.name) for images in parts}
        if len(shapes) != 1:
            raise damaged(folder, f"the shards of {split} differ in shape or type: {sorted(shapes)}")
        self.shape, kind = shapes.pop()
        self.dtype = DTYPES[kind]
        self.labels = np.concatenate(labels)
        self.starts = np.cumsum([0, *map(len, labels)])[:-1]  # number of each shard's first row
        self.rows = len(self.labels)
        self.row_bytes = parts[0][0].nbytes
        self._span = _Span(parts, self.row_bytes)
        self._disk = _Disk(folder, shards, self.row_bytes)
        self._cold = 0  # batches still to be asked for without looking

    def gather(self, rows: Numbers, words: Tensor, labels: Tensor) -> None:
        """Sorted rows into host buffers of exactly their number, in one call whatever the number of shards."""
        shard = np.searchsorted(self.starts, rows, side="right") - 1
        torch.index_select(self._span.rows, 0, self._span.places(shard, rows - self.starts[shard]), out=words)
        np.take(self.labels, rows, 0, out=labels.numpy(), mode="clip")  # the default would take a hidden buffer first

    def read_ahead(self, plan: Iterable[Numbers]) -> Iterator[Numbers]:
        """The sorted rows of the plan's batches, each after the disk was asked for what comes within AHEAD of it."""
        waiting, bytes_ahead = deque[Numbers](), 0
        for rows in plan:
            self._ask_for(rows)
            waiting.append(rows)
            bytes_ahead += len(rows) * self.row_bytes
            while bytes_ahead > AHEAD:
                first = waiting.popleft()
                bytes_ahead -= len(first) * self.row_bytes
                yield first
        yield from waiting

    def _ask_for(self, rows: Numbers) -> None:
        """Where rows are not in memory: have the kernel begin to read them, without waiting.

        One row of a batch is looked for; where it is missing, this batch is asked for and so are the next ones, and all
        of the split is read from beginning to end beside it, where there is room for it.
        """
        middle = rows[len(rows) // 2]
        shard = int(np.searchsorted(self.starts, middle, side="right")) - 1
        if not self._disk.has(shard, int(middle - self.starts[shard])):
            self._cold = COLD
            self._disk.read_through()
        if self._cold:
            self._cold -= 1
            for shard, a, b in self._of_shards(rows):
                self._disk.ask_for(shard, rows[a:b] - self.starts[shard])

    def _of_shards(self, rows: Numbers) -> Iterator[tuple[int, int, int]]:
        """Of sorted rows: each shard that holds any, and which of them."""
        cuts = [*np.searchsorted(rows, self.starts).tolist(), len(rows)]
        return ((shard, a, b) for shard, (a, b) in enumerate(pairwise(cuts)) if a < b)

    def buffer(self, rows: int, device: torch.device, *, pinned: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Memory for so many rows: as words, the same memory as images, and labels."""
        words = self._span.rows[:0].new_empty((rows, self._span.rows.shape[1]), device=device, pin_memory=pinned)
        labels = torch.empty(rows, dtype=torch.int64, device=device, pin_memory=pinned)
        return words, words.view(self.dtype).view(rows, *self.shape), labels


def _allow_open(files: int) -> None:
    """Each map holds its file open; a process may often have 1,024 of those, until it allows itself more.

    Raises UserError where the system allows no more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = len(list(Path("/dev/fd").iterdir()))  # those of other splits, too
    wanted = open_now + files + OTHER_FILES
    if resource.RLIM_INFINITY != hard < wanted:
        raise UserError(
            f"{files:,} shards to be mapped beside {open_now:,} open files; this system allows {hard:,}; make the "
            "shards larger with transform --shard-mb, or raise the limit (ulimit -Hn).",
            Exit.REFUSED,
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _whole(folder: Path, shard: Shard) -> Path:
    file = folder / shard.file
    if not file.is_file() or file.stat().st_size != shard.bytes:
        raise damaged(file, f"missing, or not the {shard.bytes} bytes that the index states")
    return file


def _tensors(file: Path) -> tuple[npt.NDArray[Any], Numbers]:
    """Images, mapped, and labels, copied: a map holds a file open, and of those a process may have only so many."""
    rows = open_rows(file)
    return rows.images, np.array(rows.labels)


class _Span:
    """All that lies in memory from the first shard's images to the last's, as one tensor whose rows overlap.

    A row may begin at any multiple of `unit` bytes, which divides both a page and a row: so rows of any shard have a
    place in it, and one call gathers them. What lies between the shards is somebody else's and never touched. Measured
    against a call a shard, two shards (two cores, batches of 32 at 224×224×3, µs an image, n = 15): gathering 5.3
    against 6.4, and with the conversion to float32 after it 21 against 41, since each core then finds in its own cache
    what it has gathered.
    """

    def __init__(self, parts: Sequence[npt.NDArray[Any]], row_bytes: int) -> None:
        self._parts = parts  # to stay mapped
        self._unit = math.gcd(PAGE, row_bytes)
        self._step = row_bytes // self._unit
        addresses = [part.ctypes.data for part in parts]
        lowest = min(addresses)
        self._first = (np.array(addresses) - lowest) // self._unit  # place of each shard's first row
        word = np.dtype(np.int64 if row_bytes % 8 == 0 else np.uint8)
        places = int(max(self._first + np.array([len(part) for part in parts]) * self._step))
        base = np.asarray(parts[addresses.index(lowest)]).reshape(-1).view(word)
        shape, strides = (places, row_bytes // word.itemsize), (self._unit, word.itemsize)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nobody writes to it
            self.rows = torch.from_numpy(np.lib.stride_tricks.as_strided(base, shape, strides, writeable=False))

    def places(self, shards: Numbers, rows: Numbers) -> Tensor:
        """Where rows of shards, counted in each from 0, lie in `rows`."""
        return torch.from_numpy(self._first[shards] + rows * self._step)


class _Disk:
    """What of the shards is in memory, and reading what is not: by the kernel, into its page cache."""

    def __init__(self, folder: Path, shards: Sequence[Shard], row_bytes: int) -> None:
        self._row_bytes = row_bytes
        self._starts = [shard.bytes - shard.rows * row_bytes for shard in shards]  # images lie last
        self._can_tell = all(hasattr(os, name) for name in ("preadv", "RWF_NOWAIT", "posix_fadvise"))  # Linux
        self._byte = [bytearray(1)]
        self._paths = [folder / shard.file for shard in shards]
        self._size = sum(shard.bytes for shard in shards)
        self._reader: threading.Thread | None = None
        self._is_over = threading.Event()
        weakref.finalize(self, self._is_over.set)

    def has(self, shard: int, row: int) -> bool:
        """Whether the first byte of a row is in memory; True where nobody can tell."""
        if not self._can_tell:
            return True
        try:
            with self._paths[shard].open("rb", buffering=0) as file:  # not kept open: there may be thousands
                os.preadv(file.fileno(), self._byte, self._starts[shard] + row * self._row_bytes, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:  # a file system that cannot tell: the kernel's own reading ahead has to do
            self._can_tell = False
        return True

    def ask_for(self, shard: int, rows: Numbers) -> None:
        """Begin to read sorted rows, neighbours together."""
        ends = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        with self._paths[shard].open("rb", buffering=0) as file:
            for a, b in pairwise(ends):
                start = self._starts[shard] + int(rows[a]) * self._row_bytes
                stop = start + (b - a) * self._row_bytes
                for place in range(start, stop, REQUEST):
                    os.posix_fadvise(file.fileno(), place, min(REQUEST, stop - place), os.POSIX_FADV_WILLNEED)

    def read_through(self) -> None:
        """Have a thread read all the shards once, if they may stay in memory, and wait for it a little.

        In order a disk reads several times as quickly as row by row, and the kernel keeps it in larger pages. Measured
        (462 MB, batches of 32, n = 9): 0.87 of the speed of reading the files where it was waited for, 0.6 row by row.
        """
        if self._reader is None and self._size <= CACHE_SHARE * _free_memory():
            self._reader = threading.Thread(target=_read, args=(self._paths, self._is_over), name="reader", daemon=True)
            self._reader.start()
            self._reader.join(PATIENCE)


def _read(paths: list[Path], is_over: threading.Event) -> None:
    block = bytearray(BLOCK)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while not is_over.is_set() and file.readinto(block):
                pass


def _free_memory() -> int:
    """Bytes that the kernel could give without swapping; 0 where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
