"""A page of sections: every module of a package is one, found by itself. One style sheet, nothing let in or out.

A section has `ORDER` (smaller is higher), `TITLE` and `render(evidence)`; its template, and its style where it wants
one, lie beside it under its name.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from markupsafe import Markup

from manifests.pages.fragments import Templates, nested, policy, style_sheet


class Section(Protocol):
    """What a module in `sections/` has."""

    ORDER: int  # place on the page: smaller is higher
    TITLE: str

    def render(self, evidence: Any) -> Markup:
        """The section's HTML without its heading."""
        ...


@dataclass(frozen=True)
class Inset:
    """What one page draws and a section of another shows. No room imports the other's page: the command hands it on."""

    body: Markup
    style: Markup  # of the body alone; it holds nothing that cannot stand inside a rule: no :root, no @import
    numbers: str = ""  # behind what is drawn, as CSV; empty where nothing is


@dataclass(frozen=True)
class Part:
    """A section as the page shows it."""

    name: str  # of the module: the anchor
    title: str
    body: Markup


def found_sections(package: ModuleType) -> dict[str, Section]:
    """Every module of a package by name."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return {name: cast(Section, importlib.import_module(f"{package.__name__}.{name}")) for name in names}


def page(
    templates: Templates, package: ModuleType, evidence: Any, insets: Mapping[str, Inset | None] | None = None
) -> str:
    """`page.html` with every section. The same evidence gives the same bytes: it holds no clock.

    `insets`: section → what of another page it shows. Its style holds inside that section and nowhere else.
    """
    found = sorted(found_sections(package).items(), key=lambda item: (item[1].ORDER, item[0]))
    parts = [Part(name, section.TITLE, section.render(evidence)) for name, section in found]
    folder = Path(str(package.__file__)).parent
    style = style_sheet([folder.parent / "page.css", *(folder / f"{name}.css" for name, _ in found)])
    style += Markup().join(nested(inset.style, f"#{name}") for name, inset in (insets or {}).items() if inset)
    return templates.fragment("page.html", evidence=evidence, parts=parts, style=style, policy=policy(style))
