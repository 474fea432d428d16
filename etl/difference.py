"""What changed between two curations or two sources: pure decisions over two image tables, and where those come from.

An image is its sha256, its place a path. Rows are paired one to one: same bytes at the same path, then same bytes at
another path (the first path of one side with the first of the other, where several files have these bytes), then other
bytes at the same path; what is left was added or removed. What was decided of an image is compared by its result:
class, kept or why not, split. How it came about (cluster, distances) is not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from rich.table import Table

from etl.pipeline import plan, read_asked
from manifests.console import cell, plain, table
from manifests.errors import Exit, UserError, known
from manifests.recipe import SPLITS
from manifests.store import DatasetStore, Stage, dataset_names, open_dataset
from manifests.table import CURATED, EXTRACTED, read_table

PREVIOUS, CURRENT = "previous", "current"
LEAST_DIGITS = 4  # of a key given in part
SHOWN = 12  # examples of each kind of change on screen; JSON has all
MOST_CLASSES = 30  # in the table on screen; of more, those that changed
NO_CLASS, REJECTED, UNUSABLE, NO_SPLIT = "(no class)", "rejected", "unusable", "no split"

KINDS = {  # in the order in which they are shown
    "added": "Files added",
    "removed": "Files removed",
    "renamed": "Same bytes at another path",
    "changed": "Other bytes at the same path",
    "label": "The source states another class",
    "source_split": "The source states another split",
    "problem": "Another problem of the file",
    "read": "Same bytes, read otherwise (another decoder or version)",
    "rejected": "Newly rejected",
    "kept": "Newly kept",
    "reason": "Rejected for another reason",
    "class": "Another class",
    "split": "Moved between splits",
    "order": "Another order of classes: the labels in the shards change",
}
MATCHED = {"same": ["path", "sha256"], "renamed": ["sha256"], "changed": ["path"]}  # how rows are paired, in turn
FACTS = ["width", "height", "format", "mode", "orientation", "phash256", "dhash256", "luma_std"]
SAID, DECIDED = ["label", "source_split", "problem"], ["class", "rejected", "split"]
CHANGE = pl.Schema({"path": pl.String, "before": pl.String, "after": pl.String})


@dataclass(frozen=True)
class Difference:
    """All that changed. Each kind of KINDS has a table `path, before, after`; the path is that of the later side."""

    is_curated: bool  # decisions were compared, and not only sources
    changes: dict[str, pl.DataFrame]
    counts: pl.DataFrame  # class, split (or `rejected`, `unusable`), before, after: files

    @property
    def is_same(self) -> bool:
        return all(rows.is_empty() for rows in self.changes.values())

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        return {
            "same": self.is_same,
            "compared": "curations" if self.is_curated else "sources",
            "counts": self.counts.to_dicts(),
            "changes": {kind: rows.to_dicts() for kind, rows in self.changes.items()},
        }


class Side(NamedTuple):
    """One of the two that are compared."""

    name: str  # what it is, for a person
    table: pl.DataFrame
    classes: list[str] | None = None  # in the order of the shards' labels, where it is a curation of the store


def difference(
    before: pl.DataFrame, after: pl.DataFrame, orders: tuple[Sequence[str], Sequence[str]] | None = None
) -> Difference:
    """What changed from one image table to another. Where one of them is not curated, only the sources are compared.

    `orders`: the classes of both in the order of their labels, where those are known.
    """
    is_curated = _is_curated(before) and _is_curated(after)
    sides = [_with_state(side, is_curated=is_curated) for side in (before, after)]
    pairs, gone, come = _paired(*sides)
    came, went = pl.col("state").alias("after"), pl.col("state").alias("before")
    changes = {
        "added": come.select("path", before=pl.lit(None, pl.String), after=came),
        "removed": gone.select("path", before=went, after=pl.lit(None, pl.String)),
        "renamed": _changed(pairs, pl.col("how") == "renamed", "path"),
        "changed": _changed(pairs, pl.col("how") == "changed", "sha256"),
        **{kind: _changed(pairs, _differs(kind), kind) for kind in SAID},
        "read": _read_otherwise(pairs),
        **(_decisions(pairs) if is_curated else {}),
        **({"order": _order(*orders)} if is_curated and orders else {}),
    }
    found = {kind: rows.cast(CHANGE).sort("path", "before") for kind, rows in changes.items()}
    return Difference(is_curated, found, _counts(*sides))


def _is_curated(table: pl.DataFrame) -> bool:
    return set(DECIDED) <= set(table.columns)


def _with_state(side: pl.DataFrame, *, is_curated: bool) -> pl.DataFrame:
    """With `named` (its class), `part` (its split, or that it has none) and `state` (both in words)."""
    name, split = ("class", "split") if is_curated else ("label", "source_split")
    out, called = ("rejected", REJECTED) if is_curated else ("problem", UNUSABLE)
    named = pl.col(name).fill_null(NO_CLASS)
    part = pl.when(pl.col(out).is_null()).then(pl.col(split).fill_null(NO_SPLIT)).otherwise(pl.lit(called))
    state = pl.coalesce(out, pl.concat_str(named, split, separator=", ", ignore_nulls=True))
    wanted = [column for column in ("path", "sha256", *SAID, *FACTS, *DECIDED) if column in side.columns]
    return side.select(*wanted, named=named, part=part, state=state)


def _paired(before: pl.DataFrame, after: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rows of both, paired (`how`, the later side's columns ending in `_after`); the rows gone; the rows come."""
    left, right = (side.select("path", "sha256").with_row_index("row").sort("path") for side in (before, after))
    found: list[pl.DataFrame] = []
    for how, keys in MATCHED.items():
        one, other = (side.with_columns(nth=pl.int_range(pl.len()).over(keys)) for side in (left, right))
        # A file that could not be read has no sha256: it is the same as another such file at its path, nowhere else.
        both = one.join(other, on=[*keys, "nth"], suffix="_after", nulls_equal=how == "same")
        found.append(both.select("row", "row_after", how=pl.lit(how)))
        left = left.join(both, on="row", how="anti", maintain_order="left")
        right = right.join(both, left_on="row", right_on="row_after", how="anti", maintain_order="left")
    rows = pl.concat(found)
    later = after[rows["row_after"]].rename(lambda name: f"{name}_after")
    return pl.concat([rows, before[rows["row"]], later], how="horizontal"), before[left["row"]], after[right["row"]]


