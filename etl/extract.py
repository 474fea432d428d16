"""Find and open every file of the sources once: what it is, or why it cannot be used. Source → image table.

A file whose size and time are those of an earlier extract is not opened again. What the layout says (class, split)
comes from `etl.sources`; what the bytes say (size, hashes, problem) from `etl.images`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from etl import engine
from etl.images import Facts
from etl.keys import Listed, reader
from etl.opening import Job, Opener, look, lost
from etl.sources.containers import Entry, open_container
from etl.sources.layouts import NO_FILE, NO_LABEL, Options, Reading, read_layout
from etl.steps import Site, Step
from manifests.digests import rank
from manifests.errors import UserError
from manifests.progress import told
from manifests.recipe import Extract, Source
from manifests.store import DatasetStore, Stage
from manifests.table import EXTRACTED, read_table, table_digest, write_table

FACTS = list(Facts._fields)


def make(step: Step, _: dict[str, Stage], site: Site) -> Stage:
    """Publish the image table of the files that were listed."""
    assert isinstance(step.settings, Extract)
    assert step.listed is not None
    settings, found = step.settings, step.listed
    readings = [read_layout(each.container, each.entries, _options(settings, each.source)) for each in found]
    if not any(reading.found for reading in readings):
        raise UserError(f"{settings.source[0].path}: no file found; expected class folders of images, or a label list.")
    files = _files(found, readings)
    known = _known(site.dataset, settings, files)
    with site.dataset.publish(step.begun) as (folder, finish):
        fresh = files.join(known, on=["path", "bytes", "stamp"], how="anti") if known is not None else files
        jobs = [
            Job(found[r["source"]].container, Entry(r["member"], r["bytes"], r["stamp"], r["offset"]))
            for r in fresh.iter_rows(named=True)
        ]
        task = partial(look, max_pixels=settings.max_pixels, background=settings.background, turned=settings.turned)
        results = engine.ordered_map(task, jobs, workers=site.workers, lost=lost)
        opened = _facts_frame(fresh, list(told(results, site.progress, "opening images", len(jobs))))
        seen = (
            opened
            if known is None
            else pl.concat([opened, files.join(known, on=["path", "bytes", "stamp"]).select(opened.columns)])
        )
        table = _table(found, readings, seen, settings)
        write_table(table, folder / "images.parquet")
        write_table(files, folder / "files.parquet")
        return finish(table_digest(table), _counts(table, readings, opened=len(jobs)))


def _options(settings: Extract, source: Source) -> Options:
    return Options(
        layout=settings.layout,
        labels=settings.labels,
        image_column=settings.image_column,
        label_column=settings.label_column,
        mapping=settings.mapping,
        class_name=source.class_name,
    )


def _files(found: list[Listed], readings: list[Reading]) -> pl.DataFrame:
    """Where each file of the table lies: path in the table, source, member, bytes, stamp, offset."""
    rows = [
        (each.prefix + entry.path, number, entry.path, entry.bytes, entry.stamp, entry.offset)
        for number, (each, reading) in enumerate(zip(found, readings, strict=True))
        for wanted in [{row.path for row in reading.found}]
        for entry in each.entries
        if entry.path in wanted
    ]
    kinds = {
        "path": pl.String,
        "source": pl.Int32,
        "member": pl.String,
        "bytes": pl.Int64,
        "stamp": pl.Int64,
        "offset": pl.Int64,
    }
    return pl.DataFrame(rows, schema=kinds, orient="row")


def _known(dataset: DatasetStore, settings: Extract, files: pl.DataFrame) -> pl.DataFrame | None:
    """The facts that an earlier extract by the same reader has of these files."""
    sources = [source.path for source in settings.source]
    for stage in dataset.published("extract"):
        if stage.inputs.get("reader") == reader(settings):
            folder = dataset.folder("extract", stage.key)
            if [each["path"] for each in stage.settings["source"]] != sources:
                continue  # the same names, sizes and times elsewhere are no proof
            where = read_table(folder / "files.parquet").select("path", "bytes", "stamp")
            # The table's `problem` may be the layout's, which is asked again; and what could not be read may be now.
            problem = pl.when(pl.col("phash").is_null()).then("problem")
            images = read_table(folder / "images.parquet").filter(pl.col("sha256").is_not_null())
            images = images.with_columns(problem=problem).select("path", *FACTS)
            return where.join(images, on="path").join(
                files.select("path", "bytes", "stamp"), on=["path", "bytes", "stamp"]
            )
    return None


def _facts_frame(files: pl.DataFrame, results: list[Facts]) -> pl.DataFrame:
    kinds = {name: EXTRACTED[name] for name in FACTS}
    return files.select("path", "bytes", "stamp").hstack(pl.DataFrame(results, schema=kinds, orient="row"))


def _table(found: list[Listed], readings: list[Reading], seen: pl.DataFrame, settings: Extract) -> pl.DataFrame:
    """The image table: what the layout says joined with what the bytes say; the bytes' problem comes first."""
    said = [
        (each.prefix + row.path, row.label, row.split, row.problem, number)
        for number, (each, reading) in enumerate(zip(found, readings, strict=True))
        for row in reading.found
    ]
    kinds = {
        "path": pl.String,
        "label": pl.String,
        "source_split": pl.String,
        "unplaced": pl.String,
        "source": pl.Int32,
    }
    unlabelled = pl.when(pl.col("label").is_null()).then(pl.lit(NO_LABEL))
    table = (
        pl.DataFrame(said, schema=kinds, orient="row")
        .join(seen.drop("stamp"), on="path", how="left")
        .with_columns(problem=pl.coalesce("problem", "unplaced", unlabelled))
        .sort("path")
    )
    samples = [each.source.sample or settings.sample for each in found]
    return table.with_columns(sampled=_sampled(table, samples, settings.seed)).select(EXTRACTED.names()).cast(EXTRACTED)


