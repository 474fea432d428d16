"""Which images stay, as which class, in which split: decisions over the image table. No image is opened here.

Each rule marks rows with its reason and leaves the rest alone; the first reason stands. A reason is `kind: details`,
and the kinds are what the summary counts. Copies are the affair of `etl.copies`, bad pictures of `etl.faults`. To add a
rule: a setting in `manifests.recipe.Curate`, a function here or, of whole classes, in `etl.sizes`, its place in SIEVE
or SIZES, and its test.
"""

from collections.abc import Callable
from typing import Any

import polars as pl

from etl.copies import NEEDED, decide, lookalikes
from etl.decisions import NOTHING, Decided, laid_over, read_decisions, words
from etl.faults import faulty, measured
from etl.likeness import Likeness, hashes_of, likeness
from etl.sizes import asked_for, class_names, over_the_cap, small_classes
from etl.sources.layouts import NO_LABEL
from etl.splits import is_given, with_splits
from etl.steps import Site, Step
from manifests.digests import digest
from manifests.errors import UserError, known
from manifests.recipe import SPLITS, Curate
from manifests.store import Stage
from manifests.table import CURATED, EXTRACTED, kept, read_table, reject, scan_table, spread, table_digest, write_table


def curate(
    table: pl.DataFrame, settings: Curate, decided: Decided = NOTHING, alike: Likeness | None = None
) -> pl.DataFrame:
    """The image table with the columns that curation adds (`manifests.table.CURATED`).

    `alike` is what `resemblances` gives, for whoever asks many times: it is found here otherwise. Raises UserError for
    a class that nothing has, a class under the least size, or when nothing is left.
    """
    return beside(table.lazy(), marks(table, settings, decided, alike)).collect()


def beside(table: pl.LazyFrame, marked: pl.DataFrame) -> pl.LazyFrame:
    """The table with what `marks` gives of it, to be collected or written."""
    both = pl.concat([table.select(pl.exclude(*CURATED)), marked.lazy()], how="horizontal")
    return both.with_columns(pl.coalesce("cluster", "sha256"), pl.coalesce("group", "sha256"))


def marks(
    table: pl.DataFrame, settings: Curate, decided: Decided = NOTHING, alike: Likeness | None = None
) -> pl.DataFrame:
    """Row by row the columns of CURATED, but that `cluster` and `group` are null where they are the image's own sha256:
    ten million of them twice more would be 1.6 GB. Of EXTRACTED, the columns that `needed` names are enough."""
    table = sieved(table, settings, decided)
    if alike is None or not alike.covers(kept(table.select("sha256", "rejected"))):
        alike = likeness(kept(table.select("rejected", *LIKENESS, *hashes_of(settings))), settings)
    table = copies(table.drop("pixels", *hashes_of(settings)), settings, decided, alike)
    for rule in SIZES:
        table = rule(table, settings)
    _refuse_nothing(table, settings)
    return to_look_at(with_splits(table, settings), settings, decided, alike).select(*CURATED)


def needed(settings: Curate) -> list[str]:
    """The columns of an extracted table that are read to decide by these settings: of ten million rows the others are
    half of the memory."""
    asked = {*READ, *LIKENESS, *hashes_of(settings), *measured(settings)}
    return [name for name in EXTRACTED if name in asked]


LIKENESS = ["sha256", "luma_std", "pixels"]  # beside the hashes: what says nothing resembles nothing
READ = [
    "path", "sha256", "label", "source_split", "sampled", "bytes", "width", "height", "format", "problem",
]  # fmt: skip


def sieved(table: pl.DataFrame, settings: Curate, decided: Decided = NOTHING) -> pl.DataFrame:
    """What is decided of each image by itself; its copies and the size of its class come after."""
    table = _begin(table, settings, decided)
    for rule in SIEVE:
        table = rule(table, settings)
    return table


def resemblances(table: pl.DataFrame, settings: Curate) -> Likeness:
    """Which images of an extracted table resemble each other, whatever a person may decide of them."""
    loosest = settings.model_copy(update={"faults": {}, "min_side": None})
    return likeness(kept(sieved(table, loosest).select("rejected", *LIKENESS, *hashes_of(loosest))), loosest)


def _refuse_nothing(table: pl.DataFrame, settings: Curate) -> None:
    left = _classes_kept(table)
    if left and (gone := sorted(asked_for(settings) - left)) and not settings.drop_small_classes:
        why = _reasons(table.filter(pl.col("class").is_in(gone)))
        raise UserError(
            f"curate.classes: no image is left of {', '.join(gone)}: {why}; "
            "loosen the settings, or leave such classes out with --drop-small-classes."
        )
    if not left:
        raise UserError(f"curate: nothing is left of {table.height} files: {_reasons(table)}. Loosen the settings.")


