"""Patience: how long a run waits for a better value.

One meaning everywhere, early stopping and plateau alike. `strict` (the default): a patience of N bears N epochs in a
row without a better value, and the next one ends the wait (0: the first). `keras`, for runs that repeat what was done
with Keras: the Nth such epoch ends it (https://keras.io/api/callbacks/early_stopping; 0 is as 1). Better is less by
more than `min_delta`, an absolute difference; what should grow is given negated.
"""

import math
from typing import Literal

Semantics = Literal["strict", "keras"]


class Waiting:
    """The best value so far, and how many epochs in a row were not better."""

    def __init__(self, patience: int | None, min_delta: float = 0.0, semantics: Semantics = "strict") -> None:
        self.patience = patience  # epochs; None waits for ever
        self.min_delta = min_delta
        self.semantics: Semantics = semantics
        self.best = math.inf  # of all values
        self.beaten = math.inf  # what the next better value has to beat: the last that was better by min_delta
        self.waited = 0  # epochs

    def saw(self, value: float) -> bool:
        """Take in an epoch's value; whether it is the best so far, by however little."""
        is_better = value < self.beaten - self.min_delta
        self.beaten = value if is_better else self.beaten
        self.waited = 0 if is_better else self.waited + 1
        is_best = value < self.best
        self.best = value if is_best else self.best
        return is_best

    @property
    def is_over(self) -> bool:
        if self.patience is None:
            return False
        bears = self.patience if self.semantics == "strict" else max(self.patience, 1) - 1
        return self.waited > bears

    def begin_again(self) -> None:
        """Forget the wait, and what has to be beaten; the best stays the best."""
        self.waited, self.beaten = 0, math.inf

    def state(self) -> dict[str, float]:
        known = {"best": self.best, "beaten": self.beaten}
        return {"waited": self.waited} | {name: v for name, v in known.items() if math.isfinite(v)}  # JSON has no inf

    def restore(self, state: dict[str, float]) -> None:
        self.best, self.beaten = state.get("best", math.inf), state.get("beaten", math.inf)
        self.waited = int(state["waited"])
