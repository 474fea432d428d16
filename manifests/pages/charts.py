"""Geometry that drawings share: round numbers along an axis, and numbers as places. Templates draw; no colour here."""

import math
from dataclasses import dataclass


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high], at most `most` + 2 of them."""
    span = (high - low) or abs(high) or 1.0
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """1, 2 and 5 times powers of ten that cover [low, high], 0 < low; only the powers where that were too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        every = [factor * 10.0**power for power in powers for factor in factors]
        first = max((n for n, tick in enumerate(every) if tick <= low * 1.000001), default=0)
        last = next((n for n, tick in enumerate(every) if tick >= high * 0.999999), len(every) - 1)
        if last - first < most:
            break
    return every[first : last + 1]


@dataclass(frozen=True)
class Scale:
    """Numbers → places: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(n) if self.log else n for n in (self.low, self.high, value))
        return round(self.start + (value - low) / ((high - low) or 1) * (self.end - self.start), 2)
