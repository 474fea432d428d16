"""Names in a list → files of a source: by relative path, by the end of the path, by base name, by stem."""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from etl.sources.layouts import listed
from etl.sources.listing import Listing, is_image, stem
from manifests.errors import Exit, UserError


@dataclass(frozen=True)
class Way:
    """One way in which a list may name files."""

    by: str  # for a person: 'relative path', …
    key: Callable[[str], str]  # cell → what the index holds
    index: dict[str, list[str]]

    def files(self, name: str) -> list[str]:
        return self.index.get(self.key(normal(name)), [])

    def file(self, name: str, where: str) -> str | None:
        """The one file of this name, None where there is none; UserError where there are two."""
        files = self.files(name)
        if len(files) > 1:
            choices = listed(files)
            raise UserError(
                f"{where}: {name!r} may be any of {choices} (by {self.by}). Write relative paths into the list.",
                Exit.USAGE,
            )
        return files[0] if files else None


def normal(name: str) -> str:
    """A name as lists write it, made comparable: '/', no './' before it, composed letters (macOS stores them apart)."""
    name = name.strip().replace("\\", "/").removeprefix("./").strip("/")
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def ways(listing: Listing, list_path: str | None, names: Iterable[str]) -> list[Way]:
    """The ways in which the list at `list_path` may name files, strictest first. `names` bound the depths looked at."""
    depths = {normal(name).count("/") for name in names} - {0}
    files = [path for path in listing.files if path != list_path]
    images = [path for path in files if is_image(path)] or files
    roots = sorted({*_folders(list_path or ""), *_folders(listing.base)}, key=len, reverse=True)
    return [
        Way("relative path", str, _by_path(files, roots)),
        Way("end of the path", str, _index((_tail(path, depth), path) for depth in depths for path in images)),
        Way("base name", _base_name, _index((_base_name(path), path) for path in images)),
        Way("stem", _base_name, _index((stem(path), path) for path in images)),
    ]


def best(choices: list[Way], names: list[str]) -> tuple[Way, int]:
    """The way that reaches the most files, the strictest of equals, and how many it reaches."""
    reached = [len({files[0] for name in names if (files := way.files(name))}) for way in choices]
    most = max(reached)
    return choices[reached.index(most)], most


def _by_path(files: list[str], roots: list[str]) -> dict[str, list[str]]:
    """Each file by its path from each root; where two files would share one, the one from the deeper root has it."""
    index: dict[str, list[str]] = {}
    for root in roots:
        for path in files:
            if path.startswith(root):
                index.setdefault(normal(path.removeprefix(root)), [path])
    return index


def _index(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for key, path in pairs:
        index.setdefault(normal(key), []).append(path)
    return index


def _folders(path: str) -> list[str]:
    """'', 'a/', 'a/b/' of 'a/b/list.txt'."""
    return [path[:end] for end in range(len(path) + 1) if end == 0 or path[end - 1] == "/"]


def _tail(path: str, depth: int) -> str:
    return "/".join(path.split("/")[-depth - 1 :])


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]
