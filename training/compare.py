"""What several runs are worth beside each other, on the same images: which is better, by how much, where.

`training.entrants` finds and reads them, `training.paired` has the statistics, `training.comparison` shows it all.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from training.entrants import Entrant, entrants
from training.folders import BEST
from training.paired import Contrast, agreement, contrasts, group_contrasts

EVERY_PAIR = 4  # runs up to which each is compared with each; of more, the first with the others
CLASSES = pl.Schema(
    {
        "a": pl.String,  # the baseline
        "b": pl.String,
        "class": pl.String,
        "images": pl.Int64,
        "recall_a": pl.Float64,  # fraction
        "recall_b": pl.Float64,
        "difference": pl.Float64,  # b less a, fraction
        "only_a": pl.Int64,  # images that a alone has right
        "only_b": pl.Int64,
    }
)


@dataclass(frozen=True)
class Row:
    """One run in the table."""

    run: str
    accuracy: float  # fraction
    low: float  # of its 95 % interval
    high: float
    macro_f1: float
    loss: float  # mean cross-entropy, nats
    parameters: int
    trainable: int  # of the second phase, where there is one
    train_seconds: float  # of all epochs
    epochs: int
    milliseconds_per_image: float | None  # None where the evaluation did not measure it
    bytes: int  # of the best checkpoint's file
    folder: str


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seed: mean and sample standard deviation, fractions; no deviation of one run."""

    name: str
    runs: tuple[str, ...]
    accuracy: float
    accuracy_deviation: float | None
    macro_f1: float
    macro_f1_deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """Two runs or more, the baseline first, over the same images."""

    dataset: str
    split: str
    entrants: tuple[Entrant, ...]
    pairs: tuple[Contrast, ...]  # each run against the baseline, or every pair of a few
    groups: tuple[Group, ...]
    group_pairs: tuple[Contrast, ...]  # each group of two runs or more against the first one

    @property
    def images(self) -> int:
        return self.entrants[0].predictions.height

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.entrants)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        return tuple(map(row, self.entrants))

    @cached_property
    def classes(self) -> pl.DataFrame:
        """The columns of CLASSES, for each pair the largest differences first."""
        return pl.concat([class_differences(*self.runs_of(pair)) for pair in self.pairs])

    @cached_property
    def disagreements(self) -> pl.DataFrame:
        """Images that one of a pair has right and the other wrong; the surest first."""
        return pl.concat([disagreements(*self.runs_of(pair)) for pair in self.pairs])

    def runs_of(self, pair: Contrast) -> tuple[Entrant, Entrant]:
        found = {one.name: one for one in self.entrants}
        return found[pair.a], found[pair.b]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        return tuple(notes(self))

    def as_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "split": self.split,
            "images": self.images,
            "runs": [asdict(one) for one in self.rows],
            "pairs": [pair.as_json() for pair in self.pairs],
            "groups": [asdict(group) for group in self.groups],
            "group_pairs": [pair.as_json() for pair in self.group_pairs],
            "classes": self.classes.to_dicts(),
            "notes": list(self.notes),
        }


def compared(folders: Sequence[Path], split: str) -> Comparison:
    """Compare runs on a split, the first is the baseline. Raises UserError (exit 5) where they cannot be compared:
    an evaluation is missing or outdated, or classes or images are not the same."""
    runs = entrants(folders, split)
    among = groups(runs)
    return Comparison(
        dataset=str(runs[0].facts["dataset"]),
        split=split,
        entrants=runs,
        pairs=contrasts([(a.name, b.name, agreement(a.right, b.right)) for a, b in pairs(runs)]),
        groups=among,
        group_pairs=group_pairs(runs, among),
    )


def pairs(runs: Sequence[Entrant]) -> list[tuple[Entrant, Entrant]]:
    """Who is compared with whom: all with all where they are few, else the baseline with each other."""
    if len(runs) <= EVERY_PAIR:
        return list(combinations(runs, 2))
    return [(runs[0], other) for other in runs[1:]]


def row(one: Entrant) -> Row:
    low, high = one.figures["interval"]
    return Row(
        run=one.name,
        accuracy=one.figures["accuracy"],
        low=low,
        high=high,
        macro_f1=one.figures["macro"]["f1"],
        loss=one.figures["loss"],
        parameters=one.facts["parameters"],
        trainable=one.facts.get("trainable_later") or one.facts["trainable"],
        train_seconds=one.stage.seconds,
        epochs=one.stage.counts["epochs"],
        milliseconds_per_image=one.figures.get("milliseconds_per_image"),
        bytes=(one.folder / BEST).stat().st_size,
        folder=str(one.folder),
    )


