"""Where files come from: a folder, or an archive (`archives.py`). Listed without opening, read as bounded streams."""

import os
import stat
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from etl.sources.archives import Tar, Zip, tar_at
from etl.sources.entries import Container, Entry, TooLarge, original, readable
from manifests.errors import Exit, UserError

__all__ = ["Container", "Entry", "Folder", "Tar", "TooLarge", "Zip", "open_container"]

PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def open_container(source: Path, spool: Path) -> Container:
    """The container at `source`. A tar is listed once, and a packed one unpacked once, into `spool`."""
    name = source.name.lower()
    if source.is_dir():
        return Folder(source)
    if not source.is_file():
        raise UserError(f"{source}: there is no such folder or archive. Give a folder, {_archives()}.", Exit.USAGE)
    if name.endswith(".zip"):
        status = source.stat()
        return Zip(source, status.st_mtime_ns, status.st_size)
    if name.endswith((".tar", *PACKED)):
        return tar_at(source, spool, packed=name.endswith(PACKED))
    raise UserError(f"{source}: a file, but no archive that is known. Give a folder, {_archives()}.", Exit.USAGE)


def _archives() -> str:
    return f".zip, .tar, {', '.join(PACKED[:-1])} or {PACKED[-1]}"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder and all below it.

    Links to files are followed. A link to a folder is followed unless that folder is listed already or lies above:
    each real folder is listed once, under its real name where it has one here. A link that leads nowhere is listed
    with 0 bytes, and reading it fails: it is a file that somebody expects to be there.
    """

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def entries(self) -> list[Entry]:
        root = str(self.root)
        seen = {_identity(str(parent)) for parent in self.root.resolve().parents}
        found: list[Entry] = []
        folders, links = [("", root)], list[tuple[str, str]]()  # (path here with '/' at the end, place on disk)
        while folders or links:
            if not folders:  # links come last, so that a real folder keeps its real name
                links.sort(reverse=True)
                folders.append(links.pop())
            prefix, place = folders.pop()
            identity = _identity(place)
            if identity in seen:
                continue
            seen.add(identity)
            for item in _items(place):
                if item.is_dir(follow_symlinks=False):
                    folders.append((f"{prefix}{readable(item.name)}/", item.path))
                elif item.is_symlink() and _leads_to_folder(item):
                    links.append((f"{prefix}{readable(item.name)}/", item.path))
                elif entry := _entry(prefix, item):
                    found.append(entry)
        found.sort(key=lambda entry: entry.path)
        for one, other in pairwise(found):
            if one.path == other.path:
                raise UserError(f"{root}: two files would both be called {one.path!r}; rename one of them.")
        return found

    def read(self, entry: Entry, limit: int) -> bytes:
        with self._place(entry.path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise TooLarge(f"{entry.path}: {size:,} bytes, more than {limit:,}")
            return stream.read(size)

    def _place(self, path: str) -> Path:
        place = self.root / path
        if "%" not in path or place.exists():
            return place
        place = self.root
        for part in path.split("/"):
            place = place / part if (place / part).exists() else place / original(part)
        return place


def _identity(place: str) -> tuple[int, int]:
    try:
        status = os.stat(place)  # noqa: PTH116 (a string is what scandir gives)
    except OSError as error:
        raise _unlisted(place, error) from None
    return status.st_dev, status.st_ino


def _items(place: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as items:
            return list(items)
    except OSError as error:
        raise _unlisted(place, error) from None


def _unlisted(place: str, error: OSError) -> UserError:
    why = error.strerror or type(error).__name__
    return UserError(f"{place!r}: the folder cannot be listed ({why}). Make it readable, or move it out of the source.")


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be entered: listed as a file that cannot be read
        return False


def _entry(prefix: str, item: os.DirEntry[str]) -> Entry | None:
    """A file as it is now; None for what is no file, or went away while the folder was being listed."""
    try:
        status = item.stat()
    except OSError:
        if not item.is_symlink():
            return None
        return Entry(prefix + readable(item.name), 0, item.stat(follow_symlinks=False).st_mtime_ns, -1)
    if not stat.S_ISREG(status.st_mode):
        return None
    return Entry(prefix + readable(item.name), status.st_size, status.st_mtime_ns, -1)
