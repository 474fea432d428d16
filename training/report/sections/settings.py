"""What it takes to make this run again: settings, pixels, versions, digests."""

from typing import Any

from markupsafe import Markup

from manifests.pages.fragments import count
from training.report.evidence import Evidence
from training.report.templates import fragment

ORDER = 90
TITLE = "Settings"


def render(evidence: Evidence) -> Markup:
    return fragment("settings.html", groups=groups(evidence), classes=evidence.facts["classes"])


def groups(evidence: Evidence) -> dict[str, dict[str, str]]:
    """Heading → name → value, as text."""
    facts, evaluation = evidence.facts, evidence.evaluation or {}
    pixels = evidence.index.contract.model_dump(mode="json")
    weights = {
        name: facts.get(name) for name in ("weights", "parameters", "trainable", "normalise", "mean", "deviation")
    }
    digests = {
        "run": facts["key"],
        "shard set": facts["transform"],
        "shard index": evidence.index.digest,
        "pixel contract": evidence.index.contract.digest,
    }
    evaluated = {
        name: evaluation.get(name)
        for name in ("split", "checkpoint", "epoch", "weights", "device", "seconds", "images_per_second")
    }
    return {
        "Training": said(facts["settings"]),
        "Model": said(weights),
        "Pixels": said(pixels),
        "Evaluation": said(evaluated),
        "Versions": said(facts.get("versions", {}) | {"device": facts.get("device")}),
        "Digests": said(digests),
    }


def said(values: dict[str, Any]) -> dict[str, str]:
    """Values as a person writes them; those that are not set are left out."""
    return {name.replace("_", " "): _text(value) for name, value in values.items() if value not in (None, {}, [], ())}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_text(part)}" for name, part in value.items())
    return str(value)
