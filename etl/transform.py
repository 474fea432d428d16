"""Views → pixels → shards: each image is decoded once, and each of its views written to its place in a shard.

Workers write rows into the shard files; only sums come back. The order of rows is that of (sha256, path, view):
classes are mixed, and the bytes depend neither on the number of workers nor on the order of the file system. What
earlier shard sets hold under the same contract is linked or copied (`etl.reuse`), not decoded.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import chain, groupby, pairwise
from pathlib import Path

import numpy as np
import polars as pl

from etl import engine
from etl.extract import opener
from etl.filling import Job, Row, as_stored, fill, lost, target
from etl.keys import decoder
from etl.reuse import Earlier, Numbers
from etl.steps import Site, Step
from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract, Statistics, normalisation
from manifests.progress import told
from manifests.recipe import SPLITS, Transform
from manifests.shards import Index, Shard, create, describe, open_rows, write_index
from manifests.store import Stage, flush
from manifests.table import read_table, write_table

MEGABYTE = 1_000_000  # bytes
SEALERS = 2  # threads that digest shards: the hash holds no lock of the interpreter
CONVERTED = 64  # rows at a time, from uint8 to float
SHOWN = 5  # images named in an error
BITS = 32  # of a sha256, by which rows are shared out among shards
PLACE = ["source", "member", "bytes", "stamp", "offset"]


def pixel_contract(settings: Transform, background: str, dataset: Statistics | None = None) -> PixelContract:
    """The contract of these settings; `dataset` is needed where float shards are normalised by their own statistics."""
    channels = 3 if settings.channels == "rgb" else 1
    own = settings.normalise == "dataset" and dataset is None
    mean, deviation = (
        (None, None) if settings.normalise is None or own else normalisation(settings.normalise, channels, dataset)
    )
    return PixelContract(
        height=settings.size[0],
        width=settings.size[1],
        resize=settings.resize,
        interpolation=settings.interpolation,
        channels=settings.channels,
        dtype=settings.dtype,
        normalise=settings.normalise,
        mean=mean,
        deviation=deviation,
        background=background,
        decoder=decoder(),
    )


def make(step: Step, done: dict[str, Stage], site: Site) -> Stage:
    """Publish the shard set of the views. Raises UserError naming the images that cannot be read."""
    assert isinstance(step.settings, Transform)
    settings, dataset, classes = step.settings, site.dataset, done["augment"].counts["classes"]
    views = read_table(dataset.folder("augment", done["augment"].key) / "views.parquet")
    reads, places = opener(dataset, done["extract"])
    background = step.inputs["background"]
    contract = pixel_contract(settings, background)
    rows = _laid_out(views, contract, settings.shard_mb * MEGABYTE)
    target.cache_clear()  # a folder of the same name may have been written before
    with dataset.publish(step.begun) as (folder, finish), ThreadPoolExecutor(SEALERS) as threads:
        staged = contract.model_copy(update={"dtype": "uint8"})
        sums = np.zeros((rows.height, 2 * staged.shape[2]), np.int64)
        earlier = Earlier(dataset, contract, threads) if contract.dtype == "uint8" else None
        linked, missing = _begun(rows, earlier, sums, staged, classes, folder)
        del earlier  # its tables are as long as ours
        seals = _Seals(folder, rows.filter(~pl.col("shard").is_in(list(linked))), threads)
        copied = rows.height - missing.height
        missing = missing.join(places.select("path", *PLACE), on="path", how="left", maintain_order="left")
        images = missing.select(pl.struct("path", "sha256").n_unique()).item() if missing.height else 0
        task = engine.each(partial(fill, opener=reads, contract=staged, folder=str(folder)))
        results = engine.ordered_map(task, _jobs(missing), workers=site.workers, lost=lost)
        problems: list[str] = []
        for job, filled in zip(_jobs(missing), told(results, site.progress, "decoding images", images), strict=True):
            problems += [f"{job.path} ({filled.problem})"] if filled.problem else []
            for row, found in zip(job.rows, filled.sums, strict=False):
                sums[row.number] = found
            if contract.dtype == "uint8" and not problems:
                seals.reached(job.rows[0].file)
        _refuse(problems)
        rows = rows.with_columns(sums=pl.Series(sums).cast(pl.List(pl.Int64)))
        statistics = _statistics(sums[(rows["split"] == "train").to_numpy()], contract)
        target.cache_clear()
        if contract.dtype != "uint8":
            contract = pixel_contract(settings, background, statistics)
            _to_float(folder, rows, contract)
        shards = _by_split(rows, linked | seals.shards())
        write_table(rows, folder / "rows.parquet")
        index = Index(
            dataset=dataset.name,
            classes=tuple(classes),
            contract=contract,
            mean=statistics[0],
            deviation=statistics[1],
            splits=shards,
        )
        write_index(index, folder)
        counts = {
            "rows": {split: index.rows(split) for split in shards},
            "shards": sum(len(files) for files in shards.values()),
            "bytes": sum(shard.bytes for files in shards.values() for shard in files),
            "decoded": images,
            "copied": copied,
            "classes": classes,
        }
        return finish(index.digest, counts, {shard.file: shard.sha256 for files in shards.values() for shard in files})


def _laid_out(views: pl.DataFrame, contract: PixelContract, shard_bytes: int) -> pl.DataFrame:
    """Each view with its shard file and row: splits apart, by (sha256, path, view)."""
    size = math.prod(contract.shape) * {"uint8": 1, "float32": 4}.get(contract.dtype, 2)
    rows = views.filter(pl.col("split").is_in(SPLITS)).sort("split", "sha256", "path", "view")
    beginnings = rows["sha256"].str.slice(0, BITS // 4).str.to_integer(base=16, dtype=pl.Int64).to_numpy()
    ends = rows.group_by("split", maintain_order=True).len()["len"].cum_sum().to_list()
    splits = [cut(beginnings, first, last, max(1, shard_bytes // size), BITS) for first, last in pairwise([0, *ends])]
    starts, number = np.fromiter(chain.from_iterable(splits), np.int64), np.arange(rows.height)
    shard = np.searchsorted(starts, number, side="right") - 1
    of_split = pl.col("shard") - pl.col("shard").min().over("split")
    return (
        rows.with_columns(shard=pl.Series(shard), row=pl.Series(number - starts[shard]).cast(pl.Int32))
        .with_columns(shard=pl.format("{}-{}.safetensors", "split", of_split.cast(pl.String).str.zfill(5)))
        .select("split", "shard", "row", "path", "sha256", "view", "parameters", "class")
    )


def cut(beginnings: Numbers, first: int, last: int, most: int, bits: int) -> Iterator[int]:
    """Where the shards of these sorted rows start: each holds the rows whose sha256 begin with the same bits, cut in
    two by the next bit where they are more than `most`. So one image more changes the shard it falls into alone.

    Several rows of one image may still be too many; they are cut by number.
    """
    if last - first <= most:
        yield first
    elif bits == 0:
        yield from range(first, last, most)
    else:
        middle = first + int(np.searchsorted(beginnings[first:last] >> (bits - 1) & 1, 1))
        for start, stop in ((first, middle), (middle, last)):
            if start < stop:
                yield from cut(beginnings, start, stop, most, bits - 1)


def _jobs(missing: pl.DataFrame) -> Iterator[Job]:
    """The images of these rows, one by one: a table of a million rows makes no million jobs at once."""
    rows = missing.select("path", "sha256", *PLACE, "number", "shard", "row", "parameters").iter_rows()
    for image, views in groupby(rows, key=lambda row: row[:7]):  # an image's views stand together
        path, sha256, source, member, size, stamp, offset = image
        yield Job(path, sha256, (source, member, size, stamp, offset), tuple(Row(*view[7:]) for view in views))


def _statistics(sums: Numbers, contract: PixelContract) -> Statistics:
    """Mean and deviation per channel of values in [0, 1], from the sums of all train rows."""
    if not len(sums):
        raise UserError("transform: the train split is empty; look at the splits with: alacena curate")
    height, width, channels = contract.shape
    pixels = len(sums) * height * width
    totals = [int(total) for total in sums.sum(0)]
    means = [total / pixels for total in totals[:channels]]
    deviations = [
        math.sqrt(max(0.0, total / pixels - mean**2)) for total, mean in zip(totals[channels:], means, strict=True)
    ]
    return tuple(mean / 255 for mean in means), tuple(max(deviation, 0.5) / 255 for deviation in deviations)


def _begun(
    rows: pl.DataFrame,
    earlier: Earlier | None,
    sums: Numbers,
    contract: PixelContract,
    classes: list[str],
    folder: Path,
) -> tuple[dict[str, Shard], pl.DataFrame]:
    """Every shard, with what earlier sets have of it → the linked ones, by name, and the rows that nobody has."""
    linked = earlier.link(rows, classes, sums, folder) if earlier else {}
    missing = rows.with_row_index("number").filter(~pl.col("shard").is_in(list(linked)))
    _create(missing, contract, classes, folder)
    return linked, earlier.copy(missing, sums, folder) if earlier else missing


def _create(rows: pl.DataFrame, contract: PixelContract, classes: list[str], folder: Path) -> None:
    """The shards of these rows, with their labels, and pixels still zero."""
    for (file,), members in rows.group_by("shard", maintain_order=True):
        create(folder / str(file), members.height, contract.shape, contract.dtype)
        labels = members["class"].replace_strict(classes, range(len(classes)))
        open_rows(folder / str(file), writable=True).labels[:] = labels


def _by_split(rows: pl.DataFrame, shards: dict[str, Shard]) -> dict[str, tuple[Shard, ...]]:
    """Split → its shards, in the order of train, val, test."""
    files = rows.select("split", "shard").unique(maintain_order=True).rows()
    found = {split: tuple(shards[file] for part, file in files if part == split) for split in SPLITS}
    return {split: part for split, part in found.items() if part}


def _refuse(problems: list[str]) -> None:
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        listed = ", ".join(problems[:SHOWN])
        raise UserError(
            f"transform: {len(problems)} images cannot be read as extract found them: {listed}{more}; "
            "run extract again (of a file that changed behind the same size and time, touch it first), "
            "or leave them out with curate --reject.",
            Exit.STALE,
        )


def _to_float(folder: Path, rows: pl.DataFrame, contract: PixelContract) -> None:
    """Replace each staged uint8 shard by a normalised one, a few rows at a time."""
    for (name,), members in rows.group_by("shard", maintain_order=True):
        file, staged = folder / str(name), folder / f"{name}.uint8"
        file.rename(staged)
        create(file, members.height, contract.shape, contract.dtype)
        source, target = open_rows(staged), open_rows(file, writable=True)
        target.labels[:] = source.labels
        for start in range(0, members.height, CONVERTED):
            target.images[start : start + CONVERTED] = as_stored(source.images[start : start + CONVERTED], contract)
        staged.unlink()


class _Seals:
    """Digests of shards, and their bytes on the disk: of each as soon as it is full, while the next is being filled."""

    def __init__(self, folder: Path, rows: pl.DataFrame, background: Executor) -> None:
        self._folder, self._background = folder, background
        files = rows.group_by("shard", maintain_order=True).len()
        self._rows = {str(file): int(count) for file, count in files.iter_rows()}
        self._sealed: list[Future[Shard]] = []
        self._filling = deque(self._rows)  # the others, in the order of the rows

    def reached(self, file: str) -> None:
        """Jobs come in the order of the rows: when one begins in this shard, those before it are full."""
        while self._filling[0] != file:
            self._seal_next()

    def _seal_next(self) -> None:
        file = self._filling.popleft()
        self._sealed.append(self._background.submit(_seal, self._folder / file, self._rows[file]))

    def shards(self) -> dict[str, Shard]:
        """Of all that are full now, by name."""
        while self._filling:
            self._seal_next()
        return {shard.file: shard for shard in (future.result() for future in self._sealed)}


def _seal(file: Path, rows: int) -> Shard:
    shard = describe(file, rows)
    flush(file)
    return shard
