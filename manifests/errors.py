"""What a person can put right: one sentence, and the exit code that a script can act on."""

import difflib
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    BUG = 1
    DIFFERS = 1
    USAGE = 2
    RECIPE = 3
    REFUSED = 4
    STALE = 5
    MISSING = 6
    GATE = 7
    DIVERGED = 8
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.BUG: "a bug of ours, with its traceback; of `diff`: the two sides differ",
    Exit.USAGE: "the command line is off",
    Exit.RECIPE: "the recipe is invalid",
    Exit.REFUSED: "the data is refused: a leak, a class mismatch, nothing left",
    Exit.STALE: "stale or mismatched contract",
    Exit.MISSING: "an optional dependency is not installed",
    Exit.GATE: "a `--fail-under` gate",
    Exit.DIVERGED: "the loss is not finite",
    Exit.INTERRUPTED: "interrupted; what was done is kept, and can be gone on with",
}


class UserError(Exception):
    """What a person can put right: the message names the place, what was found, what was expected and the remedy."""

    def __init__(self, message: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(message)
        self.code = code


SHOWN = 40  # words listed whole; of more, those that are near


def known(word: str, words: Iterable[str]) -> str:
    """`Known: a, b, c. Did you mean 'b'?`: the end of a message about a word that nobody knows."""
    words = list(words)
    close = difflib.get_close_matches(word, words, n=5)
    shown = words if len(words) <= SHOWN else close or words[:5]
    listed = ", ".join(shown) + (f" and {len(words) - len(shown)} more" if len(words) > len(shown) else "")
    return f"Known: {listed}." + (f" Did you mean {close[0]!r}?" if close else "")
