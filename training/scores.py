"""Figures of logits against labels: accuracy, its interval, the classes, who is taken for whom. Arithmetic alone.

What they are figures of is `training.evaluate`; which of them a pipeline may insist on, `training.gate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.errors import Exit, UserError

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
RESAMPLES = 10_000  # of the bootstrap: the ends of the interval then move by less than 0.1 of its width
PAIRS = 20  # most-confused pairs that are kept
BINS = 15  # of the calibration error, as in Guo et al.
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
class Bin:
    """The images whose predicted class got a probability in (low, high]."""

    low: float
    high: float
    images: int
    confidence: float | None  # mean probability of the predicted class; None where there is no image
    accuracy: float | None  # fraction of them named right; None where there is no image


@dataclass(frozen=True)
class Scores:
    """The figures of N images; precision, recall, F1 and their means are scikit-learn's with zero_division=0."""

    images: int
    accuracy: float  # fraction
    interval: tuple[float, float]  # 95 % of the accuracies of resampled images: percentile bootstrap
    top5: float  # fraction whose class is among the five highest logits
    loss: float  # mean cross-entropy, nats
    balanced_accuracy: float  # mean recall of the classes that have images, as scikit-learn's
    calibration_error: float  # fraction: by how much the stated probabilities miss the accuracy, on average
    macro: Means  # every class counts the same
    weighted: Means  # every image counts the same
    classes: tuple[ClassScore, ...]  # in class order
    confusion: tuple[tuple[int, ...], ...]  # (K, K), rows are the truth
    confused: tuple[Confused, ...]  # most images first
    calibration: tuple[Bin, ...]  # BINS of them, from the least sure on


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
    right, bins = int((predicted == labels).sum()), calibration(logits, labels)
    return Scores(
        images=len(labels),
        accuracy=right / len(labels),
        interval=interval(right, len(labels)),
        top5=in_top(logits, labels, 5),
        loss=-float(log_probabilities(logits)[np.arange(len(labels)), labels].mean()),
        balanced_accuracy=balanced_accuracy(confusion),
        calibration_error=calibration_error(bins),
        macro=means("macro"),
        weighted=means("weighted"),
        classes=tuple(ClassScore(name, *values) for name, values in zip(classes, columns, strict=True)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confused=confused(confusion, classes)[:PAIRS],
        calibration=bins,
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


def balanced_accuracy(confusion: Ints) -> float:
    """Mean recall of the classes that have images, from a confusion matrix (K, K) whose rows are the truth."""
    support = confusion.sum(axis=1)
    here = support > 0
    return float(np.mean(np.diag(confusion)[here] / support[here]))


def calibration(logits: Floats, labels: Ints, bins: int = BINS) -> tuple[Bin, ...]:
    """How often the model was right, by how sure it was: bins of equal width over the predicted class's probability.

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    sure, right = np.exp(log_probabilities(logits).max(axis=1)), logits.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(sure, edges[1:-1], right=True)  # a bin holds its upper edge and not its lower one

    def one(number: int) -> Bin:
        inside = place == number
        found, low, high = int(inside.sum()), float(edges[number]), float(edges[number + 1])
        if not found:
            return Bin(low, high, 0, None, None)
        return Bin(low, high, found, float(sure[inside].mean()), float(right[inside].mean()))

    return tuple(map(one, range(bins)))


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the bins' distances between confidence and accuracy, weighted by their images."""
    filled = [(part.images, part.confidence, part.accuracy) for part in bins]
    apart = sum(found * abs(sure - right) for found, sure, right in filled if sure is not None and right is not None)
    return apart / sum(found for found, _, _ in filled)


def confused(confusion: Ints, classes: Sequence[str]) -> tuple[Confused, ...]:
    """Every pair of classes that was confused: most images first, then the larger share, then class order."""
    support = confusion.sum(axis=1)
    pairs = [
        Confused(classes[t], classes[p], int(confusion[t, p]), float(confusion[t, p] / support[t]))
        for t, p in np.argwhere(confusion).tolist()
        if t != p
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.images, -pair.share)))


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
