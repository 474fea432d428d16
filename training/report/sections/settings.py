"""What it takes to make this run again: settings, pixels, versions, digests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from manifests.errors import Exit, UserError
from manifests.pages.fragments import count
from training.folders import deciding
from training.report.evidence import Evidence
from training.report.templates import fragment

ORDER = 90
TITLE = "Settings"
LONG = 40  # facts of a group above which it is folded away
ENVIRONMENT = "environment.json"  # in a run's folder: a JSON object of names and values, or of objects of such


def render(evidence: Evidence) -> Markup:
    return fragment("settings.html", groups=groups(evidence), classes=evidence.facts["classes"], long=LONG)


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
        for name in (
            "split",
            "checkpoint",
            "epoch",
            "weights",
            "device",
            "seconds",
            "images_per_second",
            "from_features",
            "milliseconds_per_image",
            "timed_batch_size",
        )
    }
    return {
        "Training": said(deciding(facts["settings"])),
        "Model": said(weights),
        "Pixels": said(pixels),
        "Evaluation": said(evaluated),
        "Versions": said(facts.get("versions", {}) | {"device": facts.get("device")}),
        "Digests": said(digests),
        "Environment": said({name: value for name, value in environment(evidence.run).items() if not is_said(name)}),
    }


def is_said(name: str) -> bool:
    """Whether another group has it: the versions, and the digests of the data."""
    return name.startswith("versions.") or name in {"digests.data", "digests.pixel contract"}


def environment(run: Path) -> dict[str, Any]:
    """What the run noted of where it ran, as one level of names; empty where it noted nothing.

    Raises UserError (exit 5) where the file holds no JSON object.
    """
    file = run / ENVIRONMENT
    try:
        found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file}: not a JSON object; remove it, or train the run again.", Exit.STALE)
    return dict(flat(cast(dict[str, Any], found)))


def flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """`{"torch": {"version": 2}}` → `torch.version`, 2."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(cast(dict[str, Any], value), f"{before}{name}.")
        else:
            yield before + name, value


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
