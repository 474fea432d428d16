"""Images side by side: a picture, what it is called, and what became of it. `cards.html` draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from etl.evidence.evidence import Evidence
from etl.evidence.thumbnails import Row, Thumbnail
from manifests.pages.fragments import THIN, count


@dataclass(frozen=True)
class Card:
    """One image as a section shows it."""

    picture: Thumbnail
    path: str
    label: str  # its class
    size: str  # width × height, format
    place: str  # the split that the source gives it, or where it went
    note: str  # what the section has to say of it
    mark: str = ""  # its style


def cards(evidence: Evidence, rows: Sequence[Row], notes: Sequence[str], marks: Sequence[str] = ()) -> list[Card]:
    """A card a row, each with its note."""
    pictures = evidence.thumbnails.of(rows)
    given = marks or [""] * len(rows)
    return [
        Card(picture, row["path"], row["class"] or "no class", size(row), place(row), note, mark)
        for row, picture, note, mark in zip(rows, pictures, notes, given, strict=True)
    ]


def size(row: Row) -> str:
    """400 × 533 JPEG; of what could not be decoded, its bytes."""
    if row["width"] is None:
        return "no such file" if row["bytes"] is None else f"{count(row['bytes'])}{THIN}bytes"
    return f"{row['width']} × {row['height']} {row['format'] or ''}".strip()


def place(row: Row) -> str:
    """Where it went; of a rejected one, where the source had it."""
    return row["split"] or (f"from {row['source_split']}" if row["source_split"] else "")