def _sampled(table: pl.DataFrame, samples: list[int | None], seed: int) -> pl.Series:
    """Which rows are in their source's random sample: decided by seed and image, among the usable ones."""
    chosen: set[int] = set(range(table.height))
    for source, size in enumerate(samples):
        if size is None:
            continue
        usable = table.with_row_index().filter((pl.col("source") == source) & pl.col("problem").is_null())
        ranked = sorted(
            usable.select("index", "sha256", "path").iter_rows(), key=lambda row: (rank(seed, row[1]), row[2])
        )
        chosen -= {row[0] for row in ranked[size:]}
    return pl.Series([row in chosen for row in range(table.height)], dtype=pl.Boolean)


def _counts(table: pl.DataFrame, readings: list[Reading], *, opened: int) -> dict[str, object]:
    problems = table.filter(pl.col("problem").is_not_null())["problem"].str.splitn(": ", 2).struct.field("field_0")
    return {
        "found": table.height,
        "usable": table.height - len(problems),
        "problems": dict(sorted(problems.value_counts().iter_rows())),
        "opened": opened,
        "unread": table.filter(pl.col("sha256").is_null() & (pl.col("problem") != NO_FILE)).height,
        "classes": table.filter(pl.col("problem").is_null())["label"].n_unique(),
        "system_files": sum(len(reading.system) for reading in readings),
        "label_files": sorted(name for reading in readings for name in reading.metadata),
        "layouts": [f"{reading.layout}: {reading.because}" for reading in readings],
        "notes": [note for reading in readings for note in reading.notes],
    }


def by_path(dataset: DatasetStore, stage: Stage) -> Callable[[str], bytes] | None:
    """What gives the bytes of an image by its path in the table (raises Unusable); None where the source is away."""
    try:
        opened, places = opener(dataset, stage)
    except UserError:
        return None
    return lambda path: opened.read(places.row(by_predicate=pl.col("path") == path)[1:])


def opener(dataset: DatasetStore, stage: Stage) -> tuple[Opener, pl.DataFrame]:
    """What reads the images of an extract stage, and the places (files.parquet) to read them from."""
    settings = Extract.model_validate(stage.settings)
    containers = tuple(open_container(Path(source.path), dataset.root / "spool") for source in settings.source)
    return Opener(containers), read_table(dataset.folder("extract", stage.key) / "files.parquet")
