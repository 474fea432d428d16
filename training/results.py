"""Runs as a recipe asks for them: finished or not, evaluated or not, with which figures. Without torch."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from manifests.errors import Exit
from manifests.recipe import Train, checked
from manifests.shards import Index, read_index
from manifests.store import DatasetStore, Stage, read_stage
from training.folders import (
    BEST,
    FACTS,
    FIGURES,
    LAST,
    PREDICTIONS,
    REPORT,
    SEED,
    describe,
    evaluation_folder,
    find_run,
    read_facts,
    run_folder,
)


@dataclass(frozen=True)
class Run:
    """One run of a recipe, on the shards that it asks for."""

    settings: Train
    folder: Path
    shards: Path
    index: Index

    @property
    def name(self) -> str:
        return self.folder.parent.name

    @property
    def finished(self) -> Stage | None:
        return read_stage(self.folder)

    @property
    def has_begun(self) -> bool:
        return (self.folder / LAST).is_file()

    @property
    def split(self) -> str:
        """The split that judges it: test where there is one, else val."""
        return next((split for split in ("test", "val") if self.index.rows(split)), "train")

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """The figures of the finished run on its split; None where there are none, or of other weights."""
        file = evaluation_folder(self.folder, self.split) / FIGURES
        if self.finished is None or not file.is_file() or not (self.folder / REPORT).is_file():
            return None
        figures = json.loads(file.read_text("utf-8"))
        return figures if figures["weights"] == self.finished.files[BEST] else None

    @property
    def is_fresh(self) -> bool:
        return self.finished is not None and self.evaluation is not None

    @property
    def state(self) -> str:
        if self.finished:
            return "fresh" if self.is_fresh else "not evaluated"
        if self.has_begun:
            return "unfinished"
        others = any(self.folder.parent.glob("*/stage.json"))
        return "stale: its settings or shards changed" if others else "not trained"

    def summary(self) -> dict[str, Any]:
        """A row for a table: what is known without training or evaluating."""
        figures, reported = self.evaluation, self.settings.reported
        return {
            "run": self.name,
            "state": self.state,
            "epochs": self.finished.counts["epochs"] if self.finished else None,
            "split": self.split,
            "accuracy": figures["accuracy"] if figures else None,
            "loss": figures["loss"] if figures else None,
            "reported": reported.accuracy if reported else None,
            "folder": str(self.folder),
        }


def run_of(dataset: DatasetStore, settings: Train, transform_key: str) -> Run:
    shards = dataset.folder("transform", transform_key)
    index = read_index(shards)
    return Run(settings, run_folder(dataset, settings, index), shards, index)


def named(settings: Train) -> Train:
    """With the default name where none is given."""
    return settings.model_copy(update={"run": settings.run or describe(settings)})


def best_values(folders: Iterable[Path]) -> tuple[str, list[float]]:
    """What the finished runs looked at, and the best of it in each."""
    stages = [stage for folder in folders if (stage := read_stage(folder))]
    return f"best {stages[0].counts['monitored']}", [float(stage.counts["best_value"]) for stage in stages]


def mean_and_deviation(values: Sequence[float]) -> str:
    """`0.8534 ± 0.0061 (n = 3)`, the sample's own deviation."""
    if len(values) == 1:
        return f"{values[0]:.4f} (n = 1)"
    return f"{mean(values):.4f} ± {stdev(values):.4f} (n = {len(values)})"


def seeds_of(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Runs that differ by their seed alone: name, measure, mean and deviation; of rows that `Run.summary` gave."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if match := SEED.fullmatch(row["run"] or ""):
            groups.setdefault(match["group"], []).append(row)
    found: list[tuple[str, str, str]] = []
    for name, group in groups.items():
        values = [row["accuracy"] for row in group if row["accuracy"] is not None]
        if len(values) > 1:
            found.append((name, f"accuracy on {group[0]['split']}", mean_and_deviation(values)))
    return found


def begun(dataset: DatasetStore, name: str | None) -> Train:
    """The settings of the newest run of that name, as it was begun."""
    folder = find_run(dataset, name)
    said = read_facts(folder)
    return checked(Train, said["settings"] | {"run": said["run"]}, str(folder / FACTS), Exit.STALE)


def predictions_of(image: str, dataset: DatasetStore) -> dict[str, dict[str, Any]]:
    """What each evaluated run said of an image, by its path."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted((dataset.root / "runs").glob(f"*/*/evaluation/*/{PREDICTIONS}")):
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if row["path"] == image:
                    guess = {
                        "predicted": row["predicted"],
                        "probability": float(row["probability"]),
                        "split": file.parent.name,
                    }
                    found[file.parents[3].name] = guess
    return found
