"""Made-up runs that answered the same images: each right exactly where it is told to be."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from manifests.digests import file_digest
from manifests.shards import Index, open_rows, read_index
from manifests.store import DatasetStore, Stage, write_whole
from manifests.table import read_table
from tests.training.report.made import run, shards
from training.folders import BEST, FIGURES, PREDICTIONS
from training.scores import predictions, scores

TRANSFORM = "0123456789abcdef"
CLASSES = ("ant", "bee")


def store(place: Path) -> DatasetStore:
    return DatasetStore(place / "made")


def data(place: Path, classes: Sequence[str] = CLASSES, *, images: int = 12, transform: str = TRANSFORM) -> Path:
    """Shards of a train, a val and a test split, the last two of so many images."""
    return shards(store(place).folder("transform", transform), classes, {"train": 8, "val": images, "test": images})


def learned(place: Path, name: str, *, key: str = "fedcba9876543210", transform: str = TRANSFORM, **facts: Any) -> Path:
    """A finished run that nobody has evaluated."""
    folder = store(place).root / "runs" / name / key
    index = read_index(store(place).folder("transform", transform))
    run(folder, index, epochs=2, transform=transform, **facts)
    (folder / BEST).write_bytes(f"weights of {name} {key}".encode())
    stage = Stage("train", key, {}, {}, counts={"epochs": 2}, seconds=7.5, files={BEST: file_digest(folder / BEST)})
    write_whole(folder / "stage.json", json.dumps(asdict(stage)))
    return folder


def judge(folder: Path, shard_set: Path, right: str, *, split: str = "test", **figures: Any) -> None:
    """An evaluation of these answers: `right` has a digit an image, 0 for wrong, 1 to 9 for right, ever surer."""
    index: Index = read_index(shard_set)
    labels = open_rows(shard_set / f"{split}-00000.safetensors").labels[: len(right)].copy()
    digits = np.array([int(digit) for digit in right])
    said = np.where(digits > 0, labels, (labels + 1) % len(index.classes))
    logits = np.zeros((len(right), len(index.classes)), np.float32)
    logits[np.arange(len(right)), said] = 1 + digits / 10
    found = scores(logits, labels, index.classes)
    place = folder / "evaluation" / split
    place.mkdir(parents=True)
    table = read_table(shard_set / "rows.parquet").filter(pl.col("split") == split).head(len(right))
    (place / PREDICTIONS).write_text(predictions(table, logits, labels, index.classes).write_csv(), "utf-8")
    said_of = {"split": split, "weights": file_digest(folder / BEST), "device": "cpu", "milliseconds_per_image": 1.25}
    (place / FIGURES).write_text(json.dumps(asdict(found) | said_of | figures), "utf-8")


def contest(
    place: Path, answers: dict[str, str], classes: Sequence[str] = CLASSES, *, split: str = "test", **facts: Any
) -> list[Path]:
    """Runs by name, evaluated on one shard set, in this order."""
    shard_set = data(place, classes, images=len(next(iter(answers.values()))))
    folders = [learned(place, name, **facts) for name in answers]
    for folder, right in zip(folders, answers.values(), strict=True):
        judge(folder, shard_set, right, split=split)
    return folders
