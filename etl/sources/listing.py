"""A container's files as the layouts see them: system files apart, images known by suffix, wrapper folders found."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from etl.sources.containers import Container, Entry, Folder, TooLarge
from manifests.errors import Exit, UserError, known

# What somebody meant to be an image. Whether it is one, and of a format that alacena decodes, is found when opened.
IMAGE = re.compile(r"\.(jpe?g|jpe|jfif|png|webp|gif|bmp|dib|tiff?|avif|hei[cf]|jp2|p[pgb]m|tga)", re.IGNORECASE)
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
SYSTEM_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information"}
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
TEXT_LIMIT = 1 << 28  # bytes: the largest label list that is read


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of a container; equal only to itself, so that what is found out of it can be kept beside it."""

    container: Container
    files: dict[str, Entry]  # by path, sorted: all but the system files
    images: list[str]  # sorted paths of those with an image's suffix
    system: list[str]  # sorted paths
    base: str  # the wrapper folders, 'signs/Dataset/', or ''

    def text(self, path: str) -> str:
        """A small text file of the container: UTF-8 (with or without mark), UTF-16 with mark, else Latin-1."""
        try:
            return decoded(self.container.read(self.files[path], TEXT_LIMIT))
        except (OSError, TooLarge) as error:
            raise UserError(f"{self.container}: {path} cannot be read ({error}).") from error

    def given(self, flag: str, path: str) -> tuple[str, str, str | None]:
        """(name, text, path in the container or None) of a file that a person named, in the source or outside it."""
        inside = path.replace("\\", "/").removeprefix("./")
        if isinstance(self.container, Folder) and Path(path).is_absolute():
            root = self.container.root.resolve()
            resolved = Path(path).resolve()
            inside = resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else path
        for candidate in (inside, self.base + inside):
            if candidate in self.files:
                return inside.rpartition("/")[2], self.text(candidate), candidate
        if not Path(path).is_absolute():
            texts = [file for file in self.files if not is_image(file)]
            raise UserError(f"{flag} {path}: no such file in {self.container}. {known(path, texts)}", Exit.USAGE)
        try:
            return Path(path).name, decoded(Path(path).read_bytes()), None
        except OSError as error:
            raise UserError(f"{flag} {path}: cannot be read ({error.strerror or error}).", Exit.USAGE) from error


def listing_of(container: Container, entries: Iterable[Entry]) -> Listing:
    ordered = sorted(entries, key=lambda entry: entry.path)
    files = {entry.path: entry for entry in ordered if not is_system(entry.path)}
    images = [path for path in files if is_image(path)]
    return Listing(container, files, images, [e.path for e in ordered if e.path not in files], base_of(images))


def is_image(path: str) -> bool:
    return IMAGE.fullmatch(path, max(path.rfind("."), 0)) is not None


def is_system(path: str) -> bool:
    """Hidden or left by an operating system, as a file or by a folder above it."""
    if path.startswith(".") or "/." in path:
        return True
    *folders, name = path.lower().split("/")
    return name in SYSTEM_FILES or not SYSTEM_FOLDERS.isdisjoint(folders)


@lru_cache(maxsize=1024)  # asked four times of each file's first folder
def split_of(name: str) -> str | None:
    """'train' of 'Training', …; None of a word that names no split."""
    return SPLITS.get(name.strip().lower())


def base_of(images: list[str]) -> str:
    """The wrapper folders: as long as images lie under one folder that keeps most of them in folders of its own.

    A folder with a split's name is no wrapper, unless all below it have such names (`train/train/cat`, `test/test/…`).
    """
    base = ""
    while True:
        below = [path.removeprefix(base) for path in images if path.startswith(base)]
        tops = {path.split("/", 1)[0] for path in below if "/" in path}
        if len(tops) != 1:
            return base
        top = tops.pop()
        inner = [path.split("/", 2)[1] for path in below if path.count("/") > 1]
        if 2 * len(inner) <= sum("/" in path for path in below):
            return base  # its images lie in it: it is a class
        if split_of(top) and not all(split_of(name) for name in inner):
            return base
        base += f"{top}/"


def decoded(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def stem(path: str) -> str:
    """'cat.1' of 'a/cat.1.jpg'."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[0] or name
