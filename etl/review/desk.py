"""What one server works on: the image table, the ledger of decisions, what curate makes of them, and the pictures.

Every row has the revision at which it last looked otherwise, so that a page asks only for what it does not know yet.
"""

import csv
import hashlib
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from etl.decisions import laid_over
from etl.images import Unusable
from etl.review import pages
from etl.review.ledger import Granted, Ledger, Wish
from etl.review.moment import Moment, Source, Watch, look, source
from etl.review.queues import NONE, QUEUES, Group, Known, Row, Suggestion, known, marks_of
from etl.review.thumbnails import Thumbnails
from manifests.errors import Exit, UserError
from manifests.recipe import DEDUPE_BITS, Recipe
from manifests.store import DatasetStore, Stage
from manifests.table import read_table

ANSWERS_KEPT = 64
SETTLE_SECONDS = 2.0


class Desk:
    """The state that every tab of every browser sees. Safe for threads."""

    def __init__(
        self,
        name: str,
        source: Source,
        ledger: Ledger,
        pictures: Thumbnails,
        suggestions: Sequence[Suggestion] = (),
    ) -> None:
        self.name, self.source, self.ledger, self.pictures = name, source, ledger, pictures
        self.suggestions = suggestions
        self.boot = secrets.token_hex(4)  # pages of another server, or of an earlier one, ask for everything again
        self.revision = 1
        self._lock = threading.RLock()
        self._deciding = threading.Lock()  # a batch is looked up, written and remembered before the next one is
        self._versions: dict[int, int] = {}
        self._answered: dict[str, list[Granted]] = {}
        self._moment = look(source, ledger.decisions, None)
        self._marks = dict(self._moment.marks)
        self._by_version = {pages.version(row): row.id for row in reversed(self._moment.rows)}
        self._watch = Watch(self._look, self._moment)

    def _look(self, before: Moment | None) -> Moment:
        return look(self.source, self.ledger.decisions, before)

    def close(self) -> None:
        self._watch.stop()

    @property
    def moment(self) -> Moment:
        """The newest rows and counts, with the newest marks."""
        with self._lock:
            self._renewed()
            now = self._moment
            return Moment(now.rows, dict(self._marks), now.classes, now.counts, now.trouble)

    @property
    def effect(self) -> int:
        """How often curate has run since the beginning."""
        return self._watch.number

    @property
    def known(self) -> Known:
        now = self.moment
        method = self.source.settings.dedupe.partition(":")[0]
        return known(now.rows, now.classes, self.suggestions, DEDUPE_BITS.get(method, DEDUPE_BITS["near"]))

    def groups(self, queue: str) -> list[Group]:
        return QUEUES[queue][1](self.known)

    def row(self, number: int) -> Row:
        """Raises UserError where there is no such row."""
        rows = self._moment.rows
        if not 0 <= number < len(rows):
            raise UserError(f"there is no image {number}.", Exit.USAGE)
        return rows[number]

    def meant(self, number: int, version: str) -> Row:
        """The row that a page means, which may be of an earlier source: by number if the version fits, else by that.

        Raises UserError where there is no such image any more.
        """
        rows = self._moment.rows
        if 0 <= number < len(rows) and pages.version(rows[number]) == version:
            return rows[number]
        if version and version in self._by_version:
            return rows[self._by_version[version]]
        raise UserError("the images changed since this page was loaded; load it again.", Exit.USAGE)

    def decide(self, batch: str, wishes: Sequence[Wish]) -> list[Granted]:
        """Write decisions at once; curate follows in its own time. Raises UserError where they cannot be written.

        A batch that is sent again, because its answer was lost, is answered as it was: it was written already.
        """
        with self._deciding:
            if batch in self._answered:
                return self._answered[batch]
            granted = self.ledger.grant(wishes)
            self._answered |= {batch: granted} if batch else {}
            for old in list(self._answered)[:-ANSWERS_KEPT]:
                del self._answered[old]
        self._marked()
        self._watch.ask()
        return granted

    def settle(self) -> None:
        """Take in what is on the disk, and wait a little for what curate makes of it: a new page shows it."""
        self.refresh()
        self._watch.settle(SETTLE_SECONDS)

    def refresh(self) -> None:
        """Take in what another process wrote to the file."""
        if self.ledger.refresh():
            self._marked()
            self._watch.ask()

    def changes(self, since: int) -> dict[str, Any]:
        """What a page must be told that knows all up to revision `since`."""
        self.refresh()
        with self._lock:
            self._renewed()
            now, versions = self._moment, self._versions
            everything = range(len(now.rows)) if since == 0 else ()
            changed = [*everything] or [number for number, version in versions.items() if version > since]
            return {
                "boot": self.boot,
                "rev": self.revision,
                "rows": self.told(changed),
                "counts": pages.counts(now),
                "effect": {"number": self._watch.number, "said": self._watch.said},
                "trouble": self.ledger.trouble or now.trouble,
                "decided": len(self.ledger.owned()),
                "busy": self._watch.is_busy,
            }

    def told(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        rows, marks, owned = self._moment.rows, self._marks, self.ledger.owned()
        asked = [(rows[number], marks.get(number, NONE)) for number in numbers]
        return [pages.told(row, mark, is_own=pages.is_own(row, mark, owned)) for row, mark in asked]

    def _marked(self) -> None:
        """The marks anew, from the decisions as they are now."""
        with self._lock:
            marks = marks_of(laid_over(self.source.table, self.ledger.decisions), self._moment.rows)
            changed = {n for n in marks.keys() | self._marks.keys() if marks.get(n) != self._marks.get(n)}
            self._marks = marks
            self._touch(changed)

    def _renewed(self) -> None:
        """Take over what curate has found out meanwhile."""
        new = self._watch.now
        if new is not self._moment:
            old, self._moment = self._moment, new
            self._touch({one.id for one, other in zip(new.rows, old.rows, strict=True) if one != other})

    def _touch(self, numbers: set[int]) -> None:
        self.revision += 1
        self._versions |= dict.fromkeys(numbers, self.revision)


def open_desk(dataset: DatasetStore, asked: Recipe, extracted: Stage, file: Path) -> Desk:
    """The desk of an extract stage; `file` is where decisions are written."""
    table = read_table(dataset.folder("extract", extracted.key) / "images.parquet")
    shas = {path: sha256 or "" for path, sha256 in table.select("path", "sha256").iter_rows()}
    others = [each for each in asked.curate.reject if Path(each).absolute() != file.absolute()]
    pictures = Thumbnails(dataset.root / "thumbnails", _Reader(dataset, extracted, table), asked.extract.background)
    suggestions = read_suggestions(dataset)
    return Desk(dataset.name, source(table, asked.curate), Ledger(file, others, shas), pictures, suggestions)


class _Reader:
    """Gives an image's bytes by its row. Raises Unusable where the source is away or the file is not listed."""

    def __init__(self, dataset: DatasetStore, extracted: Stage, table: pl.DataFrame) -> None:
        self.dataset, self.extracted = dataset, extracted
        self.paths, self.shas = table["path"].to_list(), table["sha256"].to_list()
        self._lock = threading.Lock()
        self._opened: Any = None

    def __call__(self, number: int) -> bytes:
        opener, places = self._open()
        place = places.get(self.paths[number])
        if place is None:
            raise Unusable("there is no such file")
        data = opener.read(place)
        if self.shas[number] and hashlib.sha256(data).hexdigest() != self.shas[number]:
            raise Unusable("the file changed since extract")
        return data

    def _open(self) -> tuple[Any, dict[str, Any]]:
        from etl.extract import opener

        with self._lock:
            if self._opened is None:
                try:
                    found, files = opener(self.dataset, self.extracted)
                except UserError as error:
                    raise Unusable(str(error)) from None
                rows = files.select("path", "source", "member", "bytes", "stamp", "offset").iter_rows()
                self._opened = found, {path: tuple(place) for path, *place in rows}
            return self._opened


def read_suggestions(dataset: DatasetStore) -> list[Suggestion]:
    """Those of the newest `suggest`, most suspicious first; none before it has run."""
    for stage in dataset.published("suggest")[:1]:
        with (dataset.folder("suggest", stage.key) / "suggestions.csv").open(encoding="utf-8", newline="") as file:
            return [
                Suggestion(
                    row["sha256"],
                    row["path"],
                    row["likely"],
                    float(row["p_class"]),
                    float(row["p_likely"]),
                    row["class"],
                )
                for row in csv.DictReader(file)
            ]
    return []
