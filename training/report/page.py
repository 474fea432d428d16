"""The page: every section in the order it states, one style sheet, and a policy that lets nothing in or out."""

import base64
import hashlib
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from markupsafe import Markup

from manifests.store import write_whole
from training.folders import REPORT
from training.report import sections
from training.report.evidence import Evidence, read_evidence
from training.report.fragments import FOLDER, fragment


class Section(Protocol):
    """What a module in `sections/` has."""

    ORDER: int  # place on the page: smaller is higher
    TITLE: str

    def render(self, evidence: Evidence) -> Markup:
        """The section's HTML without its heading."""
        ...


@dataclass(frozen=True)
class Part:
    """A section as the page shows it."""

    name: str  # of the module: the anchor
    title: str
    body: Markup


def write_report(run: Path, shards: Path) -> Path:
    """Write `RUN/report.html` and return its path. Raises UserError where run and shards do not belong together."""
    file = run / REPORT
    write_whole(file, page(read_evidence(run, shards)))
    return file


def page(evidence: Evidence) -> str:
    """The report as text. The same evidence gives the same bytes: it holds no clock."""
    found = sorted(found_sections().items(), key=lambda item: (item[1].ORDER, item[0]))
    parts = [Part(name, section.TITLE, section.render(evidence)) for name, section in found]
    style = Markup(style_sheet([name for name, _ in found]))  # ours, from files beside this one
    policy = (
        f"default-src 'none'; style-src 'sha256-{_sha256(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return fragment("page.html", evidence=evidence, parts=parts, style=style, policy=policy)


def found_sections() -> dict[str, Section]:
    """Every module in `sections/` by name."""
    names = [module.name for module in pkgutil.iter_modules(sections.__path__)]
    return {name: cast(Section, importlib.import_module(f"{sections.__name__}.{name}")) for name in names}


def style_sheet(names: list[str]) -> str:
    """The page's style, then each section's own where it has one."""
    files = [FOLDER / "page.css", *(FOLDER / "sections" / f"{name}.css" for name in names)]
    return "\n".join(file.read_text("utf-8") for file in files if file.is_file())


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
