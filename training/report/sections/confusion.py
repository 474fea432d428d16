"""What is taken for what: counts in cells while they can be read, then a shaded map; the most-confused pairs beside."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from manifests.pages.charts import ticks
from manifests.pages.fragments import images, missing, percent
from training.folders import CONFUSION
from training.report.clustering import Group, Matrix, clustered
from training.report.evidence import Evidence
from training.report.numbers import numbers_of
from training.report.templates import fragment

ORDER = 30
TITLE = "Confusion"
COUNTED = 25  # classes up to which a cell holds its count
NAMED = 60  # classes up to which a map has their names along its sides
SHADES = 8  # levels above nothing
PAIRS = 12  # most-confused pairs shown
GROUPS = 8  # groups of classes that are mixed up with each other shown, and framed in the map


def render(evidence: Evidence) -> Markup:
    figures = evidence.evaluation
    if figures is None:
        return missing("Not evaluated yet: alacena evaluate counts what is taken for what.")
    names, matrix = [score["name"] for score in figures["classes"]], figures["confusion"]
    many = len(names) > COUNTED
    clusters = clustered(matrix) if many else None
    order = clusters.order if clusters else range(len(names))
    placed = [names[n] for n in order]
    groups = clusters.groups[:GROUPS] if clusters else ()
    return fragment(
        "confusion.html",
        rows=[] if many else table_rows(names, matrix),
        map=heat_map(placed, [[matrix[t][p] for p in order] for t in order], groups) if many else None,
        names=placed,
        groups=[(group.images, [names[n] for n in group.members]) for group in groups],
        pairs=figures["confused"][:PAIRS],
        wrong=figures["images"] - sum(matrix[n][n] for n in range(len(names))),
        numbers=numbers_of(evidence, CONFUSION),
        legend=[(level, percent((level / SHADES) ** 2, 0)) for level in range(1, SHADES + 1)],
    )


def shade(share: float) -> int:
    """A level from 0 (none) to SHADES (all) of the true class; by the root, so that single mistakes are seen."""
    return math.ceil(SHADES * math.sqrt(share) - 1e-9)


@dataclass(frozen=True)
class Cell:
    images: int
    level: int
    kind: str  # hit on the diagonal, else miss
    tip: str


@dataclass(frozen=True)
class Row:
    name: str
    cells: list[Cell]
    images: int


def table_rows(names: list[str], matrix: Matrix) -> list[Row]:
    def cell(t: int, p: int) -> Cell:
        found, of = matrix[t][p], sum(matrix[t])
        what = f"{names[t]} named right" if t == p else f"{names[t]} taken for {names[p]}"
        return Cell(found, shade(found / of) if of else 0, "hit" if t == p else "miss", f"{what}: {found} of {of}")

    each = range(len(names))
    return [Row(names[t], [cell(t, p) for p in each], sum(matrix[t])) for t in each]


@dataclass(frozen=True)
class Map:
    """Geometry of a heat map, in pixels of its own."""

    cell: int  # side of one cell
    left: int  # margin for the names or numbers of the rows
    foot: int  # the same for the columns
    side: int  # of the square
    strokes: dict[str, str]  # style class → path, in cells
    marks: list[tuple[float, str]]  # place of a row's or column's middle → its name or number
    tips: list[tuple[int, str]]  # top of a row → what became of its class
    frames: list[tuple[int, int]]  # first edge and side of each group's square
    named: bool


def heat_map(names: list[str], matrix: Matrix, groups: Sequence[Group] = ()) -> Map:
    """The map of classes in the order given, which is that of the groups' places."""
    classes, named = len(names), len(names) <= NAMED
    cell = 16 if named else max(round(720 / classes), 2)  # whole pixels: no cell is wider than another
    every = range(classes) if named else [int(n) - 1 for n in ticks(0, classes, 10) if 0 < n <= classes]
    tips = [(t * cell, tip(names, row, t)) for t, row in enumerate(matrix)]
    marks = [((t + 0.5) * cell, _cut(names[t]) if named else str(t + 1)) for t in every]
    margin = 14 + 7 * max(len(text) for _, text in marks) if named else 52
    frames = [(group.first * cell, len(group.members) * cell) for group in groups]
    return Map(cell, margin, margin, classes * cell, strokes(matrix), marks, tips, frames, named)


def strokes(matrix: Matrix) -> dict[str, str]:
    """One path a shade, of horizontal strokes one cell high: only cells that hold something, neighbours joined."""
    paths: dict[str, list[str]] = defaultdict(list)
    for t, row in enumerate(matrix):
        of = sum(row)
        kinds = [f"{'hit' if t == p else 'miss'} s{shade(found / of)}" if found else "" for p, found in enumerate(row)]
        for kind, run in groupby(range(len(row)), kinds.__getitem__):
            if kind:
                cells = list(run)
                paths[kind].append(f"M{cells[0]} {t}h{len(cells)}")
    return {kind: "".join(parts) for kind, parts in sorted(paths.items())}


def tip(names: list[str], row: list[int], truth: int) -> str:
    """`12 coat: 20 of 31 images right; taken for jacket 6, shirt 3, …`; places in the map begin with 1."""
    others = sorted((-found, p) for p, found in enumerate(row) if found and p != truth)
    taken = ", ".join(f"{names[p]} {-found}" for found, p in others[:5]) + (", …" if len(others) > 5 else "")
    start = f"{truth + 1} {names[truth]}: {row[truth]} of {images(sum(row))} right"
    return f"{start}; taken for {taken}" if taken else start


def _cut(name: str, most: int = 20) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
