"""The file of decisions as this server sees it: read again when another process wrote it, changed one slot at a time.

A slot is what one decision decides (`stays`, `class`, or a pair of images in either order). Whoever changes a slot is
told what stood in it, so that it can be put back.
"""

import threading
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from etl.decisions import PIN, REJECT, RELABEL, Decision, change, read_decisions
from manifests.errors import Exit, UserError

Key = tuple[str, str]  # image, what is decided of it
WHAT = ("stays", "class", "pair")


class Wish(NamedTuple):
    """Put a decision into a slot, or leave it empty."""

    sha256: str
    path: str
    what: str  # of WHAT
    other: str = ""  # of a pair: sha256
    other_path: str = ""
    to: dict[str, str] | None = None  # decision, class, reason, when; None leaves the slot empty
    expects: dict[str, str] | None = None  # what must stand there now, or the wish is not granted
    is_undo: bool = False  # then `expects` counts, and None expects an empty slot

    @property
    def key(self) -> Key:
        image = self.sha256 or self.path
        if self.what != "pair":
            return image, self.what
        one, two = sorted((image, self.other))
        return one, f"pair {two}"

    def decision(self) -> Decision | None:
        if self.to is None:
            return None
        named = f"{self.other} {self.other_path}" if self.what == "pair" else self.to.get("reason", "")
        named = " ".join(named.split())  # as the file has it, so that an undo knows it again
        when = self.to.get("when") or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Decision(self.sha256, self.path, self.to["decision"], self.to.get("class", ""), named, when)


class Granted(NamedTuple):
    """What became of a wish: what stood in the slot, and what stands there now."""

    before: dict[str, str] | None
    now: dict[str, str] | None
    refused: bool = False


class Ledger:
    """Decisions of `file` after those of other lists. Safe for threads; other processes are waited for."""

    def __init__(self, file: Path, others: Sequence[str | Path], shas: Mapping[str, str]) -> None:
        self.file, self.others, self.shas = file, [Path(other) for other in others], shas
        self.lock = threading.RLock()
        self.revision = 0
        self.trouble = ""  # why the file could not be read the last time; what was read before it holds
        self._seen: list[tuple[int, int, int]] | None = None
        self._own: list[Decision] = []
        self._foreign: list[Decision] = []
        self.refresh()

    @property
    def decisions(self) -> list[Decision]:
        with self.lock:
            return [*self._foreign, *self._own]

    def owned(self) -> set[Key]:
        """What the own file decides, and not another list."""
        with self.lock:
            return set(self._slots())

    def refresh(self) -> bool:
        """Read again what changed on the disk; whether anything did."""
        with self.lock:
            seen = [_stamp(file) for file in (*self.others, self.file)]
            if seen == self._seen:
                return False
            self._seen = seen
            try:
                own = read_decisions([self.file]) if self.file.is_file() else []
                foreign = read_decisions(self.others)
            except UserError as error:
                self.trouble = str(error)
                return True
            changed = [d._replace(place="") for d in own] != [d._replace(place="") for d in self._own]
            trouble = "" if self.file.is_file() else self._gone()
            changed |= foreign != self._foreign or trouble != self.trouble
            self._own, self._foreign, self.trouble = own, foreign, trouble
            self.revision += changed
            return changed

    def _gone(self) -> str:
        """What is said of a file that is not there; empty where nothing stood in it."""
        number = len(self._own)
        lines = "1 decision was" if number == 1 else f"{number} decisions were"
        return f"{self.file}: gone; {lines} in it: put it back, or go on without." if number else ""

    def grant(self, wishes: Sequence[Wish]) -> list[Granted]:
        """Write what is wished, in one go. Raises UserError where the file cannot be written; then nothing changed."""
        with self.lock:
            self.refresh()
            slots = self._slots()
            touched: dict[Key, list[Decision]] = {}
            granted: list[Granted] = []
            for wish in wishes:
                standing = touched.get(wish.key, slots.get(wish.key, []))
                before = _told(standing)
                new = wish.decision()
                if wish.is_undo and wish.expects != before:
                    granted.append(Granted(before, before, refused=before != wish.to))
                    continue
                touched[wish.key] = [new] if new else []
                granted.append(Granted(before, _told(touched[wish.key])))
            if touched:
                drop = [each for key in touched for each in slots.get(key, [])]
                self._write([each for made in touched.values() for each in made], drop)
            return granted

    def _write(self, put: list[Decision], drop: list[Decision]) -> None:
        try:
            self._own = change(self.file, put, drop)
        except OSError as error:
            raise UserError(f"{self.file}: cannot be written ({error.strerror}); the one before is kept.") from None
        self._seen, self.trouble = [_stamp(file) for file in (*self.others, self.file)], ""
        self.revision += 1

    def _slots(self) -> dict[Key, list[Decision]]:
        """Every slot of the own file and the lines that decide it, the one that holds last."""
        found: dict[Key, list[Decision]] = {}
        for line in self._own:
            decision = line.known(self.shas)
            image, what = decision.slot
            if decision.other:
                one, two = sorted((image, self.shas.get(decision.other, decision.other)))
                image, what = one, f"pair {two}"
            found.setdefault((image, what), []).append(line)
        return found


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino


def _told(lines: Sequence[Decision]) -> dict[str, str] | None:
    """The line that holds, as it travels to the page and back."""
    if not lines:
        return None
    line = lines[-1]
    return {"decision": line.decision, "class": line.class_name, "reason": line.reason, "when": line.when}


LIMIT = 300  # characters of a reason
UNPRINTABLE = {"Cc", "Cs"}  # control characters and lone surrogates, which no file in UTF-8 can hold
SLOTS = {REJECT: "stays", PIN: "stays", RELABEL: "class", "duplicate": "pair", "not duplicate": "pair"}


def checked(to: Any, what: str, classes: Sequence[str]) -> dict[str, str] | None:
    """What the page asks to be written, or UserError: it comes from outside."""
    if to is None:
        return None
    fields = {"decision", "class", "reason", "when"}
    if not isinstance(to, dict) or set(to) - fields or not all(isinstance(value, str) for value in to.values()):
        raise UserError("a decision has decision, class, reason and when, all text.", Exit.USAGE)
    asked: dict[str, str] = {str(key): str(value) for key, value in to.items()}
    kind, name = asked.get("decision", ""), asked.get("class", "")
    if SLOTS.get(kind) != what:
        raise UserError(f"decision {kind!r} does not belong to {what!r}.", Exit.USAGE)
    if kind == RELABEL and name not in classes:
        raise UserError(f"there is no class {name!r}.", Exit.USAGE)
    if any(unicodedata.category(c) in UNPRINTABLE for c in " ".join(asked.get("reason", "").split())):
        raise UserError("a reason is printable text.", Exit.USAGE)
    if len(asked.get("reason", "")) > LIMIT or not _is_time(asked.get("when", "")):
        raise UserError("a reason has at most 300 characters, and a time reads 2026-11-21T10:42:00Z.", Exit.USAGE)
    return asked


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return not text
    return text.isascii()  # strptime takes the digits of every script
