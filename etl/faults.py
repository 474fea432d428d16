"""What may be wrong with a picture, by the figures that extract measured: each fault a name, a limit and a reason.

None is looked for unless it is asked for (`--faults dark,blurred:60`); `explain` says beforehand what each would
reject. To add one: an entry in FAULTS, and its test.
"""

from typing import NamedTuple

import polars as pl

from etl.measures import SILENT
from manifests.errors import Exit, UserError, known
from manifests.recipe import Curate
from manifests.table import kept, reject

SUFFIXES = {  # what a file of each format may be called
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "MPO": (".jpg", ".jpeg", ".mpo"), "PNG": (".png", ".apng"),
    "WEBP": (".webp",), "GIF": (".gif",), "BMP": (".bmp", ".dib"), "TIFF": (".tif", ".tiff"), "AVIF": (".avif",),
}  # fmt: skip
USUAL_MODES = ["RGB", "L", "RGBA", "LA", "P"]
GREY = 4.0  # of chroma: below it a picture has no colour
ASPECT = pl.max_horizontal("width", "height") / pl.min_horizontal("width", "height")
EXAMPLES = 3  # named by `explain`


def _is_misnamed() -> pl.Expr:
    """Whether the suffix is that of another format; a file without a suffix is not misnamed."""
    suffix = pl.col("path").str.to_lowercase().str.extract(r"(\.[^./]+)$")
    wrong = [(pl.col("format") == kind) & ~suffix.is_in(list(names)) for kind, names in SUFFIXES.items()]
    return pl.any_horizontal(wrong) & suffix.is_not_null()


class Fault(NamedTuple):
    """One fault: a figure below or above a limit, or, where it has no limit, what is true of the picture."""

    what: str  # what is measured, with its range
    reason: str  # `kind: words`, with {} for the figure and LIMIT for the limit
    figure: pl.Expr
    limit: float | None = None  # the usual one
    below: bool = True
    shown: pl.Expr | None = None  # in the reason, in place of the figure

    def holds(self, limit: float | None) -> pl.Expr:
        if limit is None:
            return self.figure
        return self.figure < limit if self.below else self.figure > limit

    def why(self, limit: float | None) -> pl.Expr:
        shown = self.figure.round(2) if self.shown is None else self.shown
        text = self.reason.replace("LIMIT", f"{limit:g}" if limit is not None else "")
        return pl.format(text, shown) if "{}" in text else pl.lit(text)


FAULTS: dict[str, Fault] = {
    "aspect": Fault(
        "longer side over shorter side, from 1", "extreme aspect: {} to 1, over LIMIT", ASPECT, 3.0, below=False
    ),
    "uniform": Fault(
        "deviation of the grey picture, 0 to 128", "nearly uniform: grey deviation {}, under LIMIT",
        pl.col("luma_std"), SILENT,
    ),
    "dark": Fault(
        "99th percentile of the grey picture, 0 to 255", "very dark: 99 % lies below {} of 255, under LIMIT",
        pl.col("luma_high"), 64.0,
    ),
    "bright": Fault(
        "5th percentile of the grey picture, 0 to 255", "very bright: 95 % lies above {} of 255, over LIMIT",
        pl.col("luma_low"), 215.0, below=False,
    ),
    "blurred": Fault(
        "variance of the Laplacian at 96 px (Pech-Pacheco 2000), from 0",
        "blurred: variance of the Laplacian {}, under LIMIT", pl.col("sharpness"), 90.0,
    ),
    "grey": Fault(
        "distance from grey, 0 to 128; where most others have colour",
        "grey among colour: at most {} of 128 from grey, under LIMIT", pl.col("chroma"), GREY,
    ),
    "extension": Fault(
        "file name and format", "wrong extension: the file is a {}", _is_misnamed(), shown=pl.col("format")
    ),
    "animated": Fault("several frames", "animated: only the first frame would be used", pl.col("animated")),
    "mode": Fault(
        "pixel mode is not RGB, L, RGBA, LA or P", "odd mode: {}", ~pl.col("mode").is_in(USUAL_MODES),
        shown=pl.col("mode"),
    ),
}  # fmt: skip


def check(asked: dict[str, float | None], place: str) -> None:
    """Raise UserError (exit 3) for a fault that nobody knows, and for a limit where there can be none."""
    for name, limit in asked.items():
        if name not in FAULTS:
            raise UserError(f"{place}: unknown fault {name!r}. {known(name, FAULTS)}", Exit.RECIPE)
        if limit is not None and FAULTS[name].limit is None:
            raise UserError(f"{place}: {name} takes no limit; write {name} alone.", Exit.RECIPE)


def measured(settings: Curate) -> set[str]:
    """The columns that the faults asked for look at."""
    asked = [each for name in settings.faults for each in (FAULTS[name].figure, FAULTS[name].shown)]
    return {name for each in asked if each is not None for name in each.meta.root_names()}


def faulty(table: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """A rule of curation: each fault that is asked for. What a person pinned has none."""
    for name, asked in settings.faults.items():
        limit = FAULTS[name].limit if asked is None else asked
        table = reject(table, _found(table, name, limit) & ~pl.col("pinned"), FAULTS[name].why(limit))
    return table


def _found(table: pl.DataFrame, name: str, limit: float | None) -> pl.Expr:
    """Grey is a fault only among colour: where half of the images are grey, it is how they are."""
    if name == "grey":
        chroma = kept(table.select("chroma", "rejected"))["chroma"]
        if 2 * int((chroma < GREY).sum()) >= len(chroma):
            return pl.lit(value=False)
    return FAULTS[name].holds(limit).fill_null(value=False)


class Explained(NamedTuple):
    """What a fault would reject of the images that are there, each fault by itself."""

    fault: str
    what: str
    asked: bool
    limit: float | None
    quantiles: list[float]  # 1 %, 50 % and 99 % of the figure; empty where there is no limit
    rejects: int
    examples: list[str]  # paths, the worst first


def explain(table: pl.DataFrame, settings: Curate) -> list[Explained]:
    """Of the images that nothing else has rejected: `table` as `etl.curate.sieved` gives it without faults."""
    rows = kept(table)
    return [_explained(rows, name, settings) for name in FAULTS] if rows.height else []


def _explained(rows: pl.DataFrame, name: str, settings: Curate) -> Explained:
    fault = FAULTS[name]
    limit = settings.faults.get(name) if settings.faults.get(name) is not None else fault.limit
    found = rows.filter(_found(rows, name, limit) & ~pl.col("pinned"))
    worst = found.sort(fault.figure, "path", descending=[not fault.below, False])["path"].head(EXAMPLES).to_list()
    figures = rows.select(figure=fault.figure.cast(pl.Float64))["figure"]
    spread = [float(figures.quantile(q, "nearest") or 0) for q in (0.01, 0.5, 0.99)] if fault.limit is not None else []
    return Explained(name, fault.what, name in settings.faults, limit, spread, found.height, worst)