def _classes_kept(table: pl.DataFrame | pl.LazyFrame) -> set[str]:
    return set(table.lazy().filter(pl.col("rejected").is_null()).select("class").unique().collect().to_series())


def class_order(table: pl.DataFrame | pl.LazyFrame, settings: Curate) -> list[str]:
    """The classes in the order that shards, checkpoints and exports keep: as asked for, else by name."""
    there = _classes_kept(table)
    asked = dict.fromkeys(settings.rename.get(name, name) for name in settings.classes)
    return [name for name in asked if name in there] or sorted(there)


def _begin(table: pl.DataFrame, settings: Curate, decided: Decided) -> pl.DataFrame:
    """Classes renamed, or as a person says; nothing rejected yet. A name that nobody knows is an error."""
    labels = set(table["label"].drop_nulls().unique())
    for name in settings.rename:
        if name not in labels:
            raise UserError(f"curate.rename: the source has no class {name!r}. {known(name, sorted(labels))}")
    classes = labels | set(settings.rename.values())
    for name in settings.classes:
        if name not in classes:
            raise UserError(f"curate.classes: the source has no class {name!r}. {known(name, sorted(classes))}")
    for decision in decided.relabelled.values():
        if (name := decision.class_name) not in classes:
            raise UserError(f"{decision.place}: relabel: there is no class {name!r}. {known(name, sorted(classes))}")
    called = {settings.rename.get(name, name) for name in labels} | set(settings.rename.values())
    relabelled = {
        path: name if name in called else settings.rename[name]
        for path, each in decided.relabelled.items()
        for name in [each.class_name]
    }
    return table.with_columns(
        _by_path(relabelled, pl.String).fill_null(pl.col("label").replace(settings.rename)).alias("class"),
        decided=_by_path(words(decided), pl.String),
        pinned=pl.col("path").is_in(list(decided.pinned)),
        why_by_hand=_by_path(decided.rejected, pl.String),
        cluster=pl.lit(None, pl.String),
        bits=pl.lit(0, pl.Int16),
        group=pl.lit(None, pl.String),
        rejected=pl.lit(None, pl.String),
    )


def _by_path(values: dict[str, Any], kind: Any) -> pl.Expr:
    return pl.col("path").replace_strict(values, default=None, return_dtype=kind)


def unusable(table: pl.DataFrame, _: Curate) -> pl.DataFrame:
    """What has no label may get one by hand."""
    labelled = (pl.col("problem") == NO_LABEL) & pl.col("class").is_not_null()
    return reject(table, pl.col("problem").is_not_null() & ~labelled, pl.format("unusable: {}", "problem"))


def rejected_by_hand(table: pl.DataFrame, _: Curate) -> pl.DataFrame:
    return reject(table, pl.col("why_by_hand").is_not_null(), pl.format("by hand: {}", "why_by_hand"))


