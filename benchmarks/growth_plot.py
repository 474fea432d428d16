"""The drawing of `benchmarks.growth`: time and memory over the number of images, both axes by powers of ten, as SVG."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Protocol

from manifests.pages.charts import Scale, log_ticks

WIDTH, HEIGHT = 520, 400  # of one drawing
LEFT, RIGHT, TOP, BOTTOM = 70, 40, 40, 46
LEGEND = 24  # height of a line of the legend
COLOURS = ("#1f5fa8", "#c8501e", "#2f8a4c", "#8a4fa3", "#b08a00", "#00868b", "#b5336b", "#555555", "#7a5230", "#4a6fd0")
FIGURES = {"of_processors": "Seconds of all processors", "megabytes": "Megabytes"}
KINDS = {"with pixels": "", "tables": "5 4"}  # → dashes


class Measured(Protocol):
    """What is drawn of a row."""

    @property
    def stage(self) -> str: ...
    @property
    def images(self) -> int: ...
    @property
    def of_processors(self) -> float: ...
    @property
    def megabytes(self) -> float: ...


def plot(rows: Mapping[str, Sequence[Measured]]) -> str:
    """`rows` by kind, those of a stage one after another by size."""
    lines = [
        (kind, stage, sorted(each, key=lambda row: row.images))
        for kind, found in rows.items()
        for stage, each in groupby(sorted(found, key=lambda row: row.stage), key=lambda row: row.stage)
    ]
    foot = HEIGHT + LEGEND * ((len(lines) + 2) // 3) + 10
    drawn = [_panel(0, "of_processors", lines), _panel(WIDTH, "megabytes", lines), *_legend(lines)]
    style = "text{font:13px system-ui,sans-serif;fill:#333}.t{font-size:15px;font-weight:600}path,line{fill:none}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {foot}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>' + "".join(drawn) + "</svg>\n"
    )


Line = tuple[str, str, list[Measured]]


def _panel(start: int, figure: str, lines: list[Line]) -> str:
    """One drawing, `start` to the right."""
    values = [getattr(row, figure) for *_, each in lines for row in each]
    images = [row.images for *_, each in lines for row in each]
    marks = log_ticks(min(values), max(values), 2)
    across = Scale(min(images), max(images), start + LEFT, start + WIDTH - RIGHT, log=True)
    up = Scale(marks[0], marks[-1], HEIGHT - BOTTOM, TOP, log=True)
    parts = [f'<text class="t" x="{start + LEFT}" y="22">{FIGURES[figure]}, by number of images</text>']
    for mark in marks:
        parts.append(f'<path stroke="#ddd" d="M{start + LEFT} {up(mark)}H{start + WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{start + LEFT - 8}" y="{up(mark) + 4}" text-anchor="end">{mark:,g}</text>')
    for mark in log_ticks(min(images), max(images), 2):
        number = f"{mark:,.0f}"
        parts += [f'<text x="{across(mark)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{number}</text>']
    for number, (kind, _, each) in enumerate(lines):
        places = " ".join(f"{across(row.images)} {up(getattr(row, figure))}" for row in each)
        ends = "".join(_dot(across(row.images), up(getattr(row, figure)), number) for row in each)
        parts.append(f'<path {_pen(number, kind)} d="M{places}"/>{ends}')
    return "".join(parts)


def _pen(number: int, kind: str) -> str:
    return f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2" stroke-dasharray="{KINDS[kind]}"'


def _dot(x: float, y: float, number: int) -> str:
    return f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS[number % len(COLOURS)]}"/>'


def _legend(lines: list[Line]) -> list[str]:
    """Three to a line."""
    parts: list[str] = []
    for number, (kind, stage, _) in enumerate(lines):
        x, y = LEFT + number % 3 * 320, HEIGHT + 4 + number // 3 * LEGEND
        parts.append(
            f'<path {_pen(number, kind)} d="M{x} {y}h28"/><text x="{x + 36}" y="{y + 4}">{stage}, {kind}</text>'
        )
    return parts
