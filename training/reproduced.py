"""What a recipe's runs came to, beside what the report said that the recipe repeats: the figures, and what differs.

Read from finished, evaluated runs; nothing is trained here. A recipe states the report's figures and, in sentences, how
its set-up differs from the report's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from manifests.console import plain, table
from manifests.errors import Exit, UserError
from manifests.recipe import Recipe
from training.results import Run

MEASURES = ("accuracy", "loss", "f1")


@dataclass(frozen=True)
class Repeated:
    """One run: the report's figures and ours."""

    run: str
    split: str
    images: int
    said: dict[str, float | None]  # measure → as reported; None where the report does not say
    came: dict[str, float]  # measure → as measured; f1 is the macro mean
    interval: tuple[float, float]  # 95 % of our accuracy, by bootstrap

    @property
    def verdict(self) -> str:
        """What the figures say of each other, in a sentence without its full stop."""
        if (reported := self.said["accuracy"]) is not None:
            low, high = self.interval
            points = signed(100 * (self.came["accuracy"] - reported))
            where = "within" if low <= reported <= high else "above" if reported < low else "below"
            return (
                f"{points} points of accuracy: the report lies within our interval"
                if where == "within"
                else (f"{points} points of accuracy: {where} the report by more than chance")
            )
        if (reported := self.said["f1"]) is not None:
            return f"{signed(100 * (self.came['f1'] - reported))} points of F1"
        return "the report gives no figure for this run"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


def signed(points: float) -> str:
    """With the sign that a person reads: +3.1, −65.0."""
    return f"{points:+.1f}".replace("-", "−")


def repeated(run: Run) -> Repeated:
    """The figures of a finished run. Raises UserError (exit 5) where it is not evaluated."""
    figures, reported = run.evaluation, run.settings.reported
    if figures is None:
        raise UserError(f"run {run.name}: not evaluated; alacena evaluate --run {run.name}", Exit.STALE)
    said = {measure: getattr(reported, measure) if reported else None for measure in MEASURES}
    came = {"accuracy": figures["accuracy"], "loss": figures["loss"], "f1": figures["macro"]["f1"]}
    low, high = figures["interval"]
    return Repeated(run.name, run.split, figures["images"], said, came, (low, high))


def shown(found: Sequence[Repeated], recipe: Recipe) -> Iterable[str | Table]:
    """For a terminal: a table, a verdict a run, and how the set-ups differ."""
    columns = ("run", "measured on", *(f"{measure} {who}" for measure in MEASURES for who in ("said", "came")))
    rows = [
        (
            each.run,
            f"{each.split} ({each.images:,})",
            *(value for m in MEASURES for value in (each.said[m], each.came[m])),
        )
        for each in found
    ]
    yield table(columns, rows)
    yield ""
    yield from (plain(f"{each.run}: {each.verdict}") for each in found)
    if recipe.differs:
        yield "\nHow this set-up differs from the report's:"
        yield from (plain(f"- {sentence}") for sentence in recipe.differs)
