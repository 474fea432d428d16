"""What a pipeline insists on: `--fail-under macro_f1=0.8`, several of them. Reading such conditions and holding them.

The figures are those of `training.scores`. A command that finds one that fails ends with `Exit.GATE`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from manifests.errors import Exit, UserError, known
from training.scores import Scores

FRACTIONS: dict[str, Callable[[Scores], float]] = {  # all from 0 to 1, and the more the better
    "accuracy": lambda scores: scores.accuracy,
    "top5": lambda scores: scores.top5,
    "balanced_accuracy": lambda scores: scores.balanced_accuracy,
    "macro_precision": lambda scores: scores.macro.precision,
    "macro_recall": lambda scores: scores.macro.recall,
    "macro_f1": lambda scores: scores.macro.f1,
    "weighted_precision": lambda scores: scores.weighted.precision,
    "weighted_recall": lambda scores: scores.weighted.recall,
    "weighted_f1": lambda scores: scores.weighted.f1,
}
CEILINGS: dict[str, Callable[[Scores], float]] = {  # the less the better: here the figure must not exceed
    "loss": lambda scores: scores.loss,
    "calibration_error": lambda scores: scores.calibration_error,
}
FIGURES = FRACTIONS | CEILINGS


class Condition(NamedTuple):
    """A figure and its limit: at least that, of a loss or the calibration error at most that."""

    name: str  # of FIGURES
    limit: float


def failing(figures: Scores, conditions: Sequence[str]) -> list[str]:
    """A sentence for each condition that does not hold; a figure that meets its limit exactly passes."""
    return [sentence for text in conditions if (sentence := _failure(figures, condition(text)))]


def condition(text: str) -> Condition:
    """`macro_f1=0.8` → a condition. Raises UserError (exit 2): so that it can be read before any work is done."""
    name, sign, value = (part.strip() for part in text.partition("="))
    place = f"--fail-under {text}"
    if name not in FIGURES:
        raise UserError(f"{place}: unknown figure {name!r}. {known(name, FIGURES)}", Exit.USAGE)
    if not sign:
        raise UserError(f"{place}: a limit is missing; write {name}=0.8, for example.", Exit.USAGE)
    try:
        limit = float(value)
    except ValueError:
        raise UserError(f"{place}: {value!r} is not a number; write {name}=0.8, for example.", Exit.USAGE) from None
    if name != "loss" and not 0 <= limit <= 1:  # not a number is not between them either
        raise UserError(f"{place}: {value} is no fraction; give a number from 0 to 1.", Exit.USAGE)
    if not 0 <= limit < float("inf"):
        raise UserError(f"{place}: {value} is no limit of a loss; give a number from 0 on.", Exit.USAGE)
    return Condition(name, limit)


def _failure(figures: Scores, asked: Condition) -> str:
    """Why a condition does not hold; empty where it does."""
    value, is_ceiling = FIGURES[asked.name](figures), asked.name in CEILINGS
    holds = value <= asked.limit if is_ceiling else value >= asked.limit
    if holds:
        return ""
    where = "over the most that is allowed" if is_ceiling else "under the least that is asked"
    return f"{asked.name} is {_apart(value, asked.limit)}, {where}: {asked.limit:g}"


def _apart(value: float, limit: float) -> str:
    """The value with as many digits, four or more, as tell it from the limit."""
    return next((text for digits in range(4, 17) if float(text := f"{value:.{digits}g}") != limit), repr(value))
