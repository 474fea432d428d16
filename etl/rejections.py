"""What a person rejected by hand: CSV files of path or sha256, and a reason."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from manifests.errors import Exit, UserError

if TYPE_CHECKING:  # `etl.keys` reads lists without loading polars
    import polars as pl

SHA256_DIGITS = 64


class Rejection(NamedTuple):
    """One line of a list: which image, why, and where that was said."""

    image: str  # path in the table, or sha256
    reason: str
    place: str  # FILE:LINE


def read_rejections(files: tuple[str, ...]) -> list[Rejection]:
    """The lists in order. With a header `path` or `sha256` and `reason`, or without one: image, reason."""
    return [rejection for file in files for rejection in _read(Path(file))]


def _read(file: Path) -> list[Rejection]:
    try:
        lines = list(csv.reader(file.read_text("utf-8-sig").splitlines()))
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such list of rejections; expected a CSV of path or sha256, reason.", Exit.USAGE
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not readable as CSV in UTF-8: {error}.", Exit.USAGE) from None
    images, reason, body = _columns(lines)
    found: list[Rejection] = []
    for number, line in enumerate(lines[body:], body + 1):
        image = next((line[i].strip() for i in images if i < len(line) and line[i].strip()), "")
        why = line[reason].strip() if reason is not None and reason < len(line) else ""
        if image and not image.startswith("#"):
            found.append(Rejection(image, why or "no reason given", f"{file}:{number}"))
    return found


def _columns(lines: list[list[str]]) -> tuple[list[int], int | None, int]:
    """The columns that name the image (sha256 first), the column of the reason, and where the body begins."""
    head = [name.strip().lower() for name in lines[0]] if lines else []
    images = [head.index(name) for name in ("sha256", "path", "image") if name in head]
    if images:
        return images, head.index("reason") if "reason" in head else None, 1
    return [0], 1, 0


def matched(table: "pl.DataFrame", rejections: list[Rejection]) -> tuple[dict[str, str], list[Rejection]]:
    """Path → reason for every row that a list names, and the entries that name no row."""
    if not rejections:
        return {}, []
    by_sha: dict[str, list[str]] = {}
    for path, sha256 in table.select("path", "sha256").iter_rows():
        by_sha.setdefault(sha256 or "", []).append(path)
    paths = set(table["path"])
    reasons: dict[str, str] = {}
    unmatched: list[Rejection] = []
    for rejection in rejections:
        is_digest = len(rejection.image) == SHA256_DIGITS and rejection.image.lower() in by_sha
        named = by_sha[rejection.image.lower()] if is_digest else [rejection.image] if rejection.image in paths else []
        for path in named:
            reasons.setdefault(path, rejection.reason)
        if not named:
            unmatched.append(rejection)
    return reasons, unmatched
