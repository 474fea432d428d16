"""What there is to look at: the image table as groups of tiles, by class, cluster, pair, suggestion or reason.

Pure functions over rows. A group keeps its place when something in it is decided; what a person marked is laid over
the tiles by `etl.review.pages`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from etl.decisions import Decided
from manifests.pages.fragments import THIN

PAGE = 10_000  # tiles of one page
CONFLICT = "label conflict"
TO_SETTLE = "relabel one (1–9), or n if they differ"
STATES = ("kept", "rejected", "decided", "undecided")


class Row(NamedTuple):
    """What curate says of one image; `id` is its place in the table of the source."""

    id: int
    path: str
    sha256: str  # empty where the file could not be read
    class_name: str  # empty where it has none
    split: str  # empty where rejected
    rejected: str  # empty while it is kept
    cluster: str
    bits: int
    like: str
    like_bits: int
    width: int  # pixels; 0 where it could not be read
    height: int


class Mark(NamedTuple):
    """What a person decided of one image."""

    stays: str = ""  # reject, pin or nothing
    reason: str = ""
    to: str = ""  # class
    pairs: tuple[tuple[int, str], ...] = ()  # the other image, duplicate or not duplicate


class Tile(NamedTuple):
    """An image in a group: a word about it, and the image that it is judged against."""

    id: int
    note: str = ""
    against: int | None = None
    likely: str = ""  # class
    labelled: str = ""  # the class that is doubted


class Group(NamedTuple):
    """Tiles that belong together; side by side where they are compared."""

    title: str
    note: str
    tiles: tuple[Tile, ...]
    compared: bool = False


class Suggestion(NamedTuple):
    """A line of suggestions.csv: this image probably carries the wrong class."""

    sha256: str
    path: str
    likely: str
    p_class: float
    p_likely: float
    class_name: str = ""  # the class that is doubted


class Filter(NamedTuple):
    """Which of them are shown; empty is any."""

    class_name: str = ""
    split: str = ""
    state: str = ""
    search: str = ""

    def holds(self, row: Row, mark: Mark) -> bool:
        states = {
            "kept": not row.rejected,
            "rejected": bool(row.rejected),
            "decided": mark != NONE,
            "undecided": mark == NONE,
        }
        words = self.search.casefold().split()
        text = f"{row.path} {row.class_name}".casefold()
        return (
            self.class_name in {"", row.class_name}
            and self.split in {"", row.split}
            and states.get(self.state, True)
            and all(word in text for word in words)
        )


NONE = Mark()


@dataclass(frozen=True)
class Known:
    """All that the queues are made of."""

    rows: Sequence[Row]
    classes: Sequence[str]
    suggestions: Sequence[Suggestion] = ()
    first: Mapping[str, int] = field(default_factory=dict[str, int])  # sha256 → the first row that has it
    bits: int = 0  # that are compared of two images


def known(
    rows: Sequence[Row], classes: Sequence[str], suggestions: Sequence[Suggestion] = (), bits: int = 512
) -> Known:
    first = {row.sha256: row.id for row in reversed(rows) if row.sha256}
    return Known(rows, classes, suggestions, first, bits)


def rows_of(curated: pl.DataFrame, ids: Mapping[str, int]) -> list[Row]:
    """The rows of a curated table in the order of their ids. `ids`: path → place in the table of the source."""
    wanted = ("path", "sha256", "class", "split", "rejected", "cluster", "bits", "like", "like_bits", "width", "height")
    text = {"sha256", "class", "split", "rejected", "cluster", "like"}
    clean = [pl.col(name).fill_null("" if name in text else 0) for name in wanted[1:]]
    rows = [Row(ids[row[0]], *row) for row in curated.select("path", *clean).iter_rows()]
    return sorted(rows)


def marks_of(decided: Decided, rows: Sequence[Row]) -> dict[int, Mark]:
    """id → what a person decided of it; images of which nobody did are not in it."""
    by_sha: dict[str, list[int]] = {}
    for row in rows:
        by_sha.setdefault(row.sha256, []).append(row.id)
    ids = {row.path: row.id for row in rows}
    found: dict[int, Mark] = {}

    def mark(number: int, **values: object) -> None:
        found[number] = found.get(number, NONE)._replace(**values)

    for path, reason in decided.rejected.items():
        mark(ids[path], stays="reject", reason=reason)
    for path in decided.pinned:
        mark(ids[path], stays="pin")
    for path, decision in decided.relabelled.items():
        mark(ids[path], to=decision.class_name)
    for kind, pairs in (("duplicate", decided.same), ("not duplicate", decided.unlike)):
        for one, two in sorted(pairs):
            for here, there in ((one, two), (two, one)):
                for number in by_sha.get(here, []):
                    others = tuple((other, kind) for other in by_sha.get(there, [])[:1])
                    mark(number, pairs=(*found.get(number, NONE).pairs, *others))
    return found


def reason_kind(reason: str) -> str:
    """`over the cap: 400 of 795 kept` → `over the cap`."""
    return reason.partition(": ")[0]


def by_class(known: Known) -> list[Group]:
    """Every image under its class, in the order of the classes; what has none comes last."""
    found: dict[str, list[Tile]] = {name: [] for name in known.classes}
    for row in known.rows:
        found.setdefault(row.class_name, []).append(Tile(row.id))
    last = found.pop("", [])
    groups = [Group(name, "", tuple(tiles)) for name, tiles in found.items() if tiles]
    return groups + ([Group("without a class", "", tuple(last))] if last else [])


def duplicates(known: Known) -> list[Group]:
    """Clusters side by side, the kept image first and the others by distance; label conflicts before all."""
    found: dict[str, list[Row]] = {}
    for row in known.rows:
        if row.cluster:
            found.setdefault(row.cluster, []).append(row)
    clusters = [_cluster(rows) for rows in found.values() if len(rows) > 1]
    return sorted(clusters, key=lambda group: (not group.note.startswith(CONFLICT), group.title))


def _cluster(rows: list[Row]) -> Group:
    head, *others = sorted(rows, key=lambda row: (row.sha256 != row.cluster, bool(row.rejected), row.bits, row.path))
    conflict = any(reason_kind(row.rejected) == CONFLICT for row in rows)
    names = sorted({row.class_name for row in rows})
    first = Tile(head.id, _noted(head, "left out" if head.rejected else "kept"))
    tiles = [first, *(_member(row, head) for row in others)]
    note = f"{CONFLICT}: {', '.join(names)}; {TO_SETTLE}" if conflict else f"{len(rows)} images"
    return Group(head.path, note, tuple(tiles), compared=True)


def _member(row: Row, head: Row) -> Tile:
    if row.sha256 == head.sha256:
        return Tile(row.id, _noted(row, "the same bytes"))
    return Tile(row.id, _noted(row, f"{row.bits} bits"), head.id)


def _noted(row: Row, what: str) -> str:
    """Under a tile that is compared: its class is half of the question."""
    return f"{row.class_name or 'no class'}, {what}"


def look_alikes(known: Known) -> list[Group]:
    """Pairs that are alike without being copies by the rule, nearest first: is it the same?"""
    pairs = [(row.like_bits, row.path, row) for row in known.rows if row.like in known.first]
    return [
        Group(
            row.path,
            f"{bits} of {known.bits} bits differ",
            (Tile(head.id, _noted(head, "kept")), Tile(row.id, _noted(row, f"{bits} bits"), head.id)),
            compared=True,
        )
        for bits, _, row in sorted(pairs)
        for head in [known.rows[known.first[row.like]]]
    ]


def suggested(known: Known) -> list[Group]:
    """Images that probably carry the wrong class, the most suspicious first."""
    rows = {row.path: row for row in known.rows}
    tiles = [
        Tile(row.id, f"{doubted} → {each.likely} {100 * each.p_likely:.0f}{THIN}%", None, each.likely, doubted)
        for each in known.suggestions
        if (row := rows.get(each.path))
        for doubted in [each.class_name or row.class_name]
    ]
    return [Group("Probably mislabelled", "most suspicious first", tuple(tiles))] if tiles else []


def by_reason(known: Known) -> list[Group]:
    """What is left out, by the kind of its reason, the most frequent first."""
    found: dict[str, list[Tile]] = {}
    for row in known.rows:
        if row.rejected:
            parts = row.class_name, row.rejected.partition(": ")[2]
            note = ", ".join(part for part in parts if part)
            found.setdefault(reason_kind(row.rejected), []).append(Tile(row.id, note))
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Group(kind, "", tuple(tiles)) for kind, tiles in ordered]


def everything(known: Known) -> list[Group]:
    """One grid, by path."""
    tiles = tuple(Tile(row.id) for row in known.rows)
    return [Group("All images", "by path", tiles)] if tiles else []


QUEUES: dict[str, tuple[str, Callable[[Known], list[Group]]]] = {  # name in the address → title, groups
    "class": ("Classes", by_class),
    "duplicates": ("Duplicates", duplicates),
    "alike": ("Look-alikes", look_alikes),
    "suggested": ("Suggestions", suggested),
    "rejected": ("Rejected", by_reason),
    "all": ("All", everything),
}


def filtered(groups: Iterable[Group], rows: Sequence[Row], marks: Mapping[int, Mark], wanted: Filter) -> list[Group]:
    """What the filter lets through. Compared images stay together: a group is shown whole where one of them is."""
    if wanted == Filter():
        return list(groups)
    found: list[Group] = []
    for group in groups:
        tiles = tuple(tile for tile in group.tiles if wanted.holds(rows[tile.id], marks.get(tile.id, NONE)))
        if tiles:
            found.append(group if group.compared else group._replace(tiles=tiles))
    return found


def page_of(groups: Sequence[Group], number: int, size: int = PAGE) -> tuple[list[Group], int]:
    """The groups of page `number` (from 0) and how many pages there are. A grid is cut; compared images are not."""
    pages: list[list[Group]] = [[]]
    room = size
    for group in groups:
        rest = group.tiles
        while rest:
            if room <= 0 or (group.compared and len(rest) > room and pages[-1]):
                pages.append([])
                room = size
            now, rest = (rest, ()) if group.compared else (rest[:room], rest[room:])
            pages[-1].append(group._replace(tiles=now))
            room -= len(now)
    return pages[min(max(number, 0), len(pages) - 1)], len(pages)


def tiles_in(groups: Iterable[Group]) -> int:
    return sum(len(group.tiles) for group in groups)
