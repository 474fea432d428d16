"""The review page as HTML and as JSON: rows, marks and counts become tiles, legend and story. Everything is escaped."""

from collections.abc import Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from etl.decisions import REJECT
from etl.review.moment import Moment
from etl.review.queues import NONE, QUEUES, Filter, Group, Mark, Row, Tile, reason_kind
from manifests.pages.fragments import STYLE, Templates

FOLDER = Path(__file__).parent
CHUNK = 48  # tiles that are laid out together: every number of columns in review.css divides it
SCRIPTS = ("review.js", "grid.js", "sync.js", "words.js", "legend.js", "dialogs.js")
FILES = {  # what the page loads, by the name in its address: nothing else is ever read for a request
    "style.css": ("text/css", (STYLE, FOLDER / "review.css")),
    **{name: ("text/javascript", (FOLDER / name,)) for name in SCRIPTS},
    "icon.svg": ("image/svg+xml", (FOLDER / "icon.svg",)),
    "missing.svg": ("image/svg+xml", (FOLDER / "missing.svg",)),
}
VERSION_DIGITS = 16
BY_HAND = "by hand"  # the kind of a reason that a person gave
REASONS = ("looked at", "blurred", "wrong class", "several things", "not a photo", "text or logo", "too dark or bright")


@cache
def static(name: str) -> tuple[str, bytes]:
    """Media type and bytes of one of FILES."""
    kind, files = FILES[name]
    return kind, b"\n".join(file.read_bytes() for file in files)


@cache
def _templates() -> Templates:
    return Templates(FOLDER)


def page(**values: Any) -> str:
    """The whole page."""
    return str(_templates().fragment("page.html", full=CHUNK, **values))


def story(**values: Any) -> str:
    """An image's story, for the large view."""
    return str(_templates().fragment("story.html", **values))


def state(row: Row, mark: Mark) -> str:
    """`kept`, `kept: pinned by hand`, `rejected by hand: blurred`, `rejected: over the cap: …`."""
    if mark.stays == REJECT:
        return f"rejected by hand: {mark.reason}"
    if mark.stays:
        return "kept: pinned by hand" if not row.rejected else f"pinned by hand, yet rejected: {row.rejected}"
    is_left_out = row.rejected and not row.rejected.startswith(BY_HAND)  # taken back, and curate has yet to hear of it
    return f"rejected: {row.rejected}" if is_left_out else "kept"


def name_of(row: Row, mark: Mark) -> str:
    """What a screen reader calls a tile: class, split, state, path."""
    class_name = mark.to or row.class_name or "no class"
    by_hand = " by hand" if mark.to else ""
    parts = [class_name + by_hand, row.split or row_split(row), state(row, mark)]
    parts += [f"{kind} of another image" for _, kind in mark.pairs]
    return ", ".join([*(part for part in parts if part), row.path])


def row_split(row: Row) -> str:
    return "" if row.rejected else "no split"


def told(row: Row, mark: Mark, *, is_own: bool = True) -> dict[str, Any]:
    """A row as the page's script is told of it."""
    return {
        "id": row.id,
        "name": name_of(row, mark),
        "mark": mark.stays,
        "reason": mark.reason,
        "to": mark.to,
        "why": reason_kind(row.rejected) if row.rejected and not row.rejected.startswith(BY_HAND) else "",
        "pairs": {str(other): kind for other, kind in mark.pairs},
        "foreign": not is_own,
    }


def version(row: Row) -> str:
    """By what a page knows an image again: the first digits of its sha256; empty where it could not be read."""
    return row.sha256[:VERSION_DIGITS]


def missing(words: str) -> bytes:
    """What stands in the large view for an image that cannot be shown: no larger than a thumbnail, and why."""
    clean = "".join(c if c.isprintable() else " " for c in words)
    drawn = static("missing.svg")[1].decode().replace("<svg ", '<svg x="384" y="230" ', 1)
    return str(_templates().fragment("unseen.svg", drawn=Markup(drawn), words=clean[:90])).encode()


def counts(moment: Moment) -> list[dict[str, Any]]:
    """The legend's numbers."""
    return [
        {"name": each.name, "kept": each.kept, "found": each.found, "splits": each.splits, "over": each.over}
        for each in moment.counts
    ]


class Shown:
    """A tile with all that its HTML needs."""

    def __init__(self, tile: Tile, row: Row, mark: Mark, *, is_own: bool) -> None:
        self.id, self.note, self.against, self.likely = tile.id, tile.note, tile.against, tile.likely
        self.class_name = tile.labelled
        self.file = row.path.rpartition("/")[2]
        self.version = version(row)
        said = told(row, mark, is_own=is_own)
        self.foreign = said["foreign"]
        self.name, self.mark, self.to, self.why = said["name"], said["mark"], said["to"], said["why"]
        self.judged = dict(mark.pairs).get(tile.against, "") if tile.against is not None else ""


def is_own(row: Row, mark: Mark, owned: Set[tuple[str, str]]) -> bool:
    """Whether that it stays or goes was decided in the page's own file (`owned`), and not in another list."""
    return not mark.stays or ((row.sha256 or row.path), "stays") in owned


def shown(groups: Sequence[Group], moment: Moment, owned: Set[tuple[str, str]]) -> list[dict[str, Any]]:
    """Groups in chunks of tiles, for the template."""

    def made(tile: Tile) -> Shown:
        row, mark = moment.rows[tile.id], moment.marks.get(tile.id, NONE)
        return Shown(tile, row, mark, is_own=is_own(row, mark, owned))

    return [
        {
            "title": group.title,
            "note": group.note,
            "compared": group.compared,
            "size": len(group.tiles),
            "chunks": [[made(tile) for tile in group.tiles[i : i + CHUNK]] for i in range(0, len(group.tiles), CHUNK)],
        }
        for group in groups
    ]


def address(queue: str, wanted: Filter, **changes: str) -> str:
    """The address of a queue with this filter: relative, so that it stays under the token."""
    from urllib.parse import urlencode

    values = {
        "queue": queue, "class": wanted.class_name, "split": wanted.split, "state": wanted.state, "q": wanted.search,
    } | changes  # fmt: skip
    return "?" + urlencode({key: value for key, value in values.items() if value})


def legend(moment: Moment, cap: int | None) -> list[dict[str, Any]]:
    """The classes with their numbers, and how long their bars are in per cent of the largest class: kept, and found."""
    largest = max([each.found for each in moment.counts], default=0) or 1
    return [
        {
            "name": each.name, "key": place if place <= 9 else None, "kept": each.kept, "found": each.found,
            "splits": each.splits, "over": each.over, "share": round(100 * each.kept / largest, 1),
            "whole": round(100 * each.found / largest, 1),
            "is_full": cap is not None and each.over > 0,
        }
        for place, each in enumerate(moment.counts, 1)
    ]  # fmt: skip


def tabs(sizes: Mapping[str, int], queue: str, wanted: Filter) -> list[dict[str, Any]]:
    return [
        {"title": title, "size": sizes[name], "is_here": name == queue, "address": address(name, wanted)}
        for name, (title, _) in QUEUES.items()
        if sizes[name] or name == queue or name in {"class", "all"}
    ]
