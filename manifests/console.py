"""What a person sees: results on stdout, progress and remarks on stderr. Rich on a terminal, plain lines elsewhere.

Rich is imported when something is drawn: a command that only remarks that there is nothing to do starts without it.
"""

import json
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.table import Table

LINE_SECONDS = 30.0  # between two lines of progress where there is no terminal
NARROW = 100  # columns of a table that goes to no terminal


def console(**options: Any) -> "Console":
    """A console whose reader may go away, which is no failure: rich would end the process with exit code 1."""
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Pipe(highlight=False, emoji=False, **options)


@dataclass
class Face:
    """How one command speaks: quiet keeps stderr to errors, json makes stdout one JSON document."""

    quiet: bool = False
    json: bool = False
    started: dict[str, tuple[float, int]] = field(
        default_factory=dict[str, tuple[float, int]]
    )  # when, and after how many
    told: dict[str, float] = field(default_factory=dict[str, float])  # progress: when each was last told
    may_draw: bool = False  # bars, where there is a terminal
    bars: "Bars | None" = None

    @cached_property
    def out(self) -> "Console":
        return console(width=None if sys.stdout.isatty() else NARROW, soft_wrap=False)

    @cached_property
    def err(self) -> "Console":
        return console(stderr=True, soft_wrap=True)

    def say(self, line: str) -> None:
        """A remark on stderr, as it is: there is nothing to style in it."""
        if not self.quiet:
            self._clear()
            sys.stderr.write(printable(line) + "\n")

    def show(self, *parts: Any) -> None:
        """A result on stdout, unless JSON is asked for."""
        if not self.json:
            self._clear()
            for part in parts:
                self.out.print(part, soft_wrap=isinstance(part, str))

    def _clear(self) -> None:
        """Take the bars off the screen, so that a line has it to itself; the next `tell` draws them again."""
        if self.bars is not None:
            self.bars.stop()

    def fail(self, line: str) -> None:
        """What went wrong, in one red line on stderr, quiet or not."""
        self._clear()
        self.err.print(line, style="bold red", markup=False)

    def result(self, value: Any) -> None:
        """The result as JSON, if that is asked for."""
        if self.json:
            sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    @contextmanager
    def progress(self) -> Generator[None]:
        """While the block runs, `tell` draws bars on a terminal."""
        self.may_draw = not self.quiet
        try:
            yield
        finally:
            self._clear()
            self.may_draw, self.bars = False, None

    def tell(self, what: str, done: int, total: int) -> None:
        """How far the work is: a bar, or a line now and then."""
        now = time.monotonic()
        if done == 0:
            self.started[what] = now, 0
        began, before = self.started.setdefault(what, (now, done))  # a resumed run begins in the middle
        speed = (done - before) / (now - began) if now > began else 0.0
        rate = f"{speed:,.0f}/s" if speed >= 1 else f"{speed:,.2f}/s" if speed else ""
        if self.may_draw and self.bars is None and self.err.is_terminal:
            self.bars = bars(self.err)
        if self.bars is not None:
            self.bars.start()
            tasks = {task.description: task.id for task in self.bars.tasks}
            number = tasks[what] if what in tasks else self.bars.add_task(what, total=total, rate="")
            self.bars.update(number, completed=done, total=total, rate=rate)
            if done == total:
                self.bars.remove_task(number)
        elif not self.quiet and speed and now - self.told.get(what, began) >= LINE_SECONDS:
            self.told[what] = now
            self.say(f"{what}: {done:,} of {total:,}, {rate}, about {duration((total - done) / speed)} left")


def bars(place: "Console") -> "Bars":
    """A bar a task, with how many are done, how fast, and how long it will take; gone when stopped."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}")
    return Progress(*columns, TimeRemainingColumn(), console=place, transient=True)


def printable(text: str) -> str:
    """Text that comes from outside, with control characters shown as codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain(text: str) -> str:
    """Text that comes from outside, as it may be shown: `printable`, and no markup in it is read."""
    from rich.markup import escape

    return escape(printable(text))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None, foot: Sequence[Any] = ()
) -> "Table":
    """A plain table: the first column is text, numbers stand right; names are never read as markup."""
    from rich.table import Table

    rows = [list(row) for row in rows]
    drawn = Table(
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        show_header=any(columns),
        header_style="bold",
        show_footer=bool(foot),
    )
    for number, name in enumerate(columns):
        values = [row[number] for row in rows]
        is_number = any(isinstance(value, int | float) for value in values)
        drawn.add_column(
            name, justify="right" if is_number else "left", footer=cell(foot[number]) if foot else "", overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(cell(value) for value in row))
    return drawn


def cell(value: Any) -> str:
    """A number with its thousands apart; a fraction with three digits; a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return plain(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
