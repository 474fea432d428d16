"""Small makers of sources: a tree is {path: content}."""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Literal, cast

from etl.sources.containers import Entry, open_container
from etl.sources.layouts import Found, Options, Reading, read_layout

Tree = dict[str, bytes | str]


def content(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def folder(root: Path, tree: Tree) -> Path:
    for path, text in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content(text))
    root.mkdir(parents=True, exist_ok=True)
    return root


def zipped(path: Path, tree: Tree) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in tree.items():
            archive.writestr(name, content(text))
    return path


def tarred(path: Path, tree: Tree, mode: str = "w:") -> Path:
    with tarfile.open(path, cast(Literal["w:"], mode)) as archive:
        for name, text in tree.items():
            archive.addfile(member(name, size=len(content(text))), io.BytesIO(content(text)))
    return path


def member(name: str, *, size: int = 0, type: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:  # noqa: A002
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, type, link
    return info


def images(*paths: str) -> Tree:
    """A file at each path, of content that differs."""
    return {path: f"content of {path}" for path in paths}


class Memory:
    """A container of a tree, without a disk."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def __str__(self) -> str:
        return "SOURCE"

    def entries(self) -> list[Entry]:
        return [Entry(path, len(content(text)), 0, -1) for path, text in sorted(self.tree.items())]

    def read(self, entry: Entry, limit: int) -> bytes:
        return content(self.tree[entry.path])[:limit]


def reading(tree: Tree, options: Options | None = None) -> Reading:
    source = Memory(tree)
    return read_layout(source, source.entries(), options or Options())


def reading_of(source: Path, spool: Path) -> Reading:
    container = open_container(source, spool)
    return read_layout(container, container.entries(), Options())


def rows(found: Reading) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(row.path, row.label, row.split, row.problem) for row in found.found]


def labels(found: Reading) -> dict[str, str | None]:
    return {row.path: row.label for row in found.found}


def row(found: Reading, path: str) -> Found:
    (one,) = [row for row in found.found if row.path == path]
    return one
