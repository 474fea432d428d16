"""Which images stay, as which class, in which split: decisions over the image table. No image is opened here.

Each rule marks rows with its reason and leaves the rest alone; the first reason stands. A reason is `kind: details`,
and the kinds are what the summary counts. Copies are the affair of `etl.copies`, bad pictures of `etl.faults`. To add a
rule: a setting in `manifests.recipe.Curate`, a function here, its place in SIEVE or SIZES, and its test.
"""

from collections.abc import Callable
from typing import Any

import polars as pl

from etl.copies import Likeness, decide, likeness, lookalikes
from etl.decisions import NOTHING, Decided, laid_over, read_decisions, words
from etl.faults import faulty
from etl.sources.layouts import NO_LABEL
from etl.splits import given_split, is_given, with_splits
from etl.steps import Site, Step
from manifests.digests import digest, rank
from manifests.errors import UserError, known
from manifests.recipe import SPLITS, Curate
from manifests.store import Stage
from manifests.table import kept, read_table, reject, table_digest, write_table


def curate(
    table: pl.DataFrame, settings: Curate, decided: Decided = NOTHING, alike: Likeness | None = None
) -> pl.DataFrame:
    """The image table with the columns that curation adds (`manifests.table.CURATED`).

    `alike` is what `resemblances` gives, for whoever asks many times: it is found here otherwise. Raises UserError for
    a class that nothing has, a class under the least size, or when nothing is left.
    """
    table = sieved(table, settings, decided)
    if alike is None or not alike.covers(kept(table)):
        alike = likeness(kept(table), settings)
    table = copies(table, settings, decided, alike)
    for rule in SIZES:
        table = rule(table, settings)
    _refuse_nothing(table, settings)
    table = to_look_at(with_splits(table, settings), settings, decided, alike)
    return table.drop("pinned", "why_by_hand")


def sieved(table: pl.DataFrame, settings: Curate, decided: Decided = NOTHING) -> pl.DataFrame:
    """What is decided of each image by itself; its copies and the size of its class come after."""
    table = _begin(table, settings, decided)
    for rule in SIEVE:
        table = rule(table, settings)
    return table


def resemblances(table: pl.DataFrame, settings: Curate) -> Likeness:
    """Which images of an extracted table resemble each other, whatever a person may decide of them."""
    loosest = settings.model_copy(update={"faults": {}, "min_side": None})
    return likeness(kept(sieved(table, loosest)), loosest)


def _refuse_nothing(table: pl.DataFrame, settings: Curate) -> None:
    left = set(kept(table)["class"])
    if left and (gone := sorted(asked_for(settings) - left)) and not settings.drop_small_classes:
        why = _reasons(table.filter(pl.col("class").is_in(gone)))
        raise UserError(
            f"curate.classes: no image is left of {', '.join(gone)}: {why}; "
            "loosen the settings, or leave such classes out with --drop-small-classes."
        )
    if not left:
        raise UserError(f"curate: nothing is left of {table.height} files: {_reasons(table)}. Loosen the settings.")


def class_order(table: pl.DataFrame, settings: Curate) -> list[str]:
    """The classes in the order that shards, checkpoints and exports keep: as asked for, else by name."""
    there = set(kept(table)["class"])
    asked = dict.fromkeys(settings.rename.get(name, name) for name in settings.classes)
    return [name for name in asked if name in there] or sorted(there)


def _begin(table: pl.DataFrame, settings: Curate, decided: Decided) -> pl.DataFrame:
    """Classes renamed, or as a person says; nothing rejected yet. A name that nobody knows is an error."""
    labels = set(table["label"].drop_nulls())
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
        cluster=pl.col("sha256"),
        bits=pl.lit(0, pl.Int16),
        group=pl.col("sha256"),
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
    rows = kept(table)
    if rows.is_empty():
        return table
    found = decide(rows, settings, alike, decided)
    table = table.drop("cluster", "bits", "group").join(found, on="path", how="left", maintain_order="left")
    table = table.with_columns(
        pl.coalesce("cluster", "sha256").alias("cluster"),
        pl.coalesce("group", "sha256").alias("group"),
        pl.col("bits").fill_null(0),
    )
    table = reject(table, pl.col("conflict").is_not_null(), pl.col("conflict"))
    if settings.dedupe != "off":
        table = reject(table, pl.col("copy").is_not_null(), pl.col("copy"))
    return table.drop("conflict", "copy")


def to_look_at(table: pl.DataFrame, settings: Curate, decided: Decided, alike: Likeness) -> pl.DataFrame:
    """Mark the kept images that resemble another one, for a person to decide."""
    rows = kept(table)
    if not settings.dedupe.startswith("near") or rows.is_empty():
        return table.with_columns(like=pl.lit(None, pl.String), like_bits=pl.lit(None, pl.Int16))
    marked = lookalikes(rows, settings, alike, decided)
    here = pl.col("rejected").is_null()
    return table.join(marked, on="sha256", how="left", maintain_order="left").with_columns(
        pl.when(here).then("like").alias("like"), pl.when(here).then("like_bits").alias("like_bits")
    )


