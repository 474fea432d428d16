"""Tiny-ImageNet: `train/WNID/images/…`, `val/images/…` with `val_annotations.txt`, an unlabelled `test/images/…`.

`wnids.txt` lists the classes, `words.txt` names them: the first name is the label, "goldfish" for "goldfish, Carassius
auratus". Where two classes share it, both carry their WNID behind it.
"""

from collections import Counter

from etl.sources.claims import Claim, rows_of
from etl.sources.layouts import NO_LABEL, Found, Labels, Options, number
from etl.sources.listing import Listing, is_image

NAME = "tiny-imagenet"
ORDER = 10
NEEDS = "wnids.txt, words.txt and train/WNID/images"
TAKES = frozenset[str]()

ANNOTATIONS = "val/val_annotations.txt"


def fits(listing: Listing, options: Options) -> str | None:
    root = _root(listing)
    if root is None:
        return None
    return f"{number(len(listing.text(root + 'wnids.txt').split()), 'class')} of wnids.txt, named by words.txt"


def read(listing: Listing, options: Options) -> Labels:
    root = _root(listing) or ""
    wnids = listing.text(root + "wnids.txt").split()
    names = class_names(wnids, listing.text(root + "words.txt"))
    rows: list[Found] = []
    metadata = {root + name for name in ("wnids.txt", "words.txt", ANNOTATIONS) if root + name in listing.files}
    validation, notes = _validation(listing, root, names)
    claimed = {row.path for row in validation}
    for path in listing.files:
        split, *parts = path.removeprefix(root).split("/")
        if not path.startswith(root) or path in claimed or split not in ("train", "val", "test"):
            continue
        if path.endswith("_boxes.txt"):
            metadata.add(path)  # where in the image the object is
        elif is_image(path):
            label = names.get(parts[0]) if parts else None
            rows.append(Found(path, label, split, None if label else NO_LABEL))
    left_out = sum(row.split == "test" and row.label is None for row in rows)
    notes += [f"{number(left_out, 'file')} of the unlabelled test left out"] if left_out else []
    bare = sorted(set(wnids) - {row.path.removeprefix(root).split("/")[1] for row in rows if row.split == "train"})
    notes += [f"{number(len(bare), 'class')} of wnids.txt without training images, such as {bare[0]}"] if bare else []
    return Labels(rows + validation, metadata, notes)


def class_names(wnids: list[str], words: str) -> dict[str, str]:
    """{WNID: class name}; `words` has a line `WNID TAB name, other name` each, of all of WordNet's nouns."""
    wanted = set(wnids)
    first: dict[str, str] = {}
    for line in words.splitlines():
        wnid, _, name = line.partition("\t")
        if wnid in wanted:
            first[wnid] = name.split(",")[0].strip() or wnid
    labels = {wnid: first.get(wnid, wnid) for wnid in wnids}
    shared = Counter(labels.values())
    return {wnid: f"{label} ({wnid})" if shared[label] > 1 else label for wnid, label in labels.items()}


def _root(listing: Listing) -> str | None:
    """The outermost folder with both lists and training images: 'tiny-imagenet-200/', or ''."""
    roots = [
        path.removesuffix("wnids.txt") for path in listing.files if path == "wnids.txt" or path.endswith("/wnids.txt")
    ]
    whole = [
        root
        for root in roots
        if root + "words.txt" in listing.files
        and any(path.startswith(root + "train/") and "/images/" in path for path in listing.images)
    ]
    return min(whole, key=lambda root: (root.count("/"), root), default=None)


def _validation(listing: Listing, root: str, names: dict[str, str]) -> tuple[list[Found], list[str]]:
    """The rows of `name TAB WNID TAB box`. A WNID that wnids.txt lacks stands for itself."""
    if root + ANNOTATIONS not in listing.files:
        return [], []
    lines = [line.split("\t") for line in listing.text(root + ANNOTATIONS).splitlines() if "\t" in line]
    claims = [Claim(f"{root}val/images/{name}", names.get(wnid, wnid), "val") for name, wnid, *_ in lines]
    strange = sorted({wnid for _, wnid, *_ in lines} - names.keys())
    rows, notes = rows_of(claims, listing, "val_annotations.txt")
    return rows, notes + [f"{wnid} of val_annotations.txt is not in wnids.txt" for wnid in strange]