def not_asked_for(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """`classes` names classes as they are called after renaming, or as the source calls them."""
    if not settings.classes:
        return table
    return reject(
        table, ~pl.col("class").is_in(list(asked_for(settings))), pl.format("class not asked for: {}", "class")
    )


def not_sampled(table: pl.DataFrame, _: Curate) -> pl.DataFrame:
    return reject(table, ~pl.col("sampled"), "not in the random sample")


def too_small(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Images that the transform would have to enlarge: upscaling adds blur, not detail."""
    side = pl.min_horizontal("width", "height")
    if settings.min_side is None:
        return table
    why = pl.format(f"too small: shorter side {{}} px, under {settings.min_side}", side)
    return reject(table, (side < settings.min_side) & ~pl.col("pinned"), why)


def copies(table: pl.DataFrame, settings: Curate, decided: Decided, alike: Likeness) -> pl.DataFrame:
    """Duplicates, and label conflicts: copies under different classes, of which none can be believed."""
    rows, here = _related(table, decided, alike)
    if rows.is_empty():
        return table
    found = decide(rows, settings, alike, decided)
    why = found.select(pl.coalesce("conflict", "copy") if settings.dedupe != "off" else "conflict").to_series()
    return table.with_columns(
        cluster=spread(found["cluster"], here),
        bits=spread(found["bits"], here).fill_null(0),
        group=spread(found["group"], here),
        rejected=pl.when(here).then(spread(why, here)).otherwise("rejected"),
    )


def _related(table: pl.DataFrame, decided: Decided, alike: Likeness) -> tuple[pl.DataFrame, pl.Series]:
    """The kept rows that may have a copy or a look-alike, and which rows of the table they are."""
    is_kept = table["rejected"].is_null()
    related = alike.related(kept(table.select("sha256", "rejected")), decided)
    here = spread(related, is_kept).fill_null(value=False)
    return table.select(NEEDED).filter(here), here


def to_look_at(table: pl.DataFrame, settings: Curate, decided: Decided, alike: Likeness) -> pl.DataFrame:
    """Mark the kept images that resemble another one, for a person to decide."""
    nothing = table.with_columns(like=pl.lit(None, pl.String), like_bits=pl.lit(None, pl.Int16))
    if not settings.dedupe.startswith("near"):
        return nothing
    rows, here = _related(table, decided, alike)
    if rows.is_empty():
        return nothing
    marked = lookalikes(rows, settings, alike, decided)
    return table.with_columns(like=spread(marked["like"], here), like_bits=spread(marked["like_bits"], here))


def without_a_split(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    splits = kept(table.select("source_split", "rejected"))
    if not is_given(splits, settings):
        return table
    if splits.height and splits["source_split"].is_null().all():
        raise UserError("curate.split = given: the source states no splits; give fractions: --split 0.8,0.2")
    return reject(table, pl.col("source_split").is_null(), "no split in the source")


Rule = Callable[[pl.DataFrame, Curate], pl.DataFrame]
SIEVE: tuple[Rule, ...] = (
    unusable, rejected_by_hand, not_asked_for, not_sampled, too_small, faulty, without_a_split,
)  # fmt: skip
SIZES: tuple[Rule, ...] = (small_classes, over_the_cap)


def _reasons(table: pl.DataFrame) -> str:
    kinds = table["rejected"].drop_nulls().str.splitn(": ", 2).struct.field("field_0").value_counts(sort=True)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.iter_rows()) or "no image carries it"


def make(step: Step, done: dict[str, Stage], site: Site) -> Stage:
    """Publish the marked table of these settings, and `curation.html`, which shows it.

    In memory are the columns that decide and those that are decided; the others pass through, from file to file.
    """
    from etl.evidence import write_curation
    from etl.extract import by_path

    assert isinstance(step.settings, Curate)
    settings, extracted = step.settings, done["extract"]
    images = site.dataset.folder("extract", extracted.key) / "images.parquet"
    with site.dataset.publish(step.begun) as (folder, finish):
        decided = laid_over(scan_table(images), read_decisions(settings.reject))
        marked = marks(read_table(images, needed(settings)), settings, decided)
        write_table(beside(scan_table(images), marked), folder / "images.parquet")
        del marked
        table = scan_table(folder / "images.parquet")
        classes = class_order(table, settings)
        empty = [name for name in class_names(table, settings) if name not in classes]
        counts = {
            **funnel(table, [*classes, *empty]),
            "classes": classes,
            "unmatched": [f"{each.image} ({each.place})" for each in decided.unmatched],
        }
        content = digest([table_digest(table), classes])
        read = by_path(site.dataset, extracted)
        digests = {"curation": content, "image table": extracted.digest}
        write_curation(folder, table, classes, counts, settings, read, name=site.dataset.name, digests=digests)
        return finish(content, counts)


def funnel(table: pl.DataFrame | pl.LazyFrame, classes: list[str]) -> dict[str, Any]:
    """What became of every file found, and of each class by split. Found = kept + all that is rejected."""
    rows = table.lazy()
    kind = pl.col("rejected").str.splitn(": ", 2).struct.field("field_0").alias("kind")
    kinds = rows.group_by(kind).len().sort("kind", nulls_last=True).collect()
    sizes = rows.group_by("class", "split").len().collect()
    placed = {(name, split): size for name, split, size in sizes.iter_rows()}
    found = dict(sizes.group_by("class").agg(pl.col("len").sum()).iter_rows())
    per_class = [
        {"class": name, "found": found.get(name, 0), **{split: placed.get((name, split), 0) for split in SPLITS}}
        for name in classes
    ]
    what = pl.col("rejected").str.strip_prefix("label conflict: ")
    conflicts = rows.filter(pl.col("rejected").str.starts_with("label conflict")).sort("cluster", "path")
    everything = sum(found.values())
    return {
        "found": everything,
        "kept": sum(kinds.filter(pl.col("kind").is_null())["len"]),
        "rejected": dict(kinds.drop_nulls().iter_rows()),
        "per_class": per_class,
        "conflicts": conflicts.select(pl.format("{} ({}): {}", "path", "class", what)).collect().to_series().to_list(),
        "waiting": rows.select(pl.col("like").count()).collect().item(),  # resemble another: for a person to look at
        "elsewhere": everything
        - sum(found.get(name, 0) for name in classes),  # without a class, or of one not asked for
    }
