"""What a run is worth on one split: every image in order through the checkpoint, and the figures of what came out.

`evaluate` reads the run and the shards, and writes `RUN/evaluation/SPLIT/`: metrics.json, predictions.csv,
classes.csv, confusion.csv, calibration.csv. The arithmetic is `training.scores`, the stopwatch `training.timing`;
`training.report` makes pages of all of it.
"""

import csv
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.progress import Progress, silent
from manifests.recipe import Train
from manifests.shards import Index, read_index
from manifests.store import DatasetStore, flush, sweep
from manifests.table import read_table
from training.checks import refuse_mismatch, refuse_other
from training.folders import (
    CALIBRATION,
    CLASSES,
    CONFUSION,
    FIGURES,
    PREDICTIONS,
    chosen_checkpoint,
    evaluation_folder,
    read_facts,
)
from training.scores import Bin, ClassScore, Ints, Scores, predictions, scores
from training.timing import Timing, time_per_image
from training.writing import replacing

if TYPE_CHECKING:  # torch takes seconds to import, and the report needs none of it
    import torch
    from torch import Tensor, nn

    from training.mapped import Batch
    from training.models import Classifier

FROM_FEATURES = (
    "The frozen backbone's features of these images were kept, so only the head had to run; "
    "the time per image is that of the whole model all the same."
)


@dataclass(frozen=True)
class Evaluation:
    """A checkpoint's scores on one split, and where they came from: `metrics.json`, with the scores beside the rest."""

    run: str
    split: str
    checkpoint: str  # best or last
    epoch: int | None  # of the checkpoint; None where it does not say
    weights: str  # sha256 of the checkpoint's file: a run that went on has another one
    data: str  # digest of the shard index
    contract: str  # digest of the pixel contract
    device: str
    seconds: float
    images_per_second: float  # of the whole pass: reading, computing, and the head alone where features were kept
    from_features: bool  # whether they were kept, so that no image passed the backbone
    timing: Timing  # of the whole model alone
    scores: Scores
    folder: Path
    notes: tuple[str, ...] = ()  # what a person should know beside the figures

    def as_json(self) -> dict[str, Any]:
        """Everything but the place, in one flat object."""
        values = asdict(self)
        del values["folder"]
        timing, figures = values.pop("timing"), values.pop("scores")
        return values | timing | figures


def evaluate(
    run: Path,
    shards: Path,
    split: str | None = None,
    *,
    device: "torch.device | str" = "cpu",
    batch_size: int = 256,
    progress: Progress = silent,
) -> Evaluation:
    """Evaluate a run's best checkpoint on a split (default: test where there is one, else val) and write the evidence.

    Where the features of a frozen backbone are kept for this split, its images need not pass it again. `progress`
    hears of images. Raises UserError: exit 5 where the run and the shards do not belong together, exit 2 for a split
    that is not there.
    """
    from training.checkpoints import load_classifier, read_said

    facts, index = read_facts(run), read_index(shards)
    refuse_mismatch(run, shards, facts, index)
    split = chosen_split(index, split, shards)
    file, note = chosen_checkpoint(run)
    notes = (note,) if note else ()
    model = load_classifier(file, device)
    refuse_other(file, shards, model.classes, model.contract, index)

    asked = Train.model_validate(facts["settings"]) if facts.get("feature_cache") else None
    timing = time_per_image(model, shards, split, rows := index.rows(split))
    part, batches = _inputs(shards, index, split, model, asked, batch_size)
    notes += (FROM_FEATURES,) if part is not model else ()
    started = time.monotonic()
    logits, labels = logits_in_order(part, batches, rows, progress)
    seconds = time.monotonic() - started
    evaluation = Evaluation(
        run=str(facts["run"]),
        split=split,
        checkpoint=file.stem,
        epoch=read_said(file).get("epoch"),
        weights=file_digest(file),
        data=index.digest,
        contract=index.contract.digest,
        device=str(device),
        seconds=round(seconds, 3),
        images_per_second=round(rows / max(seconds, 1e-9), 1),
        from_features=part is not model,
        timing=timing,
        scores=scores(logits, labels, index.classes),
        folder=evaluation_folder(run, split),
        notes=notes,
    )
    table = read_table(shards / "rows.parquet").filter(pl.col("split") == split)
    write_evaluation(evaluation, predictions(table, logits, labels, index.classes))
    return evaluation


