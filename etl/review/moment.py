"""What curate makes of the decisions just now: every row's state, each class against the cap, and what just changed.

`look` is curate itself, run again over the table of the source; `Watch` runs it in a thread of its own, once for all
the decisions that came meanwhile.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from etl.curate import class_names, class_order, curate, resemblances
from etl.decisions import Decision, laid_over
from etl.likeness import Likeness
from etl.review.queues import Mark, Row, marks_of, reason_kind, rows_of
from manifests.errors import UserError
from manifests.recipe import SPLITS, Curate

GATHER_SECONDS = 0.15  # a decision waits so long for others before curate runs: a held key asks once
OVER = "over the cap"


class ClassCount(NamedTuple):
    """A class just now."""

    name: str
    found: int
    kept: int
    splits: tuple[int, ...]  # kept, in the order of SPLITS
    over: int  # left out by the cap


@dataclass(frozen=True)
class Moment:
    """The table as the decisions have it."""

    rows: Sequence[Row]
    marks: Mapping[int, Mark]
    classes: Sequence[str]  # every class, in the order of the legend
    counts: Sequence[ClassCount]
    trouble: str = ""  # why curate refuses these decisions; rows and counts are then those before


class Source(NamedTuple):
    """What curate is asked about, the same for every moment."""

    table: pl.DataFrame  # as extract made it
    settings: Curate
    ids: Mapping[str, int]  # path → row
    alike: Likeness  # found once: decisions do not change which images resemble each other


def source(table: pl.DataFrame, settings: Curate) -> Source:
    ids = {path: number for number, path in enumerate(table["path"])}
    return Source(table, settings, ids, resemblances(table, settings))


def look(source: Source, decisions: Sequence[Decision], before: Moment | None) -> Moment:
    """Curate again. Where it refuses, what was there before stands, with the reason; without a before it raises."""
    settings = source.settings
    decided = laid_over(source.table, decisions)
    try:
        curated = curate(source.table, settings, decided, source.alike)
    except UserError as error:
        if before is None:
            raise
        return Moment(before.rows, marks_of(decided, before.rows), before.classes, before.counts, str(error))
    rows = rows_of(curated, source.ids)
    ordered = class_order(curated, settings)
    names = [*ordered, *(name for name in class_names(curated, settings) if name not in ordered)]
    return Moment(rows, marks_of(decided, rows), names, counted(rows, names))


def counted(rows: Sequence[Row], names: Sequence[str]) -> list[ClassCount]:
    """Each class: found, kept, kept by split, and left out by the cap."""
    found = Counter(row.class_name for row in rows)
    kept = Counter((row.class_name, row.split) for row in rows if not row.rejected)
    over = Counter(row.class_name for row in rows if reason_kind(row.rejected) == OVER)
    return [
        ClassCount(
            name,
            found[name],
            sum(number for (of, _), number in kept.items() if of == name),
            tuple(kept[name, split] for split in SPLITS),
            over[name],
        )
        for name in names
    ]


def differences(before: Moment, after: Moment) -> list[str]:
    """What the decisions in between changed, in words: counts by class, then images that moved by themselves."""
    sizes = {each.name: each.kept for each in before.counts}
    said = [
        f"{each.name} {sizes.get(each.name, 0)} → {each.kept}"
        for each in after.counts
        if each.kept != sizes.get(each.name, 0)
    ]
    moved: Counter[str] = Counter()
    for old, new in zip(before.rows, after.rows, strict=True):
        is_marked = before.marks.get(old.id) != after.marks.get(new.id)
        if _place(old) != _place(new) and not is_marked:
            moved[_movement(old, new)] += 1
    return said + [f"{number} {what}" for what, number in moved.most_common()]


def _place(row: Row) -> tuple[str, str]:
    """Where it is. The details of a reason are not part of it: "400 of 795" changes for all that are over the cap."""
    return reason_kind(row.rejected), row.split


def _movement(old: Row, new: Row) -> str:
    """`taken from over the cap`, `now over the cap`, `moved to val`: of an image that nobody decided on meanwhile."""
    if old.rejected and not new.rejected:
        return f"taken from {reason_kind(old.rejected)}"
    if new.rejected:
        return f"now {reason_kind(new.rejected)}"
    return f"moved to {new.split}"


class Watch:
    """The newest moment. `ask` wakes the thread that makes it; `stop` ends it."""

    def __init__(self, make: Callable[[Moment | None], Moment], begin: Moment) -> None:
        self.make, self.now = make, begin
        self.said: list[str] = []  # what the last decisions changed
        self.number = 0  # of moments so far
        self._due = threading.Condition()
        self._asked = self._done = 0
        self._over = False
        self._thread = threading.Thread(target=self._run, name="curate", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        with self._due:
            return self._done < self._asked

    def ask(self) -> None:
        with self._due:
            self._asked += 1
            self._due.notify_all()

    def settle(self, seconds: float) -> None:
        """Wait until all that was asked is answered, at most so long."""
        with self._due:
            self._due.wait_for(lambda: self._done >= self._asked, seconds)

    def stop(self) -> None:
        with self._due:
            self._over = True
            self._due.notify_all()

    def _run(self) -> None:
        while True:
            with self._due:
                self._due.wait_for(lambda: self._over or self._done < self._asked)
                if self._over:
                    return
            time.sleep(GATHER_SECONDS)
            with self._due:
                asked = self._asked
            self._renew()
            with self._due:
                self._done = asked
                self._due.notify_all()

    def _renew(self) -> None:
        before = self.now
        try:
            after = self.make(before)
        except UserError as error:  # a list of decisions that cannot be read
            after = Moment(before.rows, before.marks, before.classes, before.counts, str(error))
        self.said = differences(before, after)
        self.now = after
        self.number += 1
