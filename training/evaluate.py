"""What a run is worth on one split: every image in order through the checkpoint, and the figures of what came out.

`scores` is arithmetic over logits and labels; `evaluate` reads the run and the shards, and writes
`RUN/evaluation/SPLIT/`: metrics.json, predictions.csv, confusion.csv. `training.report` makes pages of them.
"""

import csv
import json
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.progress import Progress, silent
from manifests.shards import Index, read_index
from manifests.store import flush, sweep
from manifests.table import read_table
from training.report.evidence import read_run, refuse_mismatch, refuse_other

if TYPE_CHECKING:  # torch takes seconds to import, and the report needs none of it
    import torch
    from torch import Tensor, nn

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
RESAMPLES = 10_000  # of the bootstrap: the ends of the interval then move by less than 0.1 of its width
PAIRS = 20  # most-confused pairs that are kept
ZERO: Any = 0  # zero_division: 0 without a warning, which scikit-learn's partial types do not know


@dataclass(frozen=True)
class Means:
    """One kind of mean over the classes; all fractions."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassScore:
    """One class; all fractions but the support."""

    name: str
    precision: float  # of the images called so, those that are; 0 where none was called so
    recall: float  # of the images that are, those called so; 0 where there is none
    f1: float
    support: int  # images of this class


@dataclass(frozen=True)
class Confused:
    """A class that is taken for another."""

    truth: str
    predicted: str
    images: int
    share: float  # of the images of the true class


@dataclass(frozen=True)
class Scores:
    """The figures of N images; precision, recall, F1 and their means are scikit-learn's with zero_division=0."""

    images: int
    accuracy: float  # fraction
    interval: tuple[float, float]  # 95 % of the accuracies of resampled images: percentile bootstrap
    top5: float  # fraction whose class is among the five highest logits
    loss: float  # mean cross-entropy, nats
    macro: Means  # every class counts the same
    weighted: Means  # every image counts the same
    classes: tuple[ClassScore, ...]  # in class order
    confusion: tuple[tuple[int, ...], ...]  # (K, K), rows are the truth
    confused: tuple[Confused, ...]  # most images first


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
    images_per_second: float
    scores: Scores
    folder: Path
    notes: tuple[str, ...] = ()  # what a person should know beside the figures

    def as_json(self) -> dict[str, Any]:
        """Everything but the place, in one flat object."""
        values = asdict(self)
        del values["folder"]
        return values | values.pop("scores")


def scores(logits: Floats, labels: Ints, classes: Sequence[str]) -> Scores:
    """The figures of logits (N, K) against labels (N,) in [0, K), N ≥ 1.

    Raises UserError (exit 8) where a logit is not finite: an argmax over it would still be a class, and a lie.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    if wrong := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise UserError(f"logits of {wrong} of {len(logits)} images are not finite: the run diverged.", Exit.DIVERGED)
    predicted, numbers = logits.argmax(axis=1), range(len(classes))

    def means(average: str) -> Means:
        return Means(*map(float, by_sklearn(labels, predicted, average=average)[:3]))

    def by_sklearn(truth: Ints, guess: Ints, average: str | None = None) -> Any:
        return precision_recall_fscore_support(truth, guess, labels=numbers, average=average, zero_division=ZERO)

    columns = zip(*(column.tolist() for column in by_sklearn(labels, predicted)), strict=True)
    confusion = confusion_matrix(labels, predicted, labels=numbers)
    right = int((predicted == labels).sum())
    return Scores(
        images=len(labels),
        accuracy=right / len(labels),
        interval=interval(right, len(labels)),
        top5=in_top(logits, labels, 5),
        loss=-float(log_probabilities(logits)[np.arange(len(labels)), labels].mean()),
        macro=means("macro"),
        weighted=means("weighted"),
        classes=tuple(ClassScore(name, *values) for name, values in zip(classes, columns, strict=True)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confused=confused(confusion, classes)[:PAIRS],
    )


def interval(right: int, images: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % percentile bootstrap of an accuracy.

    Drawing N images with replacement and counting the right ones is one binomial draw, so it is drawn as such.
    """
    drawn = np.random.default_rng(0).binomial(images, right / images, resamples) / images
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def in_top(logits: Floats, labels: Ints, k: int) -> float:
    """Fraction whose class is among the k highest logits; of equal ones the first counts, as in argmax."""
    highest = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((highest == labels[:, None]).any(axis=1).mean())


