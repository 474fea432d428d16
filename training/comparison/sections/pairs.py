"""Pairs of runs: who is right where the other is wrong, the difference with its interval, and the test."""

from markupsafe import Markup

from training.compare import EVERY_PAIR, Comparison
from training.comparison.charts import KINDS, difference_axis
from training.comparison.templates import fragment
from training.paired import LEVEL, RESAMPLES, said_p

ORDER = 30
TITLE = "Pairs"


def render(comparison: Comparison) -> Markup:
    return fragment(
        "pairs.html",
        pairs=comparison.pairs,
        groups=comparison.group_pairs,
        each=len(comparison.names) <= EVERY_PAIR,
        axis=difference_axis(comparison.pairs),
        group_axis=difference_axis(comparison.group_pairs),
        kinds=KINDS,
        said_p=said_p,
        level=LEVEL,
        resamples=RESAMPLES,
        names=comparison.names,
    )
