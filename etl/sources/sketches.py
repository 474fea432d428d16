"""The sketch set's lists (Eitz, Hays and Alexa 2012): train.txt and test.txt with `path TAB label`, mapping.txt with
`label TAB index`. A label in the lists may be either."""

from collections.abc import Iterator

from etl.sources.claims import Claim, rows_of
from etl.sources.layouts import Labels, Options
from etl.sources.listing import Listing
from etl.sources.mappings import pairs
from etl.sources.matching import best, normal, ways
from manifests.errors import UserError

NAME = "sketches"
ORDER = 20
NEEDS = "train.txt and test.txt (path TAB label) and mapping.txt (label TAB index) in one folder"
TAKES = frozenset[str]()

LISTS = {"train.txt": "train", "test.txt": "test"}
MAPPING = "mapping.txt"


def fits(listing: Listing, options: Options) -> str | None:
    folder = _folder(listing)
    if folder is None:
        return None
    counts = {name: sum(map(bool, map(str.strip, listing.text(folder + name).splitlines()))) for name in LISTS}
    return f"{counts['train.txt']:,} sketches in train.txt and {counts['test.txt']:,} in test.txt, named by {MAPPING}"


def read(listing: Listing, options: Options) -> Labels:
    folder = _folder(listing) or ""
    lines = [(name, *line) for name in LISTS for line in _lines(listing, folder + name)]
    classes = _classes(pairs(listing.text(folder + MAPPING), MAPPING), {label for _, _, label in lines})
    names = [path for _, path, _ in lines]
    way, _ = best(ways(listing, folder + "train.txt", names)[:3], names)  # a stem says too little: lists have suffixes
    claims = [
        Claim(way.file(path, name) or normal(path), classes.get(label, label), LISTS[name])
        for name, path, label in lines
    ]
    rows, notes = rows_of(claims, listing, " and ".join(LISTS))
    unknown = sorted({label for _, _, label in lines} - classes.keys())
    notes += [f"label {label} has no name in {MAPPING}" for label in unknown]
    return Labels(rows, {folder + name for name in (*LISTS, MAPPING)}, notes)


def _folder(listing: Listing) -> str | None:
    """The outermost folder with all three files, whose train.txt has tabs: 'lists/', or ''."""
    folders = [path.removesuffix(MAPPING) for path in listing.files if path == MAPPING or path.endswith(f"/{MAPPING}")]
    whole = [folder for folder in folders if all(folder + name in listing.files for name in LISTS)]
    tabbed = [folder for folder in whole if "\t" in listing.text(folder + "train.txt").strip().partition("\n")[0]]
    return min(tabbed, key=lambda folder: (folder.count("/"), folder), default=None)


def _lines(listing: Listing, path: str) -> Iterator[tuple[str, str]]:
    for place, line in enumerate(listing.text(path).split("\n"), start=1):
        name, tab, label = line.strip().rpartition("\t")
        if tab:
            yield name.strip(), label.strip()
        elif label:
            raise UserError(
                f"{listing.container}: {path}, line {place}: {label!r} has no tab; expected path TAB label."
            )


def _classes(mapping: list[tuple[str, str]], labels: set[str]) -> dict[str, str]:
    """{label as a list has it: class name}, for indices and names alike. Where a class is called as another's index,
    the lists speak of whichever they have more of."""
    by_index = {index: name for name, index in mapping}
    by_name = {name: name for name, _ in mapping}
    names_first = len(labels & by_name.keys()) > len(labels & by_index.keys())
    classes = by_index | by_name if names_first else by_name | by_index
    return {label: classes[label] for label in labels if label in classes}