def log_probabilities(logits: Floats) -> npt.NDArray[np.float64]:
    """Logarithm of the softmax over classes, (N, K), in nats."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def confused(confusion: Ints, classes: Sequence[str]) -> tuple[Confused, ...]:
    """Every pair of classes that was confused: most images first, then the larger share, then class order."""
    support = confusion.sum(axis=1)
    pairs = [
        Confused(classes[t], classes[p], int(confusion[t, p]), float(confusion[t, p] / support[t]))
        for t, p in np.argwhere(confusion).tolist()
        if t != p
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.images, -pair.share)))


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

    `progress` hears of images. Raises UserError: exit 5 where the run and the shards
    do not belong together, exit 2 for a split that is not there.
    """
    from training.batches import in_order
    from training.checkpoints import load_classifier, read_said

    facts, index = read_run(run), read_index(shards)
    refuse_mismatch(run, shards, facts, index)
    split = chosen_split(index, split, shards)
    file, notes = _checkpoint(run)
    model = load_classifier(file, device)
    refuse_other(file, shards, model.classes, model.contract, index)

    rows, started = index.rows(split), time.monotonic()
    logits, labels = logits_in_order(model, in_order(shards, split, batch_size, device), rows, progress)
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
        scores=scores(logits, labels, index.classes),
        folder=run / "evaluation" / split,
        notes=notes,
    )
    table = read_table(shards / "rows.parquet").filter(pl.col("split") == split)
    write_evaluation(evaluation, predictions(table, logits, labels, index.classes))
    return evaluation


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


def predictions(table: pl.DataFrame, logits: Floats, labels: Ints, classes: Sequence[str]) -> pl.DataFrame:
    """A row per image, in shard order; `table` is that split's part of rows.parquet."""
    likely, guess, each = np.exp(log_probabilities(logits)), logits.argmax(axis=1), np.arange(len(labels))
    return table.select("path", "sha256").with_columns(
        pl.Series("class", [classes[label] for label in labels]),
        pl.Series("predicted", [classes[label] for label in guess]),
        pl.Series("probability", likely[each, guess].round(6)),  # of the predicted class
        pl.Series("probability_of_class", likely[each, labels].round(6)),  # of the true class
        pl.Series("correct", guess == labels),
    )


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


def _checkpoint(run: Path) -> tuple[Path, tuple[str, ...]]:
    """The checkpoint to evaluate, and what is to be said of the choice."""
    best, last = run / "best.safetensors", run / "last.safetensors"
    if best.is_file():
        return best, ()
    if last.is_file():
        return last, ("There is no best checkpoint in this run: the last one was evaluated.",)
    raise UserError(f"{run}: neither best.safetensors nor last.safetensors; train the run first.", Exit.STALE)


def write_evaluation(evaluation: Evaluation, rows: pl.DataFrame) -> None:
    """Publish an evaluation whole: all files into a temporary sibling, then one rename."""
    folder = evaluation.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    new, old = (folder.with_name(f".{folder.name}.{state}.{os.getpid()}.tmp") for state in ("new", "old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        rows.write_csv(new / "predictions.csv")
        _write_confusion(evaluation.scores, new / "confusion.csv")
        (new / "metrics.json").write_text(_a_line_a_key(evaluation.as_json()), "utf-8")
        for file in (*new.iterdir(), new):
            flush(file)
        with suppress(FileNotFoundError):
            folder.rename(old)
        new.rename(folder)
        flush(folder.parent)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _write_confusion(figures: Scores, file: Path) -> None:
    names = [score.name for score in figures.classes]
    with file.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["truth", *names])
        table.writerows([name, *row] for name, row in zip(names, figures.confusion, strict=True))


def _a_line_a_key(values: dict[str, Any]) -> str:
    """JSON for people too: a 250-class matrix stays one line of its file."""
    lines = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
