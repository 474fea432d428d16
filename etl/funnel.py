"""The steps at which images leave, in the order in which the rules run, and the step that a reason belongs to.

A reason is `kind: details` (`etl.curate`). A kind that no step names is a fault of the image: a new rule needs nothing
here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Step(NamedTuple):
    name: str
    title: str
    kinds: tuple[str, ...]  # a kind belongs here that begins with one of these
    always: bool  # shown even where nothing left: that nothing did is an answer too


FAULTS = Step("faults", "Faults of the image", (), always=True)
COPIES = Step("copies", "Duplicates", (), always=True)  # duplicate, near duplicate, blank duplicate, …
CONFLICTS = Step("conflicts", "Label conflicts", ("label conflict",), always=True)
STEPS = (
    Step("unusable", "Unusable", ("unusable",), always=True),
    Step("by-hand", "By hand", ("by hand",), always=True),
    Step("not-asked-for", "Not asked for", ("class not asked for", "not in the random sample"), always=False),
    FAULTS,
    Step("no-split", "Without a split", ("no split",), always=False),
    COPIES,
    CONFLICTS,
    Step("small-class", "Of a class too small", ("class too small",), always=False),
    Step("cap", "Over the cap", ("over the cap",), always=True),
)
LATE = STEPS.index(COPIES)  # the images that left before this step were never compared with others


class Left(NamedTuple):
    """What happens at one step. before - out = after."""

    step: Step
    before: int
    out: int
    kinds: dict[str, int]  # the most frequent first

    @property
    def after(self) -> int:
        return self.before - self.out


def step_of(kind: str) -> Step:
    """The step at which this kind of reason takes images out."""
    named = (step for step in STEPS if kind.startswith(step.kinds))
    return next(named, COPIES if "duplicate" in kind else FAULTS)


def flow(counts: Mapping[str, Any]) -> list[Left]:
    """Step by step what leaves, from `found` to `kept`; the kinds are those of `counts["rejected"]`."""
    left, steps = int(counts["found"]), list[Left]()
    for step in STEPS:
        here = {kind: number for kind, number in counts["rejected"].items() if step_of(kind) == step}
        kinds = dict(sorted(here.items(), key=lambda item: (-item[1], item[0])))
        if kinds or step.always:
            steps.append(Left(step, left, sum(kinds.values()), kinds))
        left -= sum(kinds.values())
    return steps
