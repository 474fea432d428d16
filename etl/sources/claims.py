"""What a list claims of files, row by row → one row for each file, with what contradicts itself named."""

from collections.abc import Iterable
from dataclasses import dataclass

from etl.sources.layouts import NO_FILE, NO_LABEL, Found, number
from etl.sources.listing import Listing


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of a list."""

    path: str  # of a file in the listing; else as the list has it
    label: str  # '' where the list leaves it open
    split: str | None


def rows_of(claims: Iterable[Claim], listing: Listing, where: str) -> tuple[list[Found], list[str]]:
    """(a row for each path claimed, notes). A file under two labels or two splits has neither: nobody knows which."""
    by_path: dict[str, set[Claim]] = {}
    repeated = 0
    for claim in claims:
        same = by_path.setdefault(claim.path, set())
        repeated += claim in same
        same.add(claim)
    notes = [f"{number(repeated, 'row')} of {where} that repeat an earlier one"] if repeated else []
    found = [_row(path, same, path in listing.files, where) for path, same in by_path.items()]
    contradicted = [row.path for row in found if row.problem not in (None, NO_FILE, NO_LABEL)]
    if contradicted:
        notes.append(
            f"{number(len(contradicted), 'file')} that {where} contradicts itself on, such as {min(contradicted)}"
        )
    return found, notes


def _row(path: str, claims: set[Claim], is_there: bool, where: str) -> Found:
    labels = sorted({claim.label for claim in claims} - {""})
    splits = sorted({claim.split for claim in claims if claim.split})
    label = labels[0] if len(labels) == 1 else None
    split = splits[0] if len(splits) == 1 else None
    if not is_there:
        return Found(path, label, split, NO_FILE)
    for what, values in (("label", labels), ("split", splits)):
        if len(values) > 1:
            count = "two" if len(values) == 2 else str(len(values))
            return Found(path, None, None, f"{count} {what}s in {where}: {', '.join(values)}")
    return Found(path, label, split, None if label is not None else NO_LABEL)
