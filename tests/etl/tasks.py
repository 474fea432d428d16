"""What the tests have workers do, in a module that costs them nothing to import."""

import os
import signal
import sys
import time
from pathlib import Path


def square(number: int) -> int:
    return number * number


def late_when_even(number: int) -> int:
    time.sleep(0.02 * (number % 2 == 0))
    return number


def failing(number: int, *, at: int) -> int:
    if number == at:
        raise ValueError(f"item {at}")
    return number


def dying(number: int, *, at: tuple[int, ...]) -> int:
    if number in at:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def hungry(number: int) -> int:
    return len(bytearray(1 << 45)) if number == 3 else number


def memory_said(number: int) -> str:
    try:
        return str(hungry(number))
    except MemoryError:
        return "no memory"


def sleeping(number: int, *, place: str) -> int:
    Path(place, str(os.getpid())).touch()
    time.sleep(60)
    return number


def never_enough(item: int) -> str:
    """No memory is enough for item 7."""
    if item == 7:
        raise MemoryError
    return str(item)


def modules(items: list[int]) -> list[bool]:
    """Whether this worker had what it fills shards with before it was asked for anything."""
    return [{"etl.opening", "etl.filling"} <= sys.modules.keys() for _ in items]
