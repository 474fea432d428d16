"""The answer first: who scores highest, and whether the difference to the baseline is more than chance."""

from collections import Counter

from markupsafe import Markup

from training.compare import Comparison
from training.comparison.charts import KINDS, axis
from training.comparison.templates import fragment

ORDER = 10
TITLE = "Result"
FEW = 3  # sentences; of more pairs only how many are better and worse: the plots below show each


def render(comparison: Comparison) -> Markup:
    rows = comparison.rows
    highest = max(row.accuracy for row in rows)
    against = {pair.b: pair for pair in comparison.pairs if pair.a == comparison.names[0]}
    return fragment(
        "answer.html",
        comparison=comparison,
        rows=rows,
        highest=highest,
        best=[row.run for row in rows if row.accuracy == highest],
        only=comparison.pairs[0] if len(comparison.pairs) == 1 else None,
        against=against,
        counted=Counter(pair.verdict for pair in against.values()),
        few=FEW,
        kinds=KINDS,
        axis=axis([value for row in rows for value in (row.low, row.high, row.accuracy)]),
    )
