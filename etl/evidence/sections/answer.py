"""The answer first: how many of the images found stay, and a flow from found to kept that shows where the rest went."""

from dataclasses import dataclass

from markupsafe import Markup

from etl.evidence.evidence import Evidence
from etl.evidence.templates import fragment
from etl.funnel import Left, flow
from manifests.pages.charts import Scale

ORDER = 10
TITLE = "Result"
WIDTH = 820  # of the band that all images found make, in thousandths of the drawing
LEAST = 5  # of a band so that it is seen, however few it stands for
FALL = 110  # how far to the right a band falls that leaves

LINKS = {"copies": "duplicates", "conflicts": "conflicts"}  # step → the section that shows its images


@dataclass(frozen=True)
class Fall:
    """A step as it is drawn: a band 1000 wide and 100 high that joins the one below."""

    left: Left
    link: str  # the section that shows what left here
    width: float  # of what stays
    path: str  # of what leaves; empty where nothing does
    lead: float  # where the line to the words begins


@dataclass(frozen=True)
class Flow:
    """From found to kept, as `flow.html` draws it."""

    found: int
    kept: int
    falls: list[Fall]
    parts: list[tuple[str, float, float, int]]
    width: int = WIDTH


def render(evidence: Evidence) -> Markup:
    counts, steps = evidence.counts, flow(evidence.counts)
    return fragment(
        "answer.html",
        evidence=evidence,
        found=counts["found"],
        kept=counts["kept"],
        drawn=drawn(evidence),
        placed={split: number for split, number in evidence.placed.items() if number},
        copies=sum(step.out for step in steps if step.step.name == "copies"),
        conflicts=sum(step.out for step in steps if step.step.name == "conflicts"),
        alike=counts["waiting"],
    )


def drawn(evidence: Evidence) -> Flow:
    found = evidence.counts["found"]
    falls = [fall(step, found) for step in flow(evidence.counts)]
    return Flow(found, evidence.counts["kept"], falls, parts(evidence.placed, found))


def fall(left: Left, found: int) -> Fall:
    """Where the bands of a step begin and end."""
    across = Scale(0, max(found, 1), 0, WIDTH)
    stays, came = across(left.after), across(left.before)
    came = max(came, stays + LEAST)
    end = stays + FALL, came + FALL
    path = f"M{stays} 0H{came}C{came} 55 {end[1]} 45 {end[1]} 100H{end[0]}C{end[0]} 45 {stays} 55 {stays} 0Z"
    link = LINKS.get(left.step.name, "rejected")
    middle = round((stays + came + FALL) / 2, 1)
    return Fall(left, link, stays, path if left.out else "", middle)


def parts(placed: dict[str, int], found: int) -> list[tuple[str, float, float, int]]:
    """Split, where its band begins, how wide it is, and its images; side by side."""
    across = Scale(0, max(found, 1), 0, WIDTH)
    drawn: list[tuple[str, float, float, int]] = []
    start = 0
    for split, number in placed.items():
        if number:
            drawn.append((split, across(start), round(across(start + number) - across(start), 2), number))
        start += number
    return drawn
