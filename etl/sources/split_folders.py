"""Folders named for splits over folders named for classes: `train/cat/1.jpg`, `validation/cat/2.jpg`."""

from etl.sources.layouts import NO_LABEL, Found, Labels, Options, counted, listed, number
from etl.sources.listing import Listing, is_image, split_of
from etl.sources.mappings import renamed

NAME = "split-folders"
ORDER = 40
NEEDS = "folders train, val, test over a folder for each class (train/cat/1.jpg)"
TAKES = frozenset({"mapping"})


def fits(listing: Listing, options: Options) -> str | None:
    """Every folder with images is a split, or training and another split stand beside folders that are none."""
    below = _below(listing, listing.images)
    tops = {parts[0] for parts in below if len(parts) > 1}
    labelled = [parts for parts in below if len(parts) > 2 and split_of(parts[0])]
    splits = {split_of(parts[0]) for parts in labelled}
    if not splits or not (all(map(split_of, tops)) or (len(splits) > 1 and "train" in splits)):
        return None
    names = sorted((top for top in tops if split_of(top)), key=lambda top: (_rank(top), top))
    return f"{number(len({parts[1] for parts in labelled}), 'class folder')} under {listed(names)}"


def read(listing: Listing, options: Options) -> Labels:
    classes = {parts[1] for parts in _below(listing, listing.images) if len(parts) > 2 and split_of(parts[0])}
    rows: list[Found] = []
    inside = [path for path in listing.files if path.startswith(listing.base)]
    for path, parts in zip(inside, _below(listing, inside), strict=True):
        split = split_of(parts[0]) if len(parts) > 1 else None
        if split and len(parts) > 2 and parts[1] in classes:
            rows.append(Found(path, parts[1], split, None))
        elif split:
            rows.append(Found(path, None, split, NO_LABEL if is_image(path) else None))
    unlabelled = [row.path for row in rows if row.problem == NO_LABEL]
    return renamed(rows, listing, options, counted(unlabelled, "in a split but in no class folder"))


def _below(listing: Listing, paths: list[str]) -> list[list[str]]:
    """[split, class, rest]: as many of these as there are."""
    return [path.removeprefix(listing.base).split("/", 2) for path in paths if path.startswith(listing.base)]


def _rank(top: str) -> int:
    return ("train", "val", "test").index(split_of(top) or "test")
