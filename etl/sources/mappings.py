"""A file of ids and class names, and labels renamed by it."""

from collections import Counter
from dataclasses import replace

from etl.sources.layouts import Found, Labels, Options, listed, number
from etl.sources.listing import Listing
from etl.sources.tables import cells
from manifests.errors import Exit, UserError


def renamed(rows: list[Found], listing: Listing, options: Options, notes: list[str] | None = None) -> Labels:
    """The rows with the names that `--mapping` has for their labels; as they are where none is given."""
    if options.mapping is None:
        return Labels(rows, notes=notes or [])
    name, text, inside = listing.given("--mapping", options.mapping)
    labels = {row.label for row in rows if row.label is not None}
    names, more = names_of(labels, pairs(text, name), name)
    rows = [replace(row, label=names.get(row.label, row.label)) if row.label else row for row in rows]
    rows = [row for row in rows if row.path != inside]
    return Labels(rows, {inside} if inside else set(), [*(notes or []), *more])


def pairs(text: str, name: str) -> list[tuple[str, str]]:
    """The two columns of a mapping. Where commas, tabs and the like give one column, the first blank parts two."""
    rows = cells(text, name)
    if all(len(row) == 1 for row in rows):
        rows = [row[0].split(None, 1) for row in rows]
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None or not rows:
        what = f"{number(len(wrong), 'column')} in {' | '.join(wrong)!r}" if wrong else "nothing"
        raise UserError(f"{name}: found {what}; a mapping has two columns, id and class name.", Exit.USAGE)
    return [(first.strip(), second.strip()) for first, second in rows]


def names_of(labels: set[str], mapping: list[tuple[str, str]], name: str) -> tuple[dict[str, str], list[str]]:
    """({label: class name}, notes): ids are in the column that knows more of the labels, the first of two equals.

    A header needs no care: it is a pair like any other, which no label asks for.
    """
    turned = [(second, first) for first, second in mapping]
    known_first = len(labels & {first for first, _ in mapping})
    known_second = len(labels & {first for first, _ in turned})
    if labels and not known_first and not known_second:
        some = listed(sorted(labels)[:3])
        raise UserError(f"{name}: knows none of the source's labels ({some}, …) in either column.", Exit.USAGE)
    asked = {pair for pair in (mapping if known_first >= known_second else turned) if pair[0] in labels}
    twice = sorted(label for label, count in Counter(label for label, _ in asked).items() if count > 1)
    if twice:
        choices = listed(repr(class_) for label, class_ in sorted(asked) if label == twice[0])
        raise UserError(f"{name}: label {twice[0]!r} has two names, {choices}. Keep one of them.", Exit.USAGE)
    names = dict(asked)
    shared = Counter(names.values())
    notes = [f"label {label} has no name in {name}" for label in sorted(labels - names.keys())]
    for class_ in sorted(class_ for class_, count in shared.items() if count > 1):
        ids = listed(sorted(label for label, other in names.items() if other == class_))
        notes.append(f"labels {ids} have the same name in {name}, {class_!r}, and are one class")
    return names, notes
