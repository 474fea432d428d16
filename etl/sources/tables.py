"""Text → cells: CSV and its relatives, whatever their delimiter."""

import csv
from collections.abc import Iterator
from io import StringIO
from itertools import islice

from manifests.errors import UserError

DELIMITERS = ",\t;|"
HEAD = 1 << 16  # characters that the delimiter is judged by


def cells(text: str, name: str) -> list[list[str]]:
    """The rows of a CSV or TSV that are not blank, cells stripped. `name` says by its ending which is likelier."""
    try:
        return list(_rows(text, _delimiter(text, name)))
    except csv.Error as error:
        raise UserError(f"{name}: not a table of comma- or tab-separated values ({error}).") from error


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    for row in csv.reader(StringIO(text, newline=""), delimiter=delimiter):
        stripped = [cell.strip() for cell in row]
        if any(stripped):
            yield stripped


def _delimiter(text: str, name: str) -> str:
    """The first that parts the head into rows of one width above 1; the likelier of comma and tab otherwise."""
    likely = "\t" if name.lower().endswith((".tsv", ".tab", ".txt")) else ","
    head = text if len(text) <= HEAD else text[:HEAD].rpartition("\n")[0]
    ordered = sorted(DELIMITERS, key=lambda delimiter: delimiter != likely)
    widths = {delimiter: {len(row) for row in islice(_rows(head, delimiter), 50)} for delimiter in ordered}
    even = [delimiter for delimiter in ordered if len(widths[delimiter]) == 1 and widths[delimiter] != {1}]
    return even[0] if even else likely
