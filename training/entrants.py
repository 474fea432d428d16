"""Runs that are to be compared: found by name, judged on one split, over the same images in the same order.

What the comparison says of them is `training.compare`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl

from manifests.errors import Exit, UserError, known
from manifests.store import DatasetStore, Stage, read_stage
from training.folders import BEST, FACTS, FIGURES, PREDICTIONS, SEED, evaluation_folder, newest, read_facts
from training.paired import Bools
from training.report.evidence import read_predictions

IMAGE = ["path", "sha256", "view"]  # what an image is known by, in every run


@dataclass(frozen=True)
class Entrant:
    """A finished run and its evaluation on the split."""

    name: str  # of the run; with its key where several have this name
    folder: Path
    facts: dict[str, Any]  # run.json
    stage: Stage
    figures: dict[str, Any]  # metrics.json
    predictions: pl.DataFrame  # predictions.csv, and view: which of the images with this path and sha256 it is

    @property
    def right(self) -> Bools:
        return self.predictions["correct"].to_numpy()

    @property
    def group(self) -> str | None:
        """The name without its seed; None for a run that has none."""
        found = SEED.fullmatch(str(self.facts["run"]))
        return found["group"] if found else None

    @property
    def shards(self) -> Path:
        """The shard set that it learned from, whether it is still there or not."""
        return self.folder.parents[2] / "transform" / str(self.facts["transform"])


def find_runs(dataset: DatasetStore, names: Sequence[str]) -> list[Path]:
    """Folders of the runs to compare, the baseline first: each once, in the order asked for.

    A name is that of a run (its newest finished folder), of a run's folder, a pattern (`small-seed*`), or what stands
    before -seed0, -seed1, … Raises UserError (exit 2) for a name that nobody has and for fewer than two runs, exit 5
    for a run that is not finished.
    """
    there = newest((dataset.root / "runs").glob("*/*"))
    found = list(dict.fromkeys(folder.absolute() for name in names for folder in _named(dataset, there, name)))
    if len(found) < 2:
        only = f"only {found[0].parent.name}" if found else "no run"
        raise UserError(f"two runs or more are needed, {only} was named; add another name.", Exit.USAGE)
    return found


def _named(dataset: DatasetStore, there: list[Path], name: str) -> list[Path]:
    if (Path(name) / FACTS).is_file():
        return [Path(name)]
    names = {folder.parent.name for folder in there}
    wanted = [name] if name in names else sorted(filter(lambda each: fits(each, name), names), key=_by_seed)
    if not wanted:
        kept = f"{known(name, sorted(names))}" if names else "Begin with: alacena train."
        raise UserError(f"{dataset.root}: no run {name!r}. {kept}", Exit.USAGE)
    return [_finished(there, each) for each in wanted]


def fits(name: str, asked: str) -> bool:
    """Whether a run is meant by a pattern, or by its name without the seed."""
    repeated = SEED.fullmatch(name)
    return fnmatchcase(name, asked) or bool(repeated and repeated["group"] == asked)


def _by_seed(name: str) -> tuple[str, int]:
    found = SEED.fullmatch(name)
    return (found["group"], int(found["seed"])) if found else (name, -1)


def _finished(there: list[Path], name: str) -> Path:
    mine = [folder for folder in there if folder.parent.name == name]
    if done := [folder for folder in mine if read_stage(folder)]:
        return done[0]
    raise UserError(
        f"{mine[0]}: run {name!r} is not finished; go on with: alacena train --resume --run {name}", Exit.STALE
    )


def common_split(folders: Sequence[Path], split: str | None = None) -> str:
    """The split to compare on: as asked; else test, or else val, where all have an evaluation on it; else test where
    all have images for it, and their evaluations are still to be made; else val."""
    if split is not None:
        return split
    order = ("test", "val")
    evaluated = [one for one in order if all((evaluation_folder(each, one) / FIGURES).is_file() for each in folders)]
    with_images = [one for one in order if all(read_facts(each)["rows"].get(one) for each in folders)]
    return next(iter([*evaluated, *with_images]), "val")


def missing(folders: Iterable[Path], split: str) -> list[Path]:
    """The runs that have no evaluation of their present weights on the split: evaluate them first."""
    return [folder for folder in folders if not _is_current(folder, split)]


def _is_current(folder: Path, split: str) -> bool:
    stage, place = read_stage(folder), evaluation_folder(folder, split)
    if stage is None or not all((place / name).is_file() for name in (FIGURES, PREDICTIONS)):
        return False
    return bool(_figures(place)["weights"] == stage.files.get(BEST))


def _figures(place: Path) -> dict[str, Any]:
    file = place / FIGURES
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError:
        raise UserError(f"{file}: not readable as JSON; remove it and evaluate again.", Exit.STALE) from None


def entrants(folders: Sequence[Path], split: str) -> tuple[Entrant, ...]:
    """The runs with their predictions, all in the order of the first one's images.

    Raises UserError (exit 5) where an evaluation is missing or of other weights, and where classes, images or the
    class of an image are not the same in all.
    """
    read = [read_entrant(folder, split) for folder in folders]
    names = [one.name for one in read]
    read = [one if names.count(one.name) == 1 else _with_key(one) for one in read]
    return (read[0], *(aligned(read[0], one, split) for one in read[1:]))


def _with_key(one: Entrant) -> Entrant:
    return replace(one, name=f"{one.name}-{one.folder.name[:8]}")


def read_entrant(folder: Path, split: str) -> Entrant:
    facts, stage, place = read_facts(folder), read_stage(folder), evaluation_folder(folder, split)
    name = str(facts["run"])
    if stage is None:
        raise UserError(
            f"{folder}: run {name!r} is not finished; go on with: alacena train --resume --run {name}", Exit.STALE
        )
    if missing([folder], split):
        why = "of other weights than its present ones" if (place / FIGURES).is_file() else "missing"
        remedy = f"make it with: alacena evaluate --run {name} --split {split}"
        raise UserError(f"{place}: the evaluation is {why}; {remedy}", Exit.STALE)
    return Entrant(name, folder, facts, stage, _figures(place), numbered(read_predictions(place / PREDICTIONS)))


def numbered(predictions: pl.DataFrame) -> pl.DataFrame:
    """With `view`: which of the images with the same path and sha256 each is."""
    return predictions.with_columns(view=pl.int_range(pl.len()).over("path", "sha256"))


def aligned(first: Entrant, other: Entrant, split: str) -> Entrant:
    """The other run with its predictions in the first one's order."""
    refuse_other_classes(first, other)
    mine, theirs = first.predictions, other.predictions
    only = [a.join(b, on=IMAGE, how="anti").height for a, b in ((mine, theirs), (theirs, mine))]
    if any(only):
        sides = f"{only[0]} only in {first.name}, {only[1]} only here, {theirs.height - only[1]} in both"
        raise UserError(
            f"{other.folder}: other {split} images than {first.name} ({sides}); "
            "train and evaluate both on one curation, or name a split that they share with --split.",
            Exit.STALE,
        )
    joined = mine.select(*IMAGE, truth="class").join(theirs, on=IMAGE, how="left", maintain_order="left")
    if moved := joined.filter(pl.col("truth") != pl.col("class")).height:
        raise UserError(
            f"{other.folder}: {moved} of {joined.height} {split} images carry another class than in {first.name}; "
            "train and evaluate both on one curation.",
            Exit.STALE,
        )
    return replace(other, predictions=joined.drop("truth"))


def refuse_other_classes(first: Entrant, other: Entrant) -> None:
    here, there = other.facts["classes"], first.facts["classes"]
    if set(here) == set(there):
        return
    sides = [
        f"{len(alone)} only {where} ({', '.join(alone[:6])}{', …' if len(alone) > 6 else ''})"
        for where, alone in (
            ("here", [name for name in here if name not in there]),
            (f"in {first.name}", [name for name in there if name not in here]),
        )
        if alone
    ]
    raise UserError(
        f"{other.folder}: other classes than {first.name}: {'; '.join(sides)}; "
        "train both on one curation, or compare runs that know the same classes.",
        Exit.STALE,
    )
