"""How the learning rate falls: a number an epoch, from the epoch and, for plateau, from the monitored value.

A schedule by name is an entry of `SCHEDULES`. All but plateau are pure functions of the epoch; plateau's state can be
saved and restored. Waiting means the same here as in `training.stopping`.
"""

import math
from collections.abc import Callable
from typing import Protocol

from manifests.recipe import Train
from training.stopping import Waiting


class Schedule(Protocol):
    def rate(self, epoch: int) -> float:
        """The learning rate of epoch 0, 1, …"""
        ...

    def saw(self, value: float) -> None:
        """The monitored value after an epoch; less is better."""
        ...

    def state(self) -> dict[str, float]: ...

    def restore(self, state: dict[str, float]) -> None: ...


class OfEpoch:
    """A schedule that depends on the epoch alone."""

    def __init__(self, rate: Callable[[int], float]) -> None:
        self._rate = rate

    def rate(self, epoch: int) -> float:
        return self._rate(epoch)

    def saw(self, value: float) -> None:
        pass

    def state(self) -> dict[str, float]:
        return {}

    def restore(self, state: dict[str, float]) -> None:
        pass


class Plateau:
    """Multiplied by gamma when more than `epochs` in a row brought no better value; then it waits anew."""

    def __init__(self, start: float, gamma: float, epochs: int) -> None:
        self._rate = start
        self._gamma = gamma
        self._waiting = Waiting(epochs)

    def rate(self, epoch: int) -> float:
        return self._rate

    def saw(self, value: float) -> None:
        self._waiting.saw(value)
        if self._waiting.is_over:
            self._rate *= self._gamma
            self._waiting.waited = 0

    def state(self) -> dict[str, float]:
        return self._waiting.state() | {"rate": self._rate}

    def restore(self, state: dict[str, float]) -> None:
        self._rate = state["rate"]
        self._waiting.restore(state)


SCHEDULES: dict[str, Callable[[Train], Schedule]] = {
    "none": lambda s: OfEpoch(lambda _: s.learning_rate),
    "step": lambda s: OfEpoch(lambda epoch: s.learning_rate * s.gamma ** (epoch // s.step_epochs)),
    "exponential": lambda s: OfEpoch(lambda epoch: s.learning_rate * s.gamma**epoch),
    "cosine": lambda s: OfEpoch(lambda epoch: s.learning_rate * (1 + math.cos(math.pi * epoch / s.epochs)) / 2),
    "plateau": lambda s: Plateau(s.learning_rate, s.gamma, s.plateau_epochs),
}


def schedule(settings: Train) -> Schedule:
    return SCHEDULES[settings.schedule](settings)
