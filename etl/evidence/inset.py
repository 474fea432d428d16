"""The story of a shard set's data, for the report of a run that learned from it: `curation.html` in short.

A shard set names the views it was made of, the views name their curation, that its image table: by the digests of their
content, so the story is that of these shards and not of what is in force now. The report is another room's; the command
hands the story on (`manifests.pages.sections.Inset`).
"""

import os
from collections.abc import Iterable
from pathlib import Path

import polars as pl
from markupsafe import Markup
from pydantic import ValidationError

from etl.evidence import clusters
from etl.evidence.evidence import Evidence
from etl.evidence.page import FILE
from etl.evidence.sections import answer, classes
from etl.evidence.templates import FOLDER, fragment
from etl.evidence.thumbnails import Thumbnails
from etl.extract import by_path
from manifests.pages.fragments import missing, styles
from manifests.pages.sections import Inset
from manifests.recipe import Curate
from manifests.store import DatasetStore, Stage
from manifests.table import scan_table

STYLES = ("page.css", "sections/answer.css", "sections/classes.css", "inset.css")  # of what is shown
COPIES, CONFLICTS = 3, 2  # clusters shown
PRUNED = (
    "The curation that these images come from is no longer in the store (alacena prune frees what no recipe in force "
    "uses), so its funnel and its duplicates cannot be shown; what was learned from is all in the shards."
)
OTHER = (
    "The curation that these images come from was made by another version of alacena; its own page, if any, shows it."
)


def data_story(dataset: DatasetStore, transform: str, beside: Path) -> Inset:
    """How the images of the shard set of this key came to be: funnel, classes before and after, some clusters.

    `beside` is the folder of the page that shows it: its links lead from there to `curation.html`. Where the curation
    is gone, the story is a sentence that says so.
    """
    stage = curation(dataset, transform)
    if stage is None:
        return Inset(missing(PRUNED), Markup())
    folder = dataset.folder("curate", stage.key)
    file = folder / FILE
    page = Path(os.path.relpath(file, beside)).as_posix() if file.is_file() else None
    evidence = _evidence(dataset, stage)
    body = _drawn(evidence, page) if evidence else missing(OTHER)
    return Inset(body, styles(FOLDER / name for name in STYLES), _numbers(evidence) if evidence else "")


def curation(dataset: DatasetStore, transform: str) -> Stage | None:
    """The curation that a shard set came from, or None where it or what leads to it is gone."""
    shards = dataset.find("transform", transform)
    views = _made(dataset, "augment", shards.inputs.get("views")) if shards else None
    return _made(dataset, "curate", views.inputs.get("curated")) if views else None


def _made(dataset: DatasetStore, stage: str, content: str | None) -> Stage | None:
    """The stage of this content. Of several, the newest: what came out of them is the same to the last row."""
    return next((each for each in dataset.published(stage) if each.digest == content), None)


def _evidence(dataset: DatasetStore, stage: Stage) -> Evidence | None:
    """What the sections read; None where the settings are those of another version."""
    try:
        settings = Curate.model_validate(stage.settings)
    except ValidationError:
        return None
    table = scan_table(dataset.folder("curate", stage.key) / "images.parquet")
    extracted = _made(dataset, "extract", stage.inputs.get("images"))
    read = by_path(dataset, extracted) if extracted else None
    return Evidence(dataset.name, table, stage.counts["classes"], stage.counts, settings, Thumbnails(read))


def _drawn(evidence: Evidence, page: str | None) -> Markup:
    copies = evidence.clustered.filter(~pl.col("conflict"))
    conflicts = evidence.clustered.filter("conflict")
    return fragment(
        "inset.html",
        page=page,
        drawn=answer.drawn(evidence),
        classes=classes.render(evidence),
        copies=_some(evidence, copies, COPIES),
        conflicts=_some(evidence, conflicts, CONFLICTS),
        left_out=copies.filter("is_copy").height,
        of_copies=copies["cluster"].n_unique(),
        of_conflicts=conflicts["cluster"].n_unique(),
        method=evidence.settings.dedupe.partition(":")[0],
    )


def _numbers(evidence: Evidence) -> str:
    """What the pictures count, as CSV: `what` (found, left out, found as, train, val, test), `name` and `images`."""
    table = evidence.table
    reasons = pl.col("rejected").drop_nulls().str.split(": ").list.first()
    kept = table.filter(pl.col("rejected").is_null()).group_by("split", "class").len("images").sort("split", "class")
    parts = [
        table.select(pl.lit("found").alias("what"), pl.lit("").alias("name"), pl.len().alias("images")),
        _counted(table.select(name=reasons), "left out"),
        _counted(table.select(name=pl.col("label").drop_nulls()), "found as"),
        kept.select(pl.col("split").alias("what"), pl.col("class").alias("name"), "images"),
    ]
    return pl.concat(parts, how="vertical_relaxed").collect().write_csv()


def _counted(values: pl.LazyFrame, what: str) -> pl.LazyFrame:
    return values.group_by("name").len("images").sort("name").select(pl.lit(what).alias("what"), "name", "images")


def _some(evidence: Evidence, rows: pl.DataFrame, most: int) -> Iterable[clusters.Cluster]:
    """The largest cluster, those that reach furthest, and others."""
    return clusters.drawn(evidence, rows, clusters.chosen(rows, 1, most - 1, most))
