"""Patience: how long a run waits for a better value.

One meaning everywhere, early stopping and plateau alike: a patience of N bears N epochs in a row without a better
value, and the next one ends the wait (0: the first). Better is strictly less; what should grow is given negated.
"""

import math


class Waiting:
    """The best value so far, and how many epochs in a row were not better."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience  # epochs; None waits for ever
        self.best = math.inf
        self.waited = 0  # epochs

    def saw(self, value: float) -> bool:
        """Take in an epoch's value; whether it is the best so far."""
        is_better = value < self.best
        self.best = value if is_better else self.best
        self.waited = 0 if is_better else self.waited + 1
        return is_better

    @property
    def is_over(self) -> bool:
        return self.patience is not None and self.waited > self.patience

    def state(self) -> dict[str, float]:
        return {"waited": self.waited} | ({"best": self.best} if math.isfinite(self.best) else {})  # JSON has no inf

    def restore(self, state: dict[str, float]) -> None:
        self.best = state.get("best", math.inf)
        self.waited = int(state["waited"])
