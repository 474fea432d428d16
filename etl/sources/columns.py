"""What the columns of a label list mean: files, class, split; and whether the first row is a header."""

from collections.abc import Sequence
from dataclasses import dataclass

from etl.sources.layouts import Options, listed, number
from etl.sources.listing import Listing, is_image, split_of
from etl.sources.matching import Way, best, ways
from manifests.errors import Exit, UserError, known

# Titles as `_word` has them: small letters and digits only.
LABEL_NAMES = {
    "label",
    "labels",
    "class",
    "classes",
    "classname",
    "category",
    "categories",
    "breed",
    "target",
    "species",
}
SPLIT_NAMES = {"split", "set", "subset", "usage", "dataset", "partition"}
SAMPLE = 2000  # rows that the columns are judged by
ENOUGH = 0.5  # of the list's names or of the source's images, for a list that nobody pointed at to be the one


@dataclass(frozen=True)
class Columns:
    """What a label list says where."""

    header: list[str] | None
    rows: list[list[str]]  # below the header, all of one width
    way: Way  # how the image column names files
    image: int  # from 0, as all three
    label: int
    split: int | None
    notes: list[str]

    def called(self, column: int) -> str:
        """'column 'breed'', or 'column 2' where there is no header."""
        return f"column {self.header[column]!r}" if self.header else f"column {column + 1}"


@dataclass(frozen=True)
class Images:
    """The image column: where it is, how it names files, and other columns that say the same."""

    column: int
    way: Way
    same: set[int]


def columns_of(
    table: list[list[str]], name: str, inside: str | None, listing: Listing, options: Options
) -> Columns | None:
    """The columns of the list called `name`; None where it is no list of these files, which only a list that nobody
    pointed at may be. UserError where it is one and a column is not clear."""
    if not table or not listing.files:
        return _no_list(options, name, "it is empty" if not table else "the source has no files")
    width = max(map(len, table))
    table = [row + [""] * (width - len(row)) for row in table]
    wanted = {
        flag: _named(column, table[0], flag, name)
        for flag, column in (("--image-column", options.image_column), ("--label-column", options.label_column))
        if column is not None
    }
    images = _images(table, name, inside, listing, wanted)
    if images is None:
        return _no_list(options, name, "no column names files of the source, by relative path, base name or stem")
    if options.labels is None and not _is_meant(table, images, listing):
        return None
    by_name = any(option in table[0] for option in (options.image_column, options.label_column) if option)
    header = table[0] if by_name or _is_header(table, images) else None
    rows = table[1:] if header else table
    split, notes = _split(header, rows, name)
    others = [c for c in range(width) if c not in {images.column, split, *images.same} and not _is_index(table[0], c)]
    if not others and "--label-column" not in wanted:
        return _no_list(options, name, "it has no column for the class beside the one that names the files")
    label = wanted["--label-column"] if "--label-column" in wanted else _label(header, others, name)
    return Columns(header, rows, images.way, images.column, label, None if split == label else split, notes)


def _no_list(options: Options, name: str, why: str) -> None:
    if options.labels is not None:
        raise UserError(f"--labels {options.labels}: {why}.", Exit.USAGE)


def _named(column: str, first: list[str], flag: str, name: str) -> int:
    """The column of that name, else of that number from 1."""
    for row, wanted in ((first, column), ([cell.casefold() for cell in first], column.casefold())):
        if wanted in row:
            return row.index(wanted)
    if column.isdecimal() and 1 <= int(column) <= len(first):
        return int(column) - 1
    raise UserError(f"{flag} {column}: {name} has no such column. {known(column, first)}", Exit.USAGE)


def _images(
    table: list[list[str]], name: str, inside: str | None, listing: Listing, wanted: dict[str, int]
) -> Images | None:
    """The column that reaches the most files. One with a title for classes is not asked: `3` may be a stem as well."""
    below = table[1:] or table
    sample = below[:: max(1, len(below) // SAMPLE)]
    asked = [c for c in range(len(table[0])) if not _is_index(table[0], c) and _word(table[0][c]) not in LABEL_NAMES]
    if "--image-column" in wanted:
        asked = [wanted["--image-column"]]
    asked = [c for c in asked if c != wanted.get("--label-column")]
    choices = ways(listing, inside, (row[c] for row in sample for c in asked))
    scores = {c: best(choices, [row[c] for row in sample]) for c in asked}
    most = max((score for _, score in scores.values()), default=0)
    if most == 0:
        return None
    top = [c for c in asked if scores[c][1] == most]
    reached = {c: [scores[c][0].files(row[c])[:1] for row in sample] for c in top}
    other = next((c for c in top if reached[c] != reached[top[0]]), None)
    if other is not None:
        some = listed(_shown(table[0], c) for c in top)
        raise UserError(f"{name}: {some} all name files of the source. Say which: --image-column.", Exit.USAGE)
    return Images(top[0], scores[top[0]][0], set(top))


def _is_meant(table: list[list[str]], images: Images, listing: Listing) -> bool:
    """Whether enough names mean one file each, or the names reach enough of the images, be it more than one each."""
    names = {row[images.column] for row in table[1:] or table} - {""}
    reached = [images.way.files(name) for name in names]
    one_each = sum(len(files) == 1 for files in reached)
    return one_each >= ENOUGH * len(names) or sum(map(len, reached)) >= ENOUGH * len(listing.images)


def _is_header(table: list[list[str]], images: Images) -> bool:
    """Whether the first row names no file, does not look as if it did, and says nothing that a row below says too."""
    first = table[0]
    name = first[images.column]
    if images.way.files(name) or is_image(name) or name.isdecimal():
        return False
    return not any(cell and any(row[c] == cell for row in table[1:]) for c, cell in enumerate(first))


def _split(header: list[str] | None, rows: list[list[str]], name: str) -> tuple[int | None, list[str]]:
    """(the split column, None where there is none; notes)."""
    notes: list[str] = []
    for column, title in enumerate(header or []):
        if _word(title) in SPLIT_NAMES:
            values = {row[column] for row in rows} - {""}
            strange = sorted(value for value in values if not split_of(value))
            if values and not strange:
                return column, []
            notes.append(f"column {title!r} of {name} is not read as the split: it says {listed(strange) or 'nothing'}")
    return None, notes


def _label(header: list[str] | None, others: Sequence[int], name: str) -> int:
    """The column with a name for classes, else the only other one."""
    named = [c for c in others if header and _word(header[c]) in LABEL_NAMES]
    if len(named) == 1 or (len(others) == 1 and not named):
        return (named or others)[0]
    some = listed(_shown(header or [], c) for c in named or others)
    raise UserError(
        f"{name}: the class may be in {number(len(named or others), 'column')}, {some}. Say which: --label-column; "
        "or leave the list aside with --layout.",
        Exit.USAGE,
    )


def _is_index(first: list[str], column: int) -> bool:
    """The column of row numbers without a name that pandas writes."""
    return column == 0 and first[0] == "" and len(first) > 1


def _shown(header: list[str], column: int) -> str:
    return repr(header[column]) if header else f"column {column + 1}"


def _word(title: str) -> str:
    return "".join(letter for letter in title.casefold() if letter.isalnum())
