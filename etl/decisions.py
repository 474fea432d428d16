"""What a person decided, image by image: read from CSV files, written to one, and laid over the image table.

`sha256,path,decision,class,reason,when`: small, readable, at home in version control. The sha256 says which image is
meant, the path is for the reader (or stands for the image where there is no sha256). `class` belongs to relabel;
for the two decisions about a pair `reason` begins with the other image's sha256, or is its path. A plain list of
`path,reason` rejects. The page of `etl.review` writes such a file, `curate --reject` reads any number of them.
"""

import csv
import difflib
import io
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from manifests.errors import Exit, UserError, known
from manifests.store import write_whole

if TYPE_CHECKING:  # `etl.keys` reads decisions without loading polars
    import polars as pl

SHA256_DIGITS = 64
COLUMNS = ("sha256", "path", "decision", "class", "reason", "when")
REJECT, RELABEL, DUPLICATE, NOT_DUPLICATE, PIN = "reject", "relabel", "duplicate", "not duplicate", "pin"
KINDS = {
    REJECT: "left out, for the reason given",
    RELABEL: "is of this class",
    DUPLICATE: "shows what the other one shows",
    NOT_DUPLICATE: "is no copy of the other one, or, where none is named, of any",
    PIN: "stays: kept before its copies, whatever faults, size and the cap say",
}


class Decision(NamedTuple):
    """One line: which image, what was decided, and where that is written."""

    sha256: str  # 64 digits, or empty
    path: str
    decision: str  # of KINDS
    class_name: str = ""
    reason: str = ""
    when: str = ""  # UTC, 2026-11-21T10:42:00Z
    place: str = ""  # FILE:LINE

    @property
    def image(self) -> str:
        return self.sha256 or self.path

    @property
    def other(self) -> str:
        """The other image of a decision about a pair: its sha256, or its path; empty where none is named."""
        if self.decision not in {DUPLICATE, NOT_DUPLICATE}:
            return ""
        first = self.reason.partition(" ")[0].lower()
        return first if is_sha256(first) else self.reason

    @property
    def slot(self) -> tuple[str, str]:
        """What it decides: of two decisions in one slot the later one holds. Rejected or pinned; class; each pair."""
        what = {REJECT: "stays", PIN: "stays", RELABEL: "class"}.get(self.decision, f"pair {self.other}")
        return self.image, what

    def known(self, shas: Mapping[str, str]) -> "Decision":
        """With the sha256 of its path, where it has none of its own."""
        return self if self.sha256 else self._replace(sha256=shas.get(self.path, ""))


def is_sha256(text: str) -> bool:
    return len(text) == SHA256_DIGITS and all(c in "0123456789abcdef" for c in text.lower())


def read_decisions(files: Iterable[str | Path]) -> list[Decision]:
    """Every line of every file, in order. Raises UserError (exit 2) for a file or a line that cannot be understood."""
    return [decision for file in files for decision in _read(Path(file))]


def _read(file: Path) -> list[Decision]:
    try:
        reader = csv.reader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""))
        lines = [(reader.line_num, line) for line in reader]
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such list of decisions; put it back, or name others with curate --reject FILE, "
            "none with --reject ''.",
            Exit.USAGE,
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not readable as CSV in UTF-8: {error}.", Exit.USAGE) from None
    lines = [(number, line) for number, line in lines if any(line) and not line[0].startswith("#")]
    names = _names([name.strip() for name in lines[0][1]], file) if lines else None
    exact = KEPT_AS_IS if names and "decision" in names else ()
    found: list[Decision] = []
    for number, line in lines[1:] if names else lines:
        row = {name: text if name in exact else text.strip() for name, text in zip(names or PLAIN, line, strict=False)}
        found.append(_decision(row, f"{file}:{number}"))
    return [decision for decision in found if decision.image]


PLAIN = ("image", "reason")  # the columns of a list without a header
KEPT_AS_IS = ("path", "class", "reason")  # what begins or ends with a space is another path, or another class


