"""How the learning rate goes: a number a step, from the epoch, the step in it, and, for plateau, the monitored value.

A schedule by name is an entry of `SCHEDULES`. All but onecycle change between epochs only; all but plateau are pure
functions, and plateau's state can be saved and restored. Waiting means the same here as in `training.stopping`.
"""

import math
from collections.abc import Callable
from typing import Protocol

from manifests.recipe import Train
from training.stopping import Waiting

PLATEAU_DELTA = 1e-4  # Keras' ReduceLROnPlateau, unless told otherwise
RISE, START, END = 0.3, 1 / 25, 1 / 25e4  # onecycle: share of the steps that rise; first and last rate over the highest


class Schedule(Protocol):
    def rate(self, epoch: int, step: int = 0, steps: int = 1) -> float:
        """The learning rate of a step 0, 1, … of `steps` in epoch 0, 1, …"""
        ...

    def saw(self, value: float) -> None:
        """The monitored value after an epoch; less is better."""
        ...

    def state(self) -> dict[str, float]: ...

    def restore(self, state: dict[str, float]) -> None: ...


class OfTime:
    """A schedule that depends on nothing but where the run is."""

    def __init__(self, rate: Callable[[int, int, int], float]) -> None:
        self._rate = rate

    def rate(self, epoch: int, step: int = 0, steps: int = 1) -> float:
        return self._rate(epoch, step, steps)

    def saw(self, value: float) -> None:
        pass

    def state(self) -> dict[str, float]:
        return {}

    def restore(self, state: dict[str, float]) -> None:
        pass


class Plateau:
    """Multiplied by gamma when the wait for a better value is over; then it waits anew."""

    def __init__(self, start: float, gamma: float, waiting: Waiting) -> None:
        self._rate = start
        self._gamma = gamma
        self._waiting = waiting

    def rate(self, epoch: int, step: int = 0, steps: int = 1) -> float:
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


class Warmed:
    """Another schedule, whose first `epochs` rise to it in a straight line, step by step."""

    def __init__(self, inner: Schedule, epochs: float) -> None:
        self._inner = inner
        self._epochs = epochs

    def rate(self, epoch: int, step: int = 0, steps: int = 1) -> float:
        risen = (epoch * steps + step + 1) / max(self._epochs * steps, 1)
        return self._inner.rate(epoch, step, steps) * min(risen, 1.0)

    def saw(self, value: float) -> None:
        self._inner.saw(value)

    def state(self) -> dict[str, float]:
        return self._inner.state()

    def restore(self, state: dict[str, float]) -> None:
        self._inner.restore(state)


def one_cycle(highest: float, done: int, steps: int) -> float:
    """Smith and Topin's rise and fall, both along a cosine (https://arxiv.org/abs/1708.07120; torch's OneCycleLR)."""
    top = RISE * steps - 1
    if done <= top:
        return _along(highest * START, highest, done / top if top > 0 else 1.0)
    return _along(highest, highest * END, (done - top) / max(steps - 1 - top, 1e-9))


def _along(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _plateau(s: Train, rate: float, _: int) -> Schedule:
    delta = PLATEAU_DELTA if s.min_delta is None and s.semantics == "keras" else s.min_delta or 0.0
    return Plateau(rate, s.gamma, Waiting(s.plateau_epochs, delta, s.semantics))


# settings, rate and epochs of the phase → schedule
SCHEDULES: dict[str, Callable[[Train, float, int], Schedule]] = {
    "none": lambda s, rate, epochs: OfTime(lambda epoch, step, steps: rate),
    "step": lambda s, rate, epochs: OfTime(lambda epoch, step, steps: rate * s.gamma ** (epoch // s.step_epochs)),
    "exponential": lambda s, rate, epochs: OfTime(lambda epoch, step, steps: rate * s.gamma**epoch),
    "cosine": lambda s, rate, epochs: OfTime(lambda epoch, step, steps: _along(rate, 0.0, epoch / epochs)),
    "onecycle": lambda s, rate, epochs: OfTime(
        lambda epoch, step, steps: one_cycle(rate, epoch * steps + step, epochs * steps)
    ),
    "plateau": _plateau,
}


def schedule(settings: Train, rate: float | None = None, epochs: int | None = None) -> Schedule:
    """The schedule that the settings ask for; from another rate or over fewer epochs where a phase has its own."""
    rate, epochs = rate or settings.learning_rate, epochs or settings.epochs
    inner = SCHEDULES[settings.schedule](settings, rate, epochs)
    return Warmed(inner, settings.warmup_epochs) if settings.warmup_epochs else inner
