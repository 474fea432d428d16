"""Which layout a listing has, and what that says of each file: class, split, or why neither is known.

A layout is one module beside this one, found by its name in this folder; nothing else has to be told of it:

    NAME = "class-folders"                 # what --layout calls it
    ORDER = 50                             # when it is asked: the more particular, the sooner
    NEEDS = "a folder for each class …"    # what it expects, for the message that nothing fits
    TAKES = frozenset({"mapping"})         # the Options that it understands; with any other given it is not asked

    def fits(listing, options) -> str | None          # one line for a person, or None: this is another layout
    def read(listing, options) -> Labels              # what the layout knows; called only where it fits

`read` gives rows only for what it has something to say about. What it leaves is added here, so no layout can lose a
file: an image that no row mentions is a 'file without a label', and any other file gets a row that says nothing.
"""

import pkgutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from etl.sources.entries import Container, Entry
from etl.sources.listing import Listing, is_image, listing_of
from manifests.errors import Exit, UserError, known

NO_FILE = "label without a file"
NO_LABEL = "file without a label"


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the image table to be."""

    path: str  # relative to the container; of a label without a file, as the list has it
    label: str | None  # class as the source says
    split: str | None  # 'train', 'val', 'test'; None where the source does not say
    problem: str | None  # NO_FILE, NO_LABEL, 'two labels in labels.csv: cat, dog'; None where the layout sees none


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line or the recipe says about the layout."""

    layout: str | None = None  # by name, whatever else would fit
    labels: str | None = None  # label list, relative to the source or an absolute path
    image_column: str | None = None  # by name, or by number from 1
    label_column: str | None = None
    mapping: str | None = None  # a file of two columns, id and class name, in either order
    class_name: str | None = None  # the class of every image


@dataclass(frozen=True)
class Labels:
    """What a layout has to say."""

    rows: list[Found]
    metadata: set[str] = field(default_factory=set[str])  # label files: no rows
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Reading:
    """Every file of a source: as a row, as metadata, or as a system file."""

    layout: str  # its name
    because: str  # one line for a person: '10 class folders under train, validation and test'
    found: list[Found]  # sorted by path: one for each other file, and one for each label without a file
    metadata: list[str]  # sorted paths of the label files that the layout read
    system: list[str]  # sorted paths of hidden and system files
    notes: list[str]  # what a person should hear, a sentence each


class Layout(Protocol):
    """A module of this folder that has these names."""

    NAME: str
    ORDER: int
    NEEDS: str
    TAKES: frozenset[str]

    def fits(self, listing: Listing, options: Options) -> str | None: ...
    def read(self, listing: Listing, options: Options) -> Labels: ...


def read_layout(container: Container, entries: list[Entry], options: Options) -> Reading:
    """What the arrangement of `entries` says; the first layout that fits, or the one that `options` force."""
    listing = listing_of(container, entries)
    for layout in _candidates(options):
        if because := layout.fits(listing, options):
            return _complete(listing, layout.NAME, because, layout.read(listing, options))
    raise _nothing_fits(listing, options)


def layout_names() -> list[str]:
    """In the order of asking."""
    return [layout.NAME for layout in layouts()]


@cache
def layouts() -> list[Layout]:
    """The modules of this folder that are layouts, in the order of asking."""
    package = import_module(__package__ or "")
    modules = [import_module(f"{package.__name__}.{module.name}") for module in pkgutil.iter_modules(package.__path__)]
    found = [cast(Layout, module) for module in modules if hasattr(module, "NAME")]
    return sorted(found, key=lambda layout: (layout.ORDER, layout.NAME))


def _candidates(options: Options) -> list[Layout]:
    if options.layout is not None and options.layout not in layout_names():
        raise UserError(f"unknown layout {options.layout!r}. {known(options.layout, layout_names())}", Exit.USAGE)
    given = {name.name for name in fields(options) if getattr(options, name.name) is not None} - {"layout"}
    named = [layout for layout in layouts() if options.layout in (None, layout.NAME)]
    able = [layout for layout in named if given <= layout.TAKES]
    if not able:
        flags = listed(f"--{name.replace('_', '-')}" for name in sorted(given))
        whom = f"layout {options.layout!r} does not" if options.layout else "no layout does"
        raise UserError(f"{flags}: given, but {whom} understand {'it' if len(given) == 1 else 'them all'}.", Exit.USAGE)
    return able


def _complete(listing: Listing, name: str, because: str, labels: Labels) -> Reading:
    known_paths = {row.path for row in labels.rows} | labels.metadata
    left = [path for path in listing.files if path not in known_paths]
    rows = labels.rows + [Found(path, None, None, NO_LABEL if is_image(path) else None) for path in left]
    outside = [path for path in left if is_image(path)]
    absent = [row.path for row in labels.rows if row.problem == NO_FILE]
    return Reading(
        layout=name,
        because=because,
        found=sorted(rows, key=lambda row: row.path),
        metadata=sorted(labels.metadata),
        system=listing.system,
        notes=[*labels.notes, *counted(outside, "without a label"), *counted(absent, "listed but not there")],
    )


def _nothing_fits(listing: Listing, options: Options) -> UserError:
    if options.layout:
        (layout,) = _candidates(options)
        return UserError(
            f"{listing.container}: not laid out as {layout.NAME}, which needs {layout.NEEDS}; {_seen(listing)}.",
            Exit.USAGE,
        )
    needs = "; ".join(f"{layout.NAME}: {layout.NEEDS}" for layout in _candidates(options))
    return UserError(
        f"{listing.container}: no layout fits; {_seen(listing)}. Expected one of: {needs}. "
        "A list elsewhere is given with --labels FILE; one class for all of a folder with CLASS=DIR in place of DIR; "
        "a layout is forced with --layout NAME."
    )


def _seen(listing: Listing) -> str:
    """'found 120 images directly in it, 30 in 2 folders (a, b) and 3 other files'."""
    tops = Counter(path.split("/", 1)[0] if "/" in path else "" for path in listing.images)
    direct = tops.pop("", 0)
    parts = [f"{number(direct, 'image')} directly in it"] if direct else []
    if tops:
        parts.append(f"{number(tops.total(), 'image')} in {number(len(tops), 'folder')} ({listed(sorted(tops))})")
    others = len(listing.files) - len(listing.images)
    return f"found {listed([*(parts or ['no images']), number(others, 'other file')])}"


def listed(words: Iterable[str]) -> str:
    """'a, b and c'; after ten, '… and 7 more'."""
    words = list(words)
    if len(words) > 10:
        words = [*words[:10], f"{len(words) - 10} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def number(count: int, noun: str) -> str:
    """'1 class folder', '1,200 images'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def counted(paths: list[str], what: str) -> list[str]:
    """A note of how many, with the first as an example; none where there are none."""
    return [f"{number(len(paths), 'file')} {what}, such as {min(paths)}"] if paths else []