def _names(head: list[str], file: Path) -> list[str] | None:
    """The columns of a header; None where the first line is none. Raises UserError for what is nearly one."""
    names = [name.lower() for name in head]
    if len(head) == 1 and any(mark in head[0] for mark in ";\t"):
        raise UserError(f"{file}: its columns are not separated by commas; expected a CSV.", Exit.USAGE)
    if not {"sha256", "path", "image"} & set(names):
        if len(head) > 1 and names[1] in KINDS:
            raise UserError(f"{file}: decisions without a header; expected {','.join(COLUMNS)} first.", Exit.USAGE)
        return None
    for name in names:
        if name not in {*COLUMNS, "image"} and difflib.get_close_matches(name, COLUMNS, 1, 0.75):
            raise UserError(f"{file}: unknown column {name!r}. {known(name, COLUMNS)}", Exit.USAGE)
    return names


def _decision(row: dict[str, str], place: str) -> Decision:
    """One line; `image` may be either name. What it decides is checked, so that no decision is lost unnoticed."""
    image = row.get("image", "")
    sha256 = (row.get("sha256", "") or (image if is_sha256(image) else "")).lower()
    kind = row.get("decision", "").lower().replace("_", " ") or REJECT
    name, reason = row.get("class", ""), row.get("reason", "")
    wrong = {
        f"unknown decision {kind!r}. {known(kind, KINDS)}": kind not in KINDS,
        "relabel needs a class.": kind == RELABEL and not name,
        "duplicate needs the other image: its sha256 or path, as the reason.": kind == DUPLICATE and not reason,
        "a class, and no decision; expected relabel in the column decision.": name and not row.get("decision"),
    }
    if said := [text for text, holds in wrong.items() if holds]:
        raise UserError(f"{place}: {said[0]}", Exit.USAGE)
    reason = reason or ("no reason given" if kind == REJECT else "")
    return Decision(sha256, row.get("path", "") or image, kind, name, reason, row.get("when", ""), place)


def decision_file(files: Iterable[str | Path]) -> Path | None:
    """The first of these lists that has decisions and no column of its own, and so can be written to."""
    for file in map(Path, files):
        try:
            with file.open(encoding="utf-8-sig") as text:
                head = next((line for line in text if not line.startswith("#")), "")
        except (OSError, UnicodeDecodeError):
            continue
        columns = set(head.strip().split(","))
        if "decision" in columns and columns <= set(COLUMNS):
            return file
    return None


class Decided(NamedTuple):
    """Decisions laid over an image table. Paths are rows; pairs are of sha256, the smaller first."""

    rejected: dict[str, str]  # path → reason
    relabelled: dict[str, Decision]  # path → the decision that names its class
    pinned: frozenset[str]  # paths
    same: frozenset[tuple[str, str]]
    unlike: frozenset[tuple[str, str]]
    like_none: frozenset[str]  # sha256 of images that are a copy of no other
    unmatched: list[Decision]  # that name no row


NOTHING = Decided({}, {}, frozenset(), frozenset(), frozenset(), frozenset(), [])