def _inputs(
    shards: Path, index: Index, split: str, model: "Classifier", settings: Train | None, batch_size: int
) -> "tuple[nn.Module, Iterable[Batch]]":
    """What gives the logits, and of what: the head of kept features where these settings have some, else the model."""
    from training.batches import in_order
    from training.features import SPLITS, find

    device = model.normalise.scale.device
    if settings is not None and split in SPLITS:
        kept = find(DatasetStore(shards.absolute().parents[1]), index, model, settings)
        if kept is not None:
            return model.head, in_order(kept, split, batch_size, device)
    return model, in_order(shards, split, batch_size, device)


def logits_in_order(
    model: "nn.Module",
    batches: Iterable[tuple["Tensor", "Tensor"]],
    rows: int,
    progress: Progress = silent,
) -> tuple[npt.NDArray[np.float32], Ints]:
    """Logits (N, K) and labels (N,) of all batches, in their order."""
    import torch

    model.eval()
    outputs: list[npt.NDArray[np.float32]] = []
    labels: list[Ints] = []
    done = 0
    with torch.inference_mode():
        for images, truth in batches:  # both may be buffers that the next batch reuses: they are copied at once
            outputs.append(model(images).float().cpu().numpy().copy())
            labels.append(truth.cpu().numpy().copy())
            progress("evaluate", done := done + len(truth), rows)
    return np.concatenate(outputs), np.concatenate(labels)


def chosen_split(index: Index, split: str | None, place: Path) -> str:
    """The split asked for, or test, or val. Raises UserError (exit 2) where it has no rows, naming those that have."""
    there = [name for name in index.splits if index.rows(name)]
    wanted = (split,) if split else ("test", "val")
    if found := [name for name in wanted if name in there]:
        return found[0]
    raise UserError(
        f"{place}: no images in split {' or '.join(wanted)}; there are "
        + (", ".join(f"{name} ({index.rows(name)})" for name in there) or "none at all")
        + ("; name one with --split." if there else "."),
        Exit.USAGE,
    )


def write_evaluation(evaluation: Evaluation, rows: pl.DataFrame) -> None:
    """Publish an evaluation whole: all files into a temporary sibling, then one rename. UserError on a full disk."""
    sweep(evaluation.folder.parent)
    with replacing(evaluation.folder, "If the disk is full, free some space (prune); evaluate again.") as folder:
        folder.mkdir()
        (folder / PREDICTIONS).write_text(rows.write_csv(), "utf-8")
        _write_confusion(evaluation.scores, folder / CONFUSION)
        _write_table(ClassScore, evaluation.scores.classes, folder / CLASSES)
        _write_table(Bin, evaluation.scores.calibration, folder / CALIBRATION)
        (folder / FIGURES).write_text(_a_line_a_key(evaluation.as_json()), "utf-8")
        for file in (*folder.iterdir(), folder):
            flush(file)


def _write_confusion(figures: Scores, file: Path) -> None:
    names = [score.name for score in figures.classes]
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["truth", *names])
        table.writerows([name, *row] for name, row in zip(names, figures.confusion, strict=True))


def _write_table(kind: type[ClassScore] | type[Bin], rows: Sequence[ClassScore | Bin], file: Path) -> None:
    """A row for each value, its fields as columns; an empty cell where there is none."""
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(field.name for field in fields(kind))
        table.writerows(astuple(row) for row in rows)


def _a_line_a_key(values: dict[str, Any]) -> str:
    """JSON for people too: a 250-class matrix stays one line of its file."""
    lines = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