def members(runs: Sequence[Entrant]) -> dict[str, list[Entrant]]:
    """Runs by their name without the seed, in the order in which each group first appears."""
    found: dict[str, list[Entrant]] = {}
    for one in runs:
        if one.group is not None:
            found.setdefault(one.group, []).append(one)
    return found


def groups(runs: Sequence[Entrant]) -> tuple[Group, ...]:
    """Mean and deviation over the seeds; none where no run was repeated."""
    found = members(runs)
    if all(len(each) == 1 for each in found.values()):
        return ()
    return tuple(
        Group(
            name,
            tuple(one.name for one in each),
            *_spread([one.figures["accuracy"] for one in each]),
            *_spread([one.figures["macro"]["f1"] for one in each]),
        )
        for name, each in found.items()
    )


def _spread(values: Sequence[float]) -> tuple[float, float | None]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def group_pairs(runs: Sequence[Entrant], found: Sequence[Group]) -> tuple[Contrast, ...]:
    """Groups of two runs or more, as who with whom among runs."""
    right = {name: np.stack([one.right for one in each]) for name, each in members(runs).items()}
    repeated = [group.name for group in found if len(group.runs) > 1]
    chosen = [(a, b) for a, b in combinations(repeated, 2) if len(repeated) <= EVERY_PAIR or a == repeated[0]]
    return group_contrasts([(a, b, right[a], right[b]) for a, b in chosen])


def class_differences(a: Entrant, b: Entrant) -> pl.DataFrame:
    """Recall of each class that has images: the largest difference first, then the larger class, then its name."""
    right_a, right_b = pl.col("right_a"), pl.col("right_b")
    table = a.predictions.select("class", right_a=a.predictions["correct"], right_b=b.predictions["correct"])
    found = table.group_by("class").agg(
        images=pl.len(),
        recall_a=right_a.mean(),
        recall_b=right_b.mean(),
        difference=(right_b.cast(pl.Int64).sum() - right_a.cast(pl.Int64).sum()) / pl.len(),
        only_a=(right_a & ~right_b).sum(),
        only_b=(right_b & ~right_a).sum(),
    )
    ordered = found.sort(pl.col("difference").abs(), "images", "class", descending=[True, True, False])
    return ordered.select(pl.lit(a.name).alias("a"), pl.lit(b.name).alias("b"), pl.all()).cast(CLASSES)


def disagreements(a: Entrant, b: Entrant) -> pl.DataFrame:
    """Images that one run alone has right: those first on which the product of the two probabilities is highest."""
    said = ("predicted", "probability")
    table = a.predictions.select(
        pl.lit(a.name).alias("a"),
        pl.lit(b.name).alias("b"),
        pl.when("correct").then(pl.lit(a.name)).otherwise(pl.lit(b.name)).alias("right"),
        "path", "sha256", "view", "class",
        *(pl.col(name).alias(f"{name}_a") for name in said),
        *(b.predictions[name].alias(f"{name}_b") for name in said),
    )  # fmt: skip
    differ = table.filter(a.predictions["correct"] != b.predictions["correct"])
    both_sure = pl.col("probability_a") * pl.col("probability_b")
    return differ.sort(both_sure, "path", descending=[True, False])


def notes(comparison: Comparison) -> list[str]:
    """What a person should know beside the figures."""
    runs, found = comparison.entrants, list[str]()
    if comparison.split == "val":
        found.append("The val split also chose each run's epoch, so the scores lean to the friendly side.")
    if comparison.split == "train":
        found.append("These are the images the runs learned from: the scores say what they remember.")
    if flat := [one.name for one in runs if one.figures["accuracy"] in (0, 1)]:
        hidden = f"{100 * min(1.0, 3 / comparison.images):.1f} points"
        found.append(
            f"All right or all wrong: the interval has no width, yet {hidden} could hide in it: {', '.join(flat)}."
        )
    if len({str(one.facts["data"]) for one in runs}) > 1:
        found.append("The runs learned from other shards; the images that judge them are the same.")
    if len({str(one.facts["device"]) for one in runs}) > 1:
        found.append("They were trained on other devices: times of training do not compare.")
    if len({str(one.figures["device"]) for one in runs}) > 1:
        found.append("They were evaluated on other devices: times an image do not compare.")
    whole = [one for one in runs if one.facts["settings"].get("unfreeze_after") is None]
    if on_features := [one.name for one in whole if one.facts.get("feature_cache")]:
        found.append(f"Trained on kept features, the backbone's one pass not counted: {', '.join(on_features)}.")
    return found
