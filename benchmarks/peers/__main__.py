"""alacena against its peers, in one run: feeding batches, then writing sets.

    python -m benchmarks.peers [ROUNDS]

Run it where the peers are installed (benchmarks/requirements-peers.txt). The limit gathers the rows of a shuffled
epoch from memory into a buffer that exists already, on one thread. Three rounds took nine minutes on two cores that
others kept busy (load 4 to 5).
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.feeding import built
from benchmarks.measure import photographs, report, rounds
from benchmarks.peers import DISTRIBUTIONS, installed
from benchmarks.peers.feeding import PEERS, Epoch, Images, Labels, drain
from benchmarks.peers.writing import WRITERS, Photographs, Writer
from manifests.shards import open_rows
from training.batches import Batches

SIZE = 224
PROCESSES = 2
NTH = 2  # photographs that are written: every NTH of each folder, so that three rounds take minutes
TURN = 0.5  # seconds: who is quicker runs several epochs a turn, for one of 40 ms says little on a shared machine
LIMIT = "gather in memory, one thread"


def main(count: int) -> None:
    source, peers = photographs(), installed()
    with tempfile.TemporaryDirectory() as place:
        shards = built(source, Path(place) / "store")
        parts = [open_rows(file) for file in sorted(shards.glob("train-*.safetensors"))]
        images = np.concatenate([part.images for part in parts])
        labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
        for size in (32, 256):
            feed(shards, images, labels, size, Path(place), peers, count)
    with tempfile.TemporaryDirectory() as place:
        write(some(source, Path(place) / "photographs"), Path(place), peers, count)


def feed(
    shards: Path, images: Images, labels: Labels, size: int, place: Path, peers: dict[str, str], count: int
) -> None:
    """Epochs of batches, in `count` rounds."""
    rivals: dict[str, Epoch] = {LIMIT: limit(images, size)}
    with Batches(shards, "train", size, "cpu", seed=0) as batches:
        epochs = iter(range(1, 10_000))
        rivals["alacena"] = lambda: drain(lambda: batches.epoch(next(epochs)))
        for name, shown in peers.items():
            folder = place / DISTRIBUTIONS[name][0]
            folder.mkdir(exist_ok=True)
            rivals[shown] = PEERS[name](images, labels, folder, size)
        repeats = {name: turn(epoch) for name, epoch in rivals.items()}
        seconds = rounds({name: partial(several, epoch, repeats[name]) for name, epoch in rivals.items()}, count)
    amounts = {name: len(images) * repeats[name] for name in rivals}
    report(f"feeding uint8 batches of {size} at {SIZE}×{SIZE}, clothing/train", seconds, amounts, "images/s", LIMIT)


def turn(epoch: Epoch) -> int:
    """Epochs that take about TURN; the first, uncounted, makes pages and threads."""
    torch.set_num_threads(PROCESSES)
    epoch()
    started = time.perf_counter()
    epoch()
    return max(1, round(TURN / (time.perf_counter() - started)))


def several(epoch: Epoch, repeats: int) -> None:
    torch.set_num_threads(PROCESSES)  # as the machine has it, whatever the rival before asked for itself
    for _ in range(repeats):
        epoch()


def limit(images: Images, size: int) -> Epoch:
    """Every row of a shuffled epoch, the smaller last batch with them, gathered as words of eight bytes."""
    words = torch.from_numpy(images.reshape(len(images), -1)).view(torch.int64)
    buffer = torch.zeros((size, words.shape[1]), dtype=torch.int64)

    def epoch() -> None:
        torch.set_num_threads(1)
        for rows in torch.randperm(len(words)).split(size):
            torch.index_select(words, 0, rows, out=buffer[: len(rows)])

    return epoch


def some(source: Path, target: Path) -> Path:
    """A copy of every NTH photograph of each folder, folders as they are."""
    for folder in sorted(each for each in source.rglob("*") if each.is_dir()):
        for file in sorted(folder.glob("*.jpg"))[::NTH]:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    return target


def write(source: Path, place: Path, peers: dict[str, str], count: int) -> None:
    """The photographs written from nothing, `count` times by each."""
    paths = sorted(source.rglob("*.jpg"))
    classes = sorted({path.parent.name for path in paths})
    files = [(str(path), classes.index(path.parent.name)) for path in paths]
    store, own = place / "store", "alacena: transform"

    def everything() -> None:
        shutil.rmtree(store, ignore_errors=True)
        built(source, store)

    def transform() -> None:
        for made in store.glob("*/transform"):
            shutil.rmtree(made)
        built(source, store)

    rivals: dict[str, Callable[[], object]] = {"alacena: extract, curate, transform": everything, own: transform}
    rivals |= {
        shown: partial(afresh, WRITERS[name], files, place / "set") for name, shown in peers.items() if name in WRITERS
    }
    seconds = rounds(rivals, count)
    title = f"writing raw uint8 at {SIZE}×{SIZE}, {len(files):,} photographs, {PROCESSES} processes"
    report(title, seconds, dict.fromkeys(rivals, len(files)), "images/s", own)


def afresh(writer: Writer, files: Photographs, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    writer(files, SIZE, folder, PROCESSES)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
