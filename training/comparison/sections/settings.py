"""What differs between the runs: settings, pixels, data; and where each one lies."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from manifests.pages.fragments import short
from training.compare import Comparison
from training.comparison.templates import fragment
from training.entrants import Entrant
from training.folders import deciding

ORDER = 90
TITLE = "What differs"
UNSAID = ("run", "reported", "transform")  # names and published figures decide no number; pixels are listed by name
CONTRACT = ("height", "width", "resize", "interpolation", "channels", "dtype", "normalise")


def render(comparison: Comparison) -> Markup:
    rows = [(name, list(map(text, values))) for name, values in differing(comparison.entrants).items()]
    return fragment("settings.html", rows=rows, runs=comparison.entrants)


def differing(runs: Sequence[Entrant]) -> dict[str, list[Any]]:
    """Name → a value of each run, where they are not all the same."""
    said = [facts(one) for one in runs]
    names = dict.fromkeys(name for each in said for name in each)
    values = {name: [each.get(name) for each in said] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def facts(one: Entrant) -> dict[str, Any]:
    settings = {name: value for name, value in deciding(one.facts["settings"]).items() if name not in UNSAID}
    pixels = {f"pixels: {name}": one.facts["contract"].get(name) for name in CONTRACT}
    data = {"shard index": short(str(one.facts["data"])), "device": one.facts["device"]}
    return settings | pixels | data | {f"version of {name}": value for name, value in one.facts["versions"].items()}


def text(value: Any) -> str:
    """As a person writes it; a dash for nothing."""
    if value is None or value == [] or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
