"""Whether a run and a shard set belong together: pixels, classes and rows, with both sides shown. Without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract
from manifests.shards import Index


def refuse_mismatch(run: Path, shards: Path, facts: dict[str, Any], index: Index) -> None:
    """Raise UserError (exit 5), both sides shown, where the run was not trained on these shards."""
    refuse_other(run, shards, facts["classes"], PixelContract.model_validate(facts["contract"]), index)
    if facts["data"] != index.digest:
        sides = f"trained on rows {facts['data'][:16]}… and not on those of {shards}, {index.digest[:16]}…"
        raise UserError(f"{run}: {sides}; train again, or transform as the run had it.", Exit.STALE)


def refuse_other(here: Path, there: Path, classes: Sequence[str], contract: PixelContract, index: Index) -> None:
    """Raise UserError (exit 5) where pixel contract or class order differ from the shard index."""
    sides = ""
    if differences := contract.differences(index.contract):
        sides = f"other pixels than {there} ({'; '.join(differences)})"
    elif tuple(classes) != index.classes:
        sides = f"other classes than {there}: {_listed(classes)} here, {_listed(index.classes)} there"
    if sides:
        raise UserError(f"{here}: {sides}; train again, or curate and transform as the run had it.", Exit.STALE)


def _listed(classes: Sequence[str]) -> str:
    return f"{len(classes)} ({', '.join(classes[:12])}{', …' if len(classes) > 12 else ''})"
