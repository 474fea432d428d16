"""How values become HTML: one escaping template environment, and how numbers read.

Names of classes, files and runs come from outside; they reach a page only through a template, which escapes them.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent
THIN = "\N{NARROW NO-BREAK SPACE}"  # between thousands, and between a number and its unit


def fragment(template: str, **values: Any) -> Markup:
    """A template of this folder or of `sections/`, filled in; every value that is not Markup is escaped."""
    return Markup(environment().get_template(template).render(values))


def missing(sentence: str) -> Markup:
    """What a section says where its input is not there yet."""
    return Markup('<p class="missing">{}</p>').format(sentence)


@cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader([FOLDER, FOLDER / "sections"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters |= {
        "percent": percent, "count": count, "images": images, "duration": duration, "fixed": fixed, "short": short,
        "breakable": breakable,
    }  # fmt: skip
    return made


def percent(fraction: float, digits: int = 1) -> str:
    """0.853 → 85.3 %; what is not quite all or nothing never reads as all or nothing."""
    least = 10.0**-digits
    if 0 < fraction < 1:
        if 100 * fraction < least / 2:
            return f"<{THIN}{least:.{digits}f}{THIN}%"
        if 100 * (1 - fraction) <= least / 2:
            return f">{THIN}{100 - least:.{digits}f}{THIN}%"
    return f"{100 * fraction:.{digits}f}{THIN}%"


def count(number: int) -> str:
    """12345 → 12 345."""
    return f"{number:,}".replace(",", THIN)


def images(number: int) -> str:
    """1 → 1 image, 2 → 2 images."""
    return f"{count(number)} image{'' if number == 1 else 's'}"


def fixed(number: float, digits: int = 3) -> str:
    return f"{number:.{digits}f}"


def short(digest: str) -> str:
    """The first 16 digits of a digest: as the store names its folders."""
    return digest[:16]


def breakable(path: str) -> Markup:
    """A path that may go on in the next line after each of its slashes."""
    return Markup("/<wbr>").join(path.split("/"))


def duration(seconds: float) -> str:
    """75.2 → 1 min 15 s; the two largest units."""
    if seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{THIN}h {minutes}{THIN}min"
    return f"{minutes}{THIN}min {rest}{THIN}s" if minutes else f"{rest}{THIN}s"