def _changed(pairs: pl.DataFrame, holds: pl.Expr, column: str) -> pl.DataFrame:
    return pairs.filter(holds).select(path="path_after", before=column, after=f"{column}_after")


def _differs(column: str) -> pl.Expr:
    return pl.col(column).ne_missing(pl.col(f"{column}_after"))


def _read_otherwise(pairs: pl.DataFrame) -> pl.DataFrame:
    """Images whose bytes are the same and whose facts are not: the names of those facts, and their values."""
    facts = [name for name in FACTS if {name, f"{name}_after"} <= set(pairs.columns)]  # tables made earlier have fewer
    if not facts:
        return CHANGE.to_frame()
    said = [
        pl.concat_str(
            *(pl.when(_differs(name)).then(pl.format(f"{name} {{}}", _text(name + end))) for name in facts),
            separator=", ",
            ignore_nulls=True,
        )
        for end in ("", "_after")
    ]
    same = pairs.filter((pl.col("how") != "changed") & pl.any_horizontal(_differs(name) for name in facts))
    return same.select(path="path_after", before=said[0], after=said[1])


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null("none")


def _decisions(pairs: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """What was decided otherwise of what is on both sides."""
    kept, kept_after = pl.col("rejected").is_null(), pl.col("rejected_after").is_null()
    return {
        "rejected": _changed(pairs, kept & ~kept_after, "state"),
        "kept": _changed(pairs, ~kept & kept_after, "state"),
        "reason": _changed(pairs, ~kept & ~kept_after & _differs("rejected"), "rejected"),
        "class": _changed(pairs, _differs("class"), "class"),
        "split": _changed(pairs, kept & kept_after & _differs("split"), "split"),
    }


def _order(before: Sequence[str], after: Sequence[str]) -> pl.DataFrame:
    """One row where the order is another one. It belongs to no file, so its path is empty."""
    row = [("", ", ".join(before), ", ".join(after))] if list(before) != list(after) else []
    return pl.DataFrame(row, schema=CHANGE, orient="row")


def _counts(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Files of each class and split on both sides."""
    keys = ["named", "part"]
    one, other = (side.group_by(keys).len().cast({"len": pl.Int64}) for side in (before, after))
    both = one.join(other, on=keys, how="full", coalesce=True, suffix="_after")
    counts = both.select(pl.col("named").alias("class"), split="part", before="len", after="len_after").fill_null(0)
    return counts.sort("class", _place(), "split")


def _place() -> pl.Expr:
    """Where a split stands: train, val, test, what has none or another, what is left out."""
    places = {**{name: place for place, name in enumerate(SPLITS)}, NO_SPLIT: 4, REJECTED: 5, UNUSABLE: 5}
    return pl.col("split").replace_strict(places, default=3, return_dtype=pl.Int8)


def found(what: str, store: Path, name: str | None) -> Side:
    """The side that a person means. `name`: of the data set, where one was named.

    In this order: `current`, the curation in force; `previous`, the curation published last that is not in force (the
    store knows when each was made, not when each was asked for again: after A, B, C, A, B it is C); the name of a data
    set in the store: its curation in force or, where it never was curated, its extract; the first digits (4 or more)
    of the key of a curation or an extract; a folder with images.parquet; a parquet file. Raises UserError.
    """
    if what in {PREVIOUS, CURRENT}:
        dataset = open_dataset(store, name)
        now = _in_force(dataset)
        return _side(dataset, now if what == CURRENT else _previous(dataset, now))
    if what in dataset_names(store):
        dataset = DatasetStore(store / what)
        return _side(dataset, _in_force(dataset))
    names = dataset_names(store) if name is None else [open_dataset(store, name).name]
    if hits := _of_key(what, [DatasetStore(store / each) for each in names]):
        return _side(*hits[0])
    file = Path(what) / "images.parquet" if Path(what).is_dir() else Path(what)
    if not file.is_file():
        expected = "the key of a curation or an extract (4 digits or more), a data set, or a folder with images.parquet"
        near = known(what, [PREVIOUS, CURRENT, *dataset_names(store)])
        raise UserError(f"{what}: nothing of this name; expected {expected}. {near}", Exit.USAGE)
    return Side(str(file), _image_table(file))


def _in_force(dataset: DatasetStore) -> Stage:
    """The curation that is asked for, or the extract where nothing was ever curated. Raises UserError: not made yet."""
    steps = {step.stage: step for step in plan(read_asked(dataset), dataset, "curate")}
    wanted = "curate" if dataset.published("curate") else "extract"
    if (stage := steps[wanted].found) is None:
        why = steps["extract"].why or steps[wanted].why
        raise UserError(
            f"{dataset.name}: what is in force is not made ({why}); run: alacena {wanted} --dataset {dataset.name}",
            Exit.STALE,
        )
    return stage


def _previous(dataset: DatasetStore, now: Stage) -> Stage:
    others = [stage for stage in dataset.published("curate") if stage.key != now.key]
    if not others:
        raise UserError(
            f"{dataset.name}: there is no curation but the one in force; name two sides: alacena diff A B", Exit.USAGE
        )
    return others[0]


def _of_key(what: str, datasets: Iterable[DatasetStore]) -> list[tuple[DatasetStore, Stage]]:
    """The stage whose key begins so. Raises UserError where it may be several."""
    if len(what) < LEAST_DIGITS or set(what) - set("0123456789abcdef"):
        return []
    hits = [
        (dataset, stage)
        for dataset in datasets
        for name in ("curate", "extract")
        for stage in dataset.published(name)
        if stage.key.startswith(what)
    ]
    if len(hits) > 1:
        listed = ", ".join(f"{dataset.name} {stage.stage} {stage.key}" for dataset, stage in hits)
        raise UserError(f"{what}: the beginning of {len(hits)} keys: {listed}; give more digits.", Exit.USAGE)
    return hits


def _side(dataset: DatasetStore, stage: Stage) -> Side:
    rows = read_table(dataset.folder(stage.stage, stage.key) / "images.parquet")
    classes = stage.counts["classes"] if stage.stage == "curate" else None
    return Side(f"{dataset.name}: {stage.stage} {stage.key}", rows, classes)


def _image_table(file: Path) -> pl.DataFrame:
    try:
        rows = read_table(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{file}: not readable as parquet: {error}.", Exit.USAGE) from None
    if missing := [name for name in ("path", "sha256", *SAID) if name not in rows.columns]:
        raise UserError(f"{file}: no image table: it has no column {missing[0]!r}.", Exit.USAGE)
    kinds: dict[Any, Any] = {
        name: kind for schema in (EXTRACTED, CURATED) for name, kind in schema.items() if name in rows.columns
    }
    try:
        return rows.cast(kinds)
    except pl.exceptions.PolarsError as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"{file}: no image table: a column is of another type ({said}).", Exit.USAGE) from None


def compared(before: str | None, after: str | None, store: Path, name: str | None) -> tuple[Side, Side, Difference]:
    """Both sides and what changed; unnamed, they are the curation before and the one in force."""
    one, other = found(before or PREVIOUS, store, name), found(after or CURRENT, store, name)
    orders = (one.classes, other.classes) if one.classes is not None and other.classes is not None else None
    return one, other, difference(one.table, other.table, orders)


def shown(before: Side, after: Side, what: Difference) -> Iterable[str | Table]:
    """For a terminal: counts by class, then each kind of change with examples."""
    yield plain(f"{before.name} → {after.name}")
    curated = [_is_curated(side.table) for side in (before, after)]
    if any(curated) and not what.is_curated:
        yield plain(f"Sources only: {(before if curated[1] else after).name} is not curated.")
    if what.is_same:
        yield "Nothing changed."
        return
    yield from _counts_shown(what.counts)
    for kind, rows in what.changes.items():
        if rows.height:
            yield f"\n[bold]{KINDS[kind]}: {rows.height:,}[/bold]"
            yield from (f"  {plain(_line(kind, *row))}" for row in rows.head(SHOWN).iter_rows())
            yield from [f"  … and {rows.height - SHOWN:,} more"] if rows.height > SHOWN else []


def _line(kind: str, path: str, before: str | None, after: str | None) -> str:
    if kind in {"added", "removed"}:
        return f"{path} ({after or before})"
    if kind in {"renamed", "order"}:
        return f"{before} → {after}"
    short = 12 if kind == "changed" else None  # digits of a sha256
    return f"{path}: {(before or 'none')[:short]} → {(after or 'none')[:short]}"


def _counts_shown(counts: pl.DataFrame) -> Iterable[str | Table]:
    """A row a class, a column a split: how many there were, and where it differs, how many there are."""
    moved = counts.filter(pl.col("before") != pl.col("after"))["class"].unique()
    classes = counts["class"].unique(maintain_order=True)
    listed = classes if len(classes) <= MOST_CLASSES else classes.filter(classes.is_in(moved.implode()))
    splits = list(dict.fromkeys(counts.sort(_place(), "split")["split"]))
    sizes = {(name, split): (one, other) for name, split, one, other in counts.iter_rows()}
    body = [(name, *(_size(*sizes.get((name, split), (0, 0))) for split in splits)) for name in listed]
    sums = counts.group_by("split").agg(pl.col("before", "after").sum())
    total = {split: _size(one, other) for split, one, other in sums.iter_rows()}
    yield table(("class", *splits), body, foot=("all", *(total[split] for split in splits)))
    if len(listed) < len(classes):
        yield f"{len(classes) - len(listed):,} classes with the same counts are not listed"


def _size(before: int, after: int) -> str:
    return cell(before) if before == after else f"{cell(before)} → {cell(after)}"