def small_classes(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """Classes too small to learn: an error that names them, or left out if that was asked for."""
    if settings.min_per_class is None:
        return table
    sizes = dict.fromkeys(class_names(table, settings), 0) | dict(kept(table).group_by("class").len().iter_rows())
    small = {name: size for name, size in sorted(sizes.items()) if size < settings.min_per_class}
    if small and not settings.drop_small_classes:
        listed = ", ".join(f"{name} ({size})" for name, size in small.items())
        raise UserError(
            f"curate.min_per_class = {settings.min_per_class}: {len(small)} classes have fewer images: {listed}; "
            "lower it, or leave them out with --drop-small-classes."
        )
    size = pl.col("class").replace_strict(small, default=0, return_dtype=pl.Int64)
    reason = pl.format(f"class too small: {{}} images, {settings.min_per_class} asked for", size)
    return reject(table, pl.col("class").is_in(list(small)), reason)


def class_names(table: pl.DataFrame, settings: Curate) -> list[str]:
    """Every class that could be kept, whether an image is left of it or not."""
    return sorted(asked_for(settings) or set(table["class"].drop_nulls()))


def asked_for(settings: Curate) -> set[str]:
    """The classes named, as they are called after renaming; empty where all are meant."""
    return {settings.rename.get(name, name) for name in settings.classes}


def over_the_cap(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """The images that a shuffle by seed and image puts last; of each given split by itself, so that none is thinned
    because another is large. What a person pinned comes first. Adding one image changes at most one other."""
    if settings.max_per_class is None:
        return table
    rows = kept(table)
    places = pl.Series([rank(settings.seed, "cap", sha256) for sha256 in rows["sha256"]], dtype=pl.String)
    within = ["class", given_split(settings).alias("part") if is_given(rows, settings) else pl.lit("").alias("part")]
    ranked = rows.with_columns(places.alias("place"), *within[1:]).sort(~pl.col("pinned"), "place", "path")
    ranked = ranked.with_columns(number=pl.int_range(pl.len()).over("class", "part"), of=pl.len().over("class", "part"))
    over = ranked.filter((pl.col("number") >= settings.max_per_class) & ~pl.col("pinned"))
    sizes = dict(over.select("path", "of").iter_rows())
    reason = pl.format(
        f"over the cap: {settings.max_per_class} of {{}} kept",
        pl.col("path").replace_strict(sizes, default=0, return_dtype=pl.Int64),
    )
    return reject(table, pl.col("path").is_in(list(sizes)), reason)


def without_a_split(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    rows = kept(table)
    if not is_given(rows, settings):
        return table
    if rows.height and rows["source_split"].is_null().all():
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
    """Publish the marked table of these settings, and `curation.html`, which shows it."""
    from etl.evidence import write_curation
    from etl.extract import by_path

    assert isinstance(step.settings, Curate)
    extracted = done["extract"]
    with site.dataset.publish(step.begun) as (folder, finish):
        table = read_table(site.dataset.folder("extract", extracted.key) / "images.parquet")
        decided = laid_over(table, read_decisions(step.settings.reject))
        marked = curate(table, step.settings, decided)
        write_table(marked, folder / "images.parquet")
        classes = class_order(marked, step.settings)
        empty = [name for name in class_names(marked, step.settings) if name not in classes]
        counts = {
            **funnel(marked, [*classes, *empty]),
            "classes": classes,
            "unmatched": [f"{each.image} ({each.place})" for each in decided.unmatched],
        }
        content = digest([table_digest(marked), classes])
        read = by_path(site.dataset, extracted)
        digests = {"curation": content, "image table": extracted.digest}
        write_curation(folder, marked, classes, counts, step.settings, read, name=site.dataset.name, digests=digests)
        return finish(content, counts)


def funnel(table: pl.DataFrame, classes: list[str]) -> dict[str, Any]:
    """What became of every file found, and of each class by split. Found = kept + all that is rejected."""
    kind = pl.col("rejected").str.splitn(": ", 2).struct.field("field_0")
    rejected = table.filter(pl.col("rejected").is_not_null()).group_by(kind.alias("kind")).len().sort("kind")
    placed = {(name, split): size for name, split, size in kept(table).group_by("class", "split").len().iter_rows()}
    found = dict(table.group_by("class").len().iter_rows())
    per_class = [
        {"class": name, "found": found.get(name, 0), **{split: placed.get((name, split), 0) for split in SPLITS}}
        for name in classes
    ]
    what = pl.col("rejected").str.strip_prefix("label conflict: ")
    conflicts = table.filter(pl.col("rejected").str.starts_with("label conflict")).sort("cluster", "path")
    return {
        "found": table.height,
        "kept": kept(table).height,
        "rejected": dict(rejected.iter_rows()),
        "per_class": per_class,
        "conflicts": list(conflicts.select(pl.format("{} ({}): {}", "path", "class", what)).to_series()),
        "waiting": table["like"].drop_nulls().len(),  # resemble another one: for a person to look at
        "elsewhere": table.height
        - sum(found.get(name, 0) for name in classes),  # without a class, or of one not asked for
    }
