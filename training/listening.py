"""Who hears of a run while it trains: a terminal, a bar, a tracker."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from manifests.errors import Exit, UserError

if TYPE_CHECKING:
    from training.loop import Record


class Listener(Protocol):
    """Who prints, plots or draws a bar."""

    def started(self, info: dict[str, Any]) -> None:
        """What `run.json` holds, once it is written."""
        ...

    def epoch(self, record: "Record", eta_seconds: float) -> None: ...

    def said(self, line: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None:
        """`frozen backbone`: images that have passed it; `training`: steps of the whole run."""
        ...


class Silent:
    """The listener that says nothing."""

    def started(self, info: dict[str, Any]) -> None: ...

    def epoch(self, record: "Record", eta_seconds: float) -> None: ...

    def said(self, line: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


class Interrupted(UserError):  # noqa: N818 # what happened, and no error
    """Stopped between two steps when asked to; what was done is kept and can be resumed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.INTERRUPTED)


class Begun(Silent):
    """Calls somebody when a run begins, and says nothing else."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def started(self, info: dict[str, Any]) -> None:
        self._call()


class Several:
    """Several listeners as one."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def started(self, info: dict[str, Any]) -> None:
        for listener in self.listeners:
            listener.started(info)

    def epoch(self, record: "Record", eta_seconds: float) -> None:
        for listener in self.listeners:
            listener.epoch(record, eta_seconds)

    def said(self, line: str) -> None:
        for listener in self.listeners:
            listener.said(line)

    def progress(self, what: str, done: int, total: int) -> None:
        for listener in self.listeners:
            listener.progress(what, done, total)
