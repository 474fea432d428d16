"""What each run scores and costs; of runs that were repeated, mean and deviation over the seeds."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from manifests.pages.fragments import count, duration, fixed, percent
from training.compare import Comparison, Row
from training.comparison.templates import fragment
from training.comparison.words import size

ORDER = 20
TITLE = "Runs"
Column = tuple[str, Callable[[Row], float | None], Callable[[float], str], Callable[[Sequence[float]], float] | None]
COLUMNS: tuple[Column, ...] = (  # heading, value, how it reads, which of all is marked
    ("Accuracy", lambda row: row.accuracy, percent, max),
    ("Macro F1", lambda row: row.macro_f1, fixed, max),
    ("Loss", lambda row: row.loss, fixed, min),
    ("Parameters", lambda row: row.parameters, lambda value: count(int(value)), None),
    ("Trainable", lambda row: row.trainable, lambda value: count(int(value)), None),
    ("Training", lambda row: row.train_seconds, duration, None),
    ("Epochs", lambda row: row.epochs, lambda value: count(int(value)), None),
    ("ms an image", lambda row: row.milliseconds_per_image, lambda value: f"{value:.3g}", None),
    ("On disk", lambda row: row.bytes, lambda value: size(int(value)), None),
)


def render(comparison: Comparison) -> Markup:
    heads, cells = columns(comparison.rows)
    return fragment("runs.html", heads=heads, runs=zip(comparison.rows, cells, strict=True), groups=comparison.groups)


def columns(rows: Sequence[Row]) -> tuple[list[str], list[list[tuple[str, bool]]]]:
    """Headings, and of each run the texts with whether it is the best of all; what nobody measured is left out."""
    there = [column for column in COLUMNS if any(column[1](row) is not None for row in rows)]
    cells = [_column(rows, *column) for column in there]
    return [heading for heading, *_ in there], [list(row) for row in zip(*cells, strict=True)]


def _column(
    rows: Sequence[Row],
    _: str,
    value: Callable[[Row], float | None],
    text: Callable[[float], str],
    best: Callable[[Sequence[float]], float] | None,
) -> list[tuple[str, bool]]:
    values = [value(row) for row in rows]
    top = best([each for each in values if each is not None]) if best else None
    return [("–" if each is None else text(each), top is not None and each == top) for each in values]
