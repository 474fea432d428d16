"""What lies in a run's folder and beside it, read once: the only input of a section.

The trainer writes run.json, metrics.csv and stage.json, `training.evaluate` the folders under evaluation/. What is not
there yet is empty here, and the section that lacks it says so.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.pages.sections import Inset
from manifests.recipe import SPLITS
from manifests.shards import Index, read_index
from manifests.store import Stage, read_stage
from manifests.table import read_table
from training.checks import refuse_mismatch
from training.folders import FIGURES, METRICS, PREDICTIONS, evaluation_folder, read_facts

EPOCHS: dict[str, type[pl.DataType]] = {
    "epoch": pl.Int64,
    "train_loss": pl.Float64,  # nats
    "train_accuracy": pl.Float64,  # fraction
    "val_loss": pl.Float64,  # null where there is no val split
    "val_accuracy": pl.Float64,
    "learning_rate": pl.Float64,
    "seconds": pl.Float64,
    "images_per_second": pl.Float64,
    "best": pl.Int64,  # 1 where this epoch became the best so far
}


@dataclass(frozen=True)
class Evidence:
    """A run, the shards it was trained on, and what is known of it so far."""

    run: Path
    shards: Path
    facts: dict[str, Any]  # run.json
    index: Index
    epochs: pl.DataFrame  # metrics.csv: the columns of EPOCHS, a row an epoch
    stage: Stage | None  # None while the run is not finished
    evaluations: dict[str, dict[str, Any]]  # split → metrics.json, the split to speak of first
    story: Inset | None = None  # of the images, from the curation that they come from

    @property
    def split(self) -> str | None:
        """The split that the report speaks of: test, else val, else train; None where none was evaluated."""
        return next(iter(self.evaluations), None)

    @property
    def evaluation(self) -> dict[str, Any] | None:
        return self.evaluations[self.split] if self.split else None

    @cached_property
    def is_outdated(self) -> bool:
        """Whether the run went on after `evaluation`, so that its checkpoint is now another one."""
        return bool(self.split) and self.is_outdated_on(str(self.split))

    def is_outdated_on(self, split: str) -> bool:
        """The same of the evaluation on this split."""
        figures = self.evaluations[split]
        return figures["weights"] != file_digest(self.run / f"{figures['checkpoint']}.safetensors")

    @property
    def best_epoch(self) -> int | None:
        best = self.epochs.filter(pl.col("best") == 1)["epoch"]
        return int(best[-1]) if len(best) else None

    @cached_property
    def rows(self) -> pl.DataFrame:
        """rows.parquet: split, shard, row, path, sha256, view, class."""
        return read_table(self.shards / "rows.parquet")

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """The predictions on `split`, as `predictions_on` gives them. Needs an evaluation."""
        return self.predictions_on(str(self.split))

    def predictions_on(self, split: str) -> pl.DataFrame:
        """The predictions on a split that was evaluated, with shard and row, where their pixels lie.

        Raises UserError (exit 5) where predictions and shards do not list the same images in the same order.
        """
        file = evaluation_folder(self.run, split) / PREDICTIONS
        table = read_predictions(file)
        here = self.rows.filter(pl.col("split") == split)
        if not table["sha256"].equals(here["sha256"]):
            raise UserError(f"{file}: other images than in {self.shards}; run evaluate again.", Exit.STALE)
        return table.with_columns(here["shard"], here["row"])


def read_evidence(run: Path, shards: Path, story: Inset | None = None) -> Evidence:
    """Read what there is. Raises UserError where there is no run, or where it was trained on other shards."""
    facts, index = read_facts(run), read_index(shards)
    refuse_mismatch(run, shards, facts, index)
    order = [split for split in reversed(SPLITS) if (evaluation_folder(run, split) / FIGURES).is_file()]
    return Evidence(
        run=run,
        shards=shards,
        facts=facts,
        index=index,
        epochs=read_epochs(run),
        stage=read_stage(run),
        evaluations={split: _read_json(evaluation_folder(run, split) / FIGURES) for split in order},
        story=story,
    )


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError:
        raise UserError(f"{file}: not readable as JSON; remove it and make it again.", Exit.STALE) from None


def read_predictions(file: Path) -> pl.DataFrame:
    """`predictions.csv`: a row an image, in the order of the shards. A class may be named 7 or true and stays text."""
    kinds = dict.fromkeys(["path", "sha256", "class", "predicted"], pl.String)
    return pl.read_csv(file, schema_overrides=kinds, infer_schema_length=None, glob=False)


def read_epochs(run: Path) -> pl.DataFrame:
    """`metrics.csv`: the columns of EPOCHS, a row an epoch; no rows where nothing was trained yet."""
    try:
        return pl.read_csv(run / METRICS, schema_overrides=EPOCHS, glob=False)
    except (FileNotFoundError, pl.exceptions.NoDataError):
        return pl.DataFrame(schema=EPOCHS)
