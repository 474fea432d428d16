"""A source whose every image has one class, which the person names: half of a text / no-text set, say."""

from etl.sources.layouts import Found, Labels, Options
from etl.sources.listing import Listing

NAME = "single-class"
ORDER = 0  # it is asked for by name, so nothing else can be meant
NEEDS = "images anywhere below, and the class that they all have"
TAKES = frozenset({"class_name"})


def fits(listing: Listing, options: Options) -> str | None:
    if options.class_name is None or not listing.images:
        return None
    return f"every image is of the class {options.class_name!r}, as given"


def read(listing: Listing, options: Options) -> Labels:
    return Labels([Found(path, options.class_name, None, None) for path in listing.files])
