"""Images anywhere and a CSV or TSV that names each one's class, in the source or given with `--labels`.

What the columns mean is found in `columns.py`; how names are matched to files, in `matching.py`; what becomes of rows
that contradict one another, in `claims.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from etl.sources.claims import Claim, rows_of
from etl.sources.columns import Columns, columns_of
from etl.sources.layouts import Labels, Options, listed
from etl.sources.listing import Listing, split_of
from etl.sources.mappings import renamed
from etl.sources.matching import normal
from etl.sources.tables import cells
from manifests.errors import Exit, UserError

NAME = "label-list"
ORDER = 30
NEEDS = "a CSV or TSV with a column that names the images and one that names their class (id,label)"
TAKES = frozenset({"labels", "image_column", "label_column", "mapping"})


@dataclass(frozen=True)
class LabelList:
    """A label list, read and understood."""

    name: str
    inside: str | None  # its path in the container; None outside it
    columns: Columns


def fits(listing: Listing, options: Options) -> str | None:
    found = _label_list(listing, options)
    if found is None:
        return None
    columns = found.columns
    split = f", {columns.called(columns.split)} the split" if columns.split is not None else ""
    return (
        f"{found.name} ({'with a header' if columns.header else 'no header'}): {columns.called(columns.image)} "
        f"names the files by {columns.way.by}, {columns.called(columns.label)} the class{split}"
    )


def read(listing: Listing, options: Options) -> Labels:
    found = _label_list(listing, options)
    if found is None:
        return Labels([])
    rows, notes = rows_of(_claims(found), listing, found.name)
    own = {found.inside} if found.inside else set[str]()
    named = renamed([row for row in rows if row.path not in own], listing, options, [*found.columns.notes, *notes])
    return Labels(named.rows, named.metadata | own, named.notes)


def _claims(found: LabelList) -> Iterator[Claim]:
    columns = found.columns
    for row in columns.rows:
        if name := row[columns.image]:
            split = split_of(row[columns.split]) if columns.split is not None else None
            yield Claim(columns.way.file(name, found.name) or normal(name), row[columns.label], split)


@lru_cache(maxsize=2)
def _label_list(listing: Listing, options: Options) -> LabelList | None:
    """The list that `options` name, or the one in the source that fits."""
    if options.labels is not None:
        return _understood(*listing.given("--labels", options.labels), listing, options)
    found: list[LabelList] = []
    unclear: list[UserError] = []
    mapping = listing.given("--mapping", options.mapping)[2] if options.mapping is not None else None
    for path in listing.files:
        if path.lower().endswith((".csv", ".tsv")) and path != mapping:
            try:
                one = _understood(path, listing.text(path), path, listing, options)
            except UserError as error:
                unclear.append(error)
            else:
                found += [one] if one else []
    if len(found) > 1:
        choices = listed(one.name for one in found)
        raise UserError(f"{listing.container}: {choices} fit as label lists. Say which: --labels FILE.", Exit.USAGE)
    if unclear and not found:
        raise unclear[0]
    return found[0] if found else None


def _understood(name: str, text: str, inside: str | None, listing: Listing, options: Options) -> LabelList | None:
    columns = columns_of(cells(text, name), name, inside, listing, options)
    return LabelList(name, inside, columns) if columns else None
