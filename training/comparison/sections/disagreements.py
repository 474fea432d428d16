"""Images to look at: where one run is right and the other wrong."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from training.compare import Comparison
from training.comparison.pictures import Pictures, pictures
from training.comparison.templates import fragment
from training.paired import Contrast

ORDER = 50
TITLE = "Disagreements"
SHOWN = 12  # images of each side where there is one pair
SHOWN_OF_MANY = 6  # where there are several: the page stays light


@dataclass(frozen=True)
class Side:
    right: str  # run
    wrong: str
    count: int
    images: list[dict[str, Any]]  # path, class, sure (of the right one), said and said_sure (of the wrong), picture


def render(comparison: Comparison) -> Markup:
    found = pictures(comparison)
    most = SHOWN if len(comparison.pairs) == 1 else SHOWN_OF_MANY
    parts = [(pair, sides(pair, comparison.disagreements, found, most)) for pair in comparison.pairs]
    return fragment("disagreements.html", parts=parts, shape=found.shape if found else None, split=comparison.split)


def sides(pair: Contrast, table: pl.DataFrame, found: Pictures | None, most: int) -> list[Side]:
    """Where the second alone is right, then where the first is; the surest `most` of each with their pictures."""
    mine = table.filter((pl.col("a") == pair.a) & (pl.col("b") == pair.b))
    made: list[Side] = []
    for right, wrong, is_right, is_wrong in ((pair.b, pair.a, "b", "a"), (pair.a, pair.b, "a", "b")):
        images = mine.filter(pl.col("right") == right)
        shown = [_image(row, is_right, is_wrong, found) for row in images.head(most).iter_rows(named=True)]
        made.append(Side(right, wrong, images.height, shown))
    return made


def _image(row: dict[str, Any], right: str, wrong: str, found: Pictures | None) -> dict[str, Any]:
    return {
        "path": row["path"],
        "class": row["class"],
        "sure": row[f"probability_{right}"],
        "said": row[f"predicted_{wrong}"],
        "said_sure": row[f"probability_{wrong}"],
        "picture": found.picture((row["path"], row["sha256"], row["view"])) if found else None,
    }