def laid_over(table: "pl.DataFrame | pl.LazyFrame", decisions: Sequence[Decision]) -> Decided:
    """What the decisions say of the rows of this table. An image that lies there twice is meant twice."""
    if not decisions:
        return NOTHING
    paths, shas = _named(table, decisions)
    stays: dict[str, Decision] = {}
    relabelled: dict[str, Decision] = {}
    pairs: dict[tuple[str, str], str] = {}
    like_none: set[str] = set()
    unmatched: list[Decision] = []
    for decision in decisions:  # a later one takes the place of an earlier one, row by row and pair by pair
        rows = paths.get(decision.sha256, []) if decision.sha256 else [decision.path] * (decision.path in shas)
        own, other = shas.get(rows[0], "") if rows else "", shas.get(decision.other, decision.other)
        if not rows or (decision.slot[1].startswith("pair") and not own) or (decision.other and other not in paths):
            unmatched.append(decision)
        elif decision.decision in {REJECT, PIN}:
            stays |= dict.fromkeys(rows, decision)
        elif decision.decision == RELABEL:
            relabelled |= dict.fromkeys(rows, decision)
        elif other:
            pairs[min(own, other), max(own, other)] = decision.decision
        else:
            like_none |= {own}
    rejected = {path: each.reason for path, each in stays.items() if each.decision == REJECT}
    pinned = frozenset(path for path, each in stays.items() if each.decision == PIN)
    same = frozenset(pair for pair, kind in pairs.items() if kind == DUPLICATE)
    unlike = frozenset(pairs) - same
    return Decided(rejected, relabelled, pinned, same, unlike, frozenset(like_none), unmatched)


def words(decided: Decided) -> dict[str, str]:
    """Path → what was decided of it, for a person to read."""
    said: dict[str, list[str]] = {path: [REJECT] for path in decided.rejected}
    for path, decision in decided.relabelled.items():
        said.setdefault(path, []).append(f"{RELABEL} {decision.class_name}")
    for path in decided.pinned:
        said.setdefault(path, []).append(PIN)
    return {path: ", ".join(each) for path, each in said.items()}


def _named(
    table: "pl.DataFrame | pl.LazyFrame", decisions: Sequence[Decision]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """sha256 → its paths, and path → its sha256: of the rows that these decisions name."""
    import polars as pl

    names = list({name for each in decisions for name in (each.sha256, each.path, each.other) if name})
    is_named = pl.col("path").is_in(names) | pl.col("sha256").is_in(names)
    rows = table.lazy().select("path", "sha256").filter(is_named).collect().rows()
    paths: dict[str, list[str]] = {}
    for path, sha256 in rows:
        if sha256:  # a file that could not be read is no image: only its path names it
            paths.setdefault(sha256, []).append(path)
    return paths, {path: sha256 or "" for path, sha256 in rows}


def change(file: Path, put: Sequence[Decision], drop: Sequence[Decision] = ()) -> list[Decision]:
    """Write decisions to the file and take others out, whole or not at all; what stands in it then.

    Whoever else writes to it at the same time waits: nobody's decision is overwritten. Sorted by path, so that two
    people's changes meet in version control only where they decide on the same image.
    """
    file = file.resolve()  # of a link, what it points to
    with _alone(file):
        text = file.read_text("utf-8-sig") if file.is_file() else ""
        if text.strip() and not decision_file([file]):
            raise UserError(f"{file}: a list of a person's own; name another file with --decisions FILE.", Exit.USAGE)
        there = {each.slot: each for each in (read_decisions([file]) if text else [])}
        for decision in drop:
            there.pop(decision.slot, None)
        for decision in put:
            there.pop(decision.slot, None)
            there[decision.slot] = decision
        kept = sorted(there.values(), key=lambda each: (each.path, each.slot[1]))  # stable: the later line still holds
        comments = [line for line in text.splitlines(keepends=True) if line.startswith("#")]
        write_whole(file, "".join(comments) + _as_csv(kept))
    return kept


def _as_csv(kept: Sequence[Decision]) -> str:
    out = io.StringIO()
    for row in (COLUMNS, *(each._replace(reason=" ".join(each.reason.split()))[:6] for each in kept)):
        quoting = csv.QUOTE_ALL if any("\r" in cell for cell in row) else csv.QUOTE_MINIMAL
        csv.writer(out, lineterminator="\n", quoting=quoting).writerow(row)
    return out.getvalue()


@contextmanager
def _alone(file: Path) -> Generator[None]:
    """The only writer, among processes and threads, while the block runs; where the system has no locks, at least of
    this thread. The lock lies on the file's folder, for the file itself is replaced."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
