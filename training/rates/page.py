"""The curve of a learning-rate search as a page that opens from disk, its numbers as CSV beside it."""

from pathlib import Path

from markupsafe import Markup

from manifests.pages.charts import Scale, log_ticks, ticks
from manifests.pages.fragments import Templates, policy, style_sheet
from manifests.pages.sections import Part
from manifests.store import write_whole
from training.rates.search import Curve

FOLDER = Path(__file__).parent
TEMPLATES = Templates(FOLDER)
WIDTH, HEIGHT = 640, 320  # of the chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 26, 42  # margins
BLOCKS = "▁▂▃▄▅▆▇█"


def write_curve(curve: Curve, title: str, file: Path) -> Path:
    """Write FILE.html and FILE.csv; the page's path."""
    style = style_sheet([FOLDER / "page.css"])
    body = Part("curve", "Curve", chart(curve))
    page = TEMPLATES.fragment("page.html", run=title, curve=curve, parts=[body], style=style, policy=policy(style))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file.with_suffix(".csv"), curve.as_csv())
    write_whole(file.with_suffix(".html"), page)
    return file.with_suffix(".html")


def chart(curve: Curve) -> Markup:
    """Loss over log rate: each batch faint, the mean on top, the suggestion marked."""
    low, high = min(curve.losses), max(curve.smoothed)
    y_marks = ticks(low, high)
    x_marks = [mark for mark in log_ticks(curve.rates[0], curve.rates[-1]) if curve.rates[0] <= mark <= curve.rates[-1]]
    x = Scale(curve.rates[0], curve.rates[-1], LEFT, WIDTH - RIGHT, log=True)
    y = Scale(y_marks[0], y_marks[-1], HEIGHT - BOTTOM, TOP)
    each = zip(curve.rates, curve.losses, strict=True)
    inside = [(rate, loss) for rate, loss in each if y_marks[0] <= loss <= y_marks[-1]]
    return TEMPLATES.fragment(
        "chart.html",
        size=(WIDTH, HEIGHT),
        frame=(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        x_marks=[(x(mark), f"{mark:g}") for mark in x_marks],
        y_marks=[(y(mark), f"{mark:g}") for mark in y_marks],
        dots=[(x(rate), y(loss)) for rate, loss in inside],
        outside=len(curve.losses) - len(inside),
        line="M" + "L".join(f"{x(rate)} {y(mean)}" for rate, mean in zip(curve.rates, curve.smoothed, strict=True)),
        suggested=None if curve.suggested is None else (x(curve.suggested), f"{curve.suggested:.2g}"),
    )


def sparkline(curve: Curve, width: int = 60) -> str:
    """The smoothed losses as a line of blocks, for a terminal."""
    means = [curve.smoothed[n * len(curve.smoothed) // width] for n in range(min(width, len(curve.smoothed)))]
    low, high = min(means), max(means)
    return "".join(BLOCKS[round((value - low) / ((high - low) or 1) * (len(BLOCKS) - 1))] for value in means)
