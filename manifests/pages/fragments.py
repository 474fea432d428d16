"""How values become HTML: escaping templates, how numbers read, and the policy of a page that needs nothing else.

Names of classes, files and runs come from outside; they reach a page only through a template, which escapes them.
"""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent
STYLE = FOLDER / "page.css"  # colours for light and dark, type, tables: what every page builds on
THIN = "\N{NARROW NO-BREAK SPACE}"  # between thousands, and between a number and its unit


class Templates:
    """The templates of some folders, and the common frame; every value that is not Markup is escaped."""

    def __init__(self, *folders: Path) -> None:
        self.environment = Environment(
            loader=FileSystemLoader([*folders, FOLDER]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
        )
        self.environment.filters |= {
            "percent": percent, "count": count, "images": images, "duration": duration, "fixed": fixed,
            "short": short, "breakable": breakable,
        }  # fmt: skip

    def fragment(self, template: str, **values: Any) -> Markup:
        return Markup(self.environment.get_template(template).render(values))


def style_sheet(files: Iterable[Path]) -> Markup:
    """The common style, then those of these files that are there. Ours, so it need not be escaped."""
    return styles((STYLE, *files))


def styles(files: Iterable[Path]) -> Markup:
    """Those of these style sheets that are there. Ours, so they need not be escaped."""
    return Markup("\n".join(file.read_text("utf-8") for file in files if file.is_file()))


def nested(style: str, place: str) -> Markup:
    """A style that holds inside `place` alone, by CSS nesting (in browsers since 2023). Ours, as `style_sheet`."""
    return Markup(f"\n{place} {{\n{style}\n}}")


def policy(style: str) -> str:
    """The content security policy of a file that holds its style and pictures, and lets nothing else in or out."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def missing(sentence: str) -> Markup:
    """What a section says where its input is not there yet."""
    return Markup('<p class="missing">{}</p>').format(sentence)


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
