"""What a terminal shows of a comparison: the table of runs, a sentence a pair, the classes that moved most."""

from collections.abc import Iterator

from rich.table import Table

from manifests.console import duration, plain, table
from training.compare import EVERY_PAIR, Comparison, Row
from training.comparison.words import size
from training.paired import points

MOVED = 6  # classes shown of a single pair
SCORES = ("run", "accuracy", "95 % interval", "macro F1", "loss")
COSTS = ("run", "parameters", "trainable", "training", "epochs", "ms an image", "on disk")


def shown(comparison: Comparison) -> Iterator[str | Table]:
    """Lines and tables, in order; the rest is on the page."""
    count = len(comparison.entrants[0].facts["classes"])
    yield (
        f"[bold]{len(comparison.names)} runs[/bold] on {comparison.split}: "
        f"{comparison.images:,} images, {count:,} classes; the baseline is {plain(comparison.names[0])}"
    )
    yield from runs_tables(comparison)
    yield ""
    yield from sentences(comparison)
    if comparison.groups:
        yield ""
        yield groups_table(comparison)
    if len(comparison.pairs) == 1 and (moved := moved_line(comparison)):
        yield moved
    yield from (f"Note: {plain(note)}" for note in comparison.notes)


def runs_tables(comparison: Comparison) -> Iterator[Table | str]:
    """What the runs score, and what they cost: two tables, since one is wider than most terminals."""
    rows = comparison.rows
    yield table(
        SCORES, [(row.run, row.accuracy, f"{row.low:.3f}–{row.high:.3f}", row.macro_f1, row.loss) for row in rows]
    )
    yield ""
    yield table(COSTS, [costs(row) for row in rows])


def costs(row: Row) -> tuple[str | int | None, ...]:
    speed = row.milliseconds_per_image
    return (
        row.run,
        row.parameters,
        row.trainable,
        duration(row.train_seconds),
        row.epochs,
        None if speed is None else f"{speed:.3g}",
        size(row.bytes, " "),
    )


def sentences(comparison: Comparison) -> Iterator[str]:
    """A sentence a pair; which pairs, and what was corrected for, where there are several."""
    for pair in comparison.pairs:
        yield f"{plain(pair.b)} against {plain(pair.a)}: {pair.sentence}"
    if len(comparison.pairs) > 1:
        which = "every pair" if len(comparison.names) <= EVERY_PAIR else "each run against the first"
        yield f"McNemar's exact test of {which}, {len(comparison.pairs)} tests, corrected by Holm's method."
    for pair in comparison.group_pairs:
        yield f"{plain(pair.b)} against {plain(pair.a)}, means over seeds: {pair.sentence}"


def groups_table(comparison: Comparison) -> Table:
    rows = [
        (
            group.name,
            len(group.runs),
            spread(group.accuracy, group.accuracy_deviation),
            spread(group.macro_f1, group.macro_f1_deviation),
        )
        for group in comparison.groups
    ]
    return table(("mean ± deviation", "seeds", "accuracy", "macro F1"), rows)


def spread(mean: float, deviation: float | None) -> str:
    return f"{mean:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def moved_line(comparison: Comparison) -> str:
    """`Recall moved most: cup +20.0 points, jar −5.0`; empty where none moved."""
    moved = [each for each in comparison.classes.head(MOVED).iter_rows(named=True) if each["difference"]]
    said = ", ".join(
        f"{plain(each['class'])} {points(each['difference'], each['images'], sign=True)}" for each in moved
    )
    return f"Recall moved most, in points: {said}" if said else ""
