"""What it takes to come to the same set again: the settings, which of them were asked for, and digests."""

from typing import Any

from markupsafe import Markup

from etl.evidence.evidence import Evidence
from etl.evidence.templates import fragment
from manifests.pages.fragments import count
from manifests.recipe import Curate
from manifests.table import table_digest

ORDER = 90
TITLE = "Settings"
LISTED = 2000  # classes named at the most


def render(evidence: Evidence) -> Markup:
    asked, usual = evidence.settings.asked(), Curate().asked()
    groups = {
        "Asked for": said({name: value for name, value in asked.items() if value != usual[name]}),
        "As usual": said({name: value for name, value in asked.items() if value == usual[name]}),
        "Digests": said(dict(evidence.digests or {"image table": table_digest(evidence.table)})),
    }
    classes = evidence.classes
    return fragment("settings.html", groups=groups, classes=classes[:LISTED], number=len(classes))


def said(values: dict[str, Any]) -> dict[str, str]:
    """Values as a person writes them."""
    return {name.replace("_", " "): _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if value is None or value in ({}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_text(part)}" for name, part in value.items())
    return str(value)
