"""How far the work is: told to a listener, which may draw a bar, print a line or keep silent."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[str, int, int], None]  # what is done, how many are, of how many


def silent(what: str, done: int, total: int) -> None:
    """The listener that says nothing."""


def told(items: Iterable[T], progress: Progress, what: str, total: int) -> Iterator[T]:
    """The items as they come, each counted to the listener."""
    progress(what, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        progress(what, done, total)
