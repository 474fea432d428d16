"""Classes before and after: what was found of each, what is kept and in which split, and how even they are."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from etl.evidence.evidence import Evidence
from etl.evidence.templates import fragment
from manifests.pages.charts import Scale, ticks
from manifests.pages.fragments import count, images, missing
from manifests.recipe import SPLITS

ORDER = 20
TITLE = "Classes"
FEW = 40  # up to so many are shown as one list; of more, a profile, the ends, and the rest folded away
ENDS = 8
LISTED = 1500  # folded classes at the most: the page stays small
TALL = 3  # times the largest class kept: columns of the profile end there
MUCH = 0.05  # of a class left out is worth a word
HOVERED = 600  # classes up to which each has words of its own in the profile
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 190, 34, 4, 10  # of the profile, in its own units
UNEVEN = ((1.5, "about even"), (3, "somewhat uneven"), (10, "uneven"))  # times the smallest, up to; beyond: very uneven

Row = dict[str, Any]  # class, found, train, val, test


@dataclass(frozen=True)
class Bar:
    """One class: images found and kept, and its drawing, 1000 wide for the largest class."""

    name: str
    found: int
    kept: int
    width: float  # of found
    parts: list[tuple[str, float, float]]  # split, start and width
    tip: str


def render(evidence: Evidence) -> Markup:
    rows = evidence.counts["per_class"]
    if not rows:
        return missing("No image has a class, so there are none to compare.")
    ranked = sorted(rows, key=lambda row: (-kept(row), -row["found"], row["class"]))
    few = len(rows) <= FEW
    return fragment(
        "classes.html",
        splits=[split for split in SPLITS if evidence.placed[split]],
        whole=bars(ranked) if few else [],
        largest=[] if few else bars(ranked[:ENDS]),
        smallest=[] if few else bars(ranked[: -ENDS - 1 : -1]),
        folded=[] if few else bars(rows)[:LISTED],
        more=0 if few else max(0, len(rows) - LISTED),
        total=len(rows),
        profile=None if few else profile(ranked),
        said=said(ranked),
        emptied=[row["class"] for row in ranked if not kept(row)],
        elsewhere=evidence.counts["elsewhere"],
    )


def kept(row: Row) -> int:
    return sum(row[split] for split in SPLITS)


def bars(rows: list[Row]) -> list[Bar]:
    """To one scale, that of the largest."""
    return [bar(row, max(1, *(each["found"] for each in rows))) for row in rows]


def bar(row: Row, largest: int) -> Bar:
    across, start, parts = Scale(0, largest, 0, 1000), 0, list[tuple[str, float, float]]()
    for split in SPLITS:
        if row[split]:
            end = start + row[split]
            parts.append((split, across(start), round(across(end) - across(start), 2)))
            start = end
    return Bar(row["class"], row["found"], start, across(row["found"]), parts, tip(row))


def tip(row: Row) -> str:
    """`coat: 20 of 31 kept (16 train, 4 val)`."""
    each = ", ".join(f"{count(row[split])} {split}" for split in SPLITS if row[split])
    return f"{row['class']}: {count(kept(row))} of {count(row['found'])} kept" + (f" ({each})" if each else "")


def said(rows: list[Row]) -> list[str]:
    """How even the classes are, before and after, and which gave up the most; `rows` has the most kept first."""
    there = [row for row in rows if kept(row)]
    if len(there) < 2:
        return []
    large, small = there[0], there[-1]
    now = ratio(kept(large), kept(small))
    sentences = [
        f"{evenness(kept(large) / kept(small))}: the largest class, {large['class']}, has {images(kept(large))}, "
        f"the smallest, {small['class']}, {count(kept(small))}: {now}."
    ]
    found = [row["found"] for row in there]
    if (before := ratio(max(found), min(found))) != now:
        sentences.append(f"As found, it was {before}.")
    most = max(there, key=lambda row: (1 - kept(row) / row["found"], row["found"]))
    if kept(most) <= (1 - MUCH) * most["found"]:
        lost = most["found"] - kept(most)
        sentences.append(f"{most['class']} gave up the largest share: {count(lost)} of {count(most['found'])}.")
    return sentences


def ratio(large: int, small: int) -> str:
    times = large / small
    return f"{times:.1f} to 1" if times < 10 else f"{count(round(times))} to 1"


def evenness(times: float) -> str:
    word = next((word for limit, word in UNEVEN if times < limit), "very uneven")
    return f"The classes are {word}"


@dataclass(frozen=True)
class Profile:
    """Every class as a column, the largest first: one path for all that was found, and one a split."""

    found: str
    splits: dict[str, str]
    y_marks: list[tuple[float, str]]
    hovers: list[tuple[float, str]]  # left edge → what is said there
    column: float  # width
    cut: int  # columns that go on above the drawing
    frame: tuple[int, int, int, int] = (LEFT, TOP, WIDTH, HEIGHT - BOTTOM)


def profile(rows: list[Row]) -> Profile:
    """`rows` in the order in which they are drawn. Columns far above all that is kept are cut, so that it is seen."""
    most = max(1, *(kept(row) for row in rows))
    marks = ticks(0, min(TALL * most, max(row["found"] for row in rows)), 4)
    floor, up = HEIGHT - BOTTOM, Scale(0, marks[-1], 0, HEIGHT - BOTTOM - TOP)
    column = (WIDTH - LEFT) / len(rows)
    wide = round(column * (0.8 if column > 4 else 1), 2)
    found, splits = list[str](), {split: list[str]() for split in SPLITS}
    for n, row in enumerate(rows):
        x, low = round(LEFT + n * column, 2), 0.0
        found.append(f"M{x} {floor}h{wide}v{-up(min(row['found'], marks[-1]))}h{-wide}z")
        for split in (split for split in SPLITS if row[split]):
            high = round(low + up(row[split]), 2)
            splits[split].append(f"M{x} {round(floor - low, 2)}h{wide}v{round(low - high, 2)}h{-wide}z")
            low = high
    hovers = [(round(LEFT + n * column, 2), tip(row)) for n, row in enumerate(rows)] if len(rows) <= HOVERED else []
    return Profile(
        found="".join(found),
        splits={split: "".join(paths) for split, paths in splits.items() if paths},
        y_marks=[(round(floor - up(mark), 2), count(round(mark))) for mark in marks if mark == round(mark)],
        hovers=hovers,
        column=round(column, 2),
        cut=sum(row["found"] > marks[-1] for row in rows),
    )
