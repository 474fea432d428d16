"""What a person can put right: one sentence, and the exit code that a script can act on."""

import difflib
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    BUG = 1  # ours: the traceback is kept
    USAGE = 2  # the command line is off
    RECIPE = 3  # the recipe is invalid
    REFUSED = 4  # the data is refused: a leak, a class mismatch, nothing left
    STALE = 5  # stale or mismatched contract
    MISSING = 6  # an optional dependency is not installed
    GATE = 7  # a --fail-under gate
    DIVERGED = 8  # the loss is not finite
    INTERRUPTED = 130  # Ctrl-C; what was done is kept and can be resumed


class UserError(Exception):
    """What a person can put right: the message names the place, what was found, what was expected and the remedy."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(message)
        self.code = code


def known(word: str, words: Iterable[str]) -> str:
    """`Known: a, b, c. Did you mean 'b'?`: the end of a message about a word that nobody knows."""
    words = list(words)
    close = difflib.get_close_matches(word, words, n=1)
    listed = ", ".join(words[:40]) + (f" and {len(words) - 40} more" if len(words) > 40 else "")
    return f"Known: {listed}." + (f" Did you mean {close[0]!r}?" if close else "")
