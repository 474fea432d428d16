"""A folder for each class: `cat/1.jpg`, `dog/2.jpg`, perhaps inside wrapper folders (`signs/Dataset/0/1.jpg`)."""

from etl.sources.layouts import Found, Labels, Options, number
from etl.sources.listing import Listing, split_of
from etl.sources.mappings import renamed

NAME = "class-folders"
ORDER = 50
NEEDS = "a folder for each class (cat/1.jpg)"
TAKES = frozenset({"mapping"})


def fits(listing: Listing, options: Options) -> str | None:
    classes = _classes(listing)
    if options.layout != NAME and all(map(split_of, classes)):
        return None  # images straight in train/ and test/ have no class, and 'train' is none
    where = f" under {listing.base.rstrip('/')}" if listing.base else ""
    return f"{number(len(classes), 'class folder')}{where}" if classes else None


def read(listing: Listing, options: Options) -> Labels:
    classes = _classes(listing)
    inside = [path for path in listing.files if path.startswith(listing.base)]
    labels = {path: path.removeprefix(listing.base).split("/", 1)[0] for path in inside}
    return renamed(
        [Found(path, label, None, None) for path, label in labels.items() if label in classes], listing, options
    )


def _classes(listing: Listing) -> set[str]:
    """The folders that hold an image, at any depth."""
    below = [path.removeprefix(listing.base) for path in listing.images if path.startswith(listing.base)]
    return {path.split("/", 1)[0] for path in below if "/" in path}
