"""Which images probably carry the wrong class: `STORE/DATASET/suggest/KEY/suggestions.csv`. Nothing is rejected by it.

A frozen backbone gives each kept image its features once (`training.features`); a classifier that has not seen the
image gives it probabilities; confident learning (`training.confident`) says which labels they speak against.

The classifier is linear discriminant analysis with a shrunk covariance, in closed form: the scatter of each fold is
summed once, whatever the number of folds. A small logistic regression on its out-of-fold discriminants, again out of
fold, makes probabilities of them. With 5 % of the labels of two sets of photographs flipped (two to eight of the seeds
0 to 7), on average over both, this found more of them than the discriminants alone, than cosine nearest neighbours or
an average of the two (features of mobilenet_v2 and of squeezenet1_1), and than logistic regression on the features
(mobilenet_v2); a second pass without the worst suspects did not help. Its worth on other seeds:
python -m benchmarks.mislabelled
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.console import plain, table
from manifests.digests import file_digest, rank
from manifests.errors import Exit, UserError
from manifests.progress import Progress, silent
from manifests.recipe import Train
from manifests.shards import Index, read_index
from manifests.store import DatasetStore, Stage, stage_key
from manifests.table import read_table
from training.confident import Floats, Ints, suspects

if TYPE_CHECKING:  # torch takes seconds to import
    from rich.table import Table

    from training.models import Classifier

FILE = "suggestions.csv"
COLUMNS = {
    "sha256": pl.String,
    "path": pl.String,
    "class": pl.String,  # as the curated table has it
    "likely": pl.String,  # the likeliest other class
    "p_class": pl.Float64,  # probability of its class, from images of other folds alone
    "p_likely": pl.Float64,  # … of the likely one; always the larger of the two
    "score": pl.Float64,  # ½ ln p_likely - ln p_class, in nats: the higher, the more suspicious
}
RULES_VERSION = "1"  # raise it when the same features and classes give other suggestions
FOLDS = 10
SHRINKAGE = 0.3  # of the covariance towards a multiple of the identity; 0.2 to 0.5 differ by under 0.02 of precision
STRENGTH = 0.1  # inverse regularisation of the logistic regression over discriminants of unit deviation
WIDEST = 2048  # features that the covariance is taken of; more are folded to as many
ROWS = 4096  # of features, in double precision at a time
DIGITS = 6  # of what is written: the sums here differ far behind them where another number of threads adds them up
SHOWN = 12  # suggestions listed on screen

Chosen = npt.NDArray[np.bool_]


def suggest(
    dataset: DatasetStore,
    transform_key: str,
    settings: Train,
    *,
    run: Path | None = None,
    device: str = "auto",
    folds: int = FOLDS,
    seed: int = 0,
    progress: Progress = silent,
) -> Stage:
    """Publish the suggestions for the images of a shard set; the stage as it is, where it is there already.

    The backbone is that of the best checkpoint of `run`, else the one that `settings` name by model, weights, pool and
    normalise. Images are those of the shards: rejected ones are not looked at. On the CPU, the same input gives the
    same bytes; features made by another number of threads can move the last digits. Raises UserError for weights none,
    pixels or weights that do not fit, and for too few images.
    """
    from training.features import features_key, image_rows, of_images

    if folds < 2:
        raise UserError(f"folds = {folds}: an image is judged by the others, which takes 2 or more.", Exit.USAGE)
    shards = dataset.folder("transform", transform_key)
    index = read_index(shards)
    curated = _curated(dataset, transform_key)
    model, settings = _of_run(run, index, device) if run else _frozen(settings, index, device)
    asked = {"model": settings.model, "run": run.parent.name if run else None, "folds": folds, "seed": seed}
    inputs = {
        "transform": index.digest,
        "curated": curated.digest,
        "features": features_key(index, model, settings),
        "rules": RULES_VERSION,
    }
    begun = Stage("suggest", stage_key("suggest", asked, inputs), asked, inputs)
    if found := dataset.find("suggest", begun.key):
        return found
    with dataset.publish(begun) as (folder, finish):
        told: Callable[[int, int], None] = partial(progress, "frozen backbone")
        features = of_images(dataset, shards, index, model, settings, progress=told)
        rows = _with_groups(image_rows(shards), dataset, curated)
        labels = (
            rows["class"].replace_strict(index.classes, range(len(index.classes)), return_dtype=pl.Int64).to_numpy()
        )
        numbers = folds_of(rows["group"], labels, folds, seed)
        probabilities, judged = out_of_fold(features, labels, numbers, len(index.classes))
        if not judged.any():
            raise UserError(
                f"{dataset.name}: {len(labels)} images of {len(set(labels.tolist()))} classes are too few for a "
                "suggestion; it takes at least two classes with two images that are no copies of each other."
            )
        listed = suggestions(rows.filter(judged), labels[judged], probabilities[judged], index.classes)
        (folder / FILE).write_text(listed.write_csv(float_precision=DIGITS), "utf-8")
        agree = probabilities[judged].argmax(axis=1) == labels[judged]
        return finish(file_digest(folder / FILE), _counts(rows, listed, judged, float(agree.mean())))


def suggestions(rows: pl.DataFrame, labels: Ints, probabilities: Floats, classes: Iterable[str]) -> pl.DataFrame:
    """COLUMNS of the images that are flagged, most suspicious first; of equal ones by path."""
    found, each, names = suspects(labels, probabilities), np.arange(len(labels)), np.array(list(classes), np.object_)
    every = rows.select("sha256", "path").with_columns(
        pl.Series("class", names[labels], pl.String),
        pl.Series("likely", names[found.likely], pl.String),
        pl.Series("p_class", probabilities[each, labels].round(DIGITS), pl.Float64),
        pl.Series("p_likely", probabilities[each, found.likely].round(DIGITS), pl.Float64),
        pl.Series("score", found.score.round(DIGITS), pl.Float64),
    )
    return every[found.flagged].sort("score", "path", descending=[True, False])


def read_suggestions(folder: Path) -> pl.DataFrame:
    """COLUMNS of a published stage, most suspicious first."""
    return pl.read_csv(folder / FILE, schema=COLUMNS, glob=False)


def suggested(stage: Stage, listed: pl.DataFrame, limit: int = SHOWN) -> "Iterable[str | Table]":
    """For a terminal: how many, and the first of them."""
    counts = stage.counts
    yield (
        f"[bold]{counts['flagged']:,}[/bold] of {counts['judged']:,} images probably carry the wrong class; "
        f"the classifier agrees with {counts['agreement']:.1%} of the classes"
    )
    if counts["judged"] < counts["images"]:
        yield f"Not judged, for want of others of their class: {counts['images'] - counts['judged']:,}"
    if counts["flagged"] and limit:
        first = listed.head(limit).select("path", pl.format("{} → {}", "class", "likely"), "p_class", "p_likely")
        yield table(("image", "class → likely", "probability", "of the likely one"), first.rows())
    if counts["flagged"] > limit:
        yield plain(f"and {counts['flagged'] - limit:,} more in {FILE}")


def folds_of(groups: pl.Series, labels: Ints, folds: int, seed: int) -> Ints:
    """The fold (0 to folds - 1) of each image: classes spread evenly, each group in one fold.

    Dealt out class after class, within a class in an order drawn from (seed, group) alone; a group with several classes
    goes with the smallest of them.
    """
    dealt = pl.DataFrame({"group": groups, "class": labels}).group_by("group").agg(pl.col("class").min())
    drawn = pl.Series("rank", [rank(seed, group) for group in dealt["group"]], pl.String)
    dealt = dealt.with_columns(drawn).sort("class", "rank").with_columns(fold=pl.int_range(pl.len()) % folds)
    return pl.DataFrame({"group": groups}).join(dealt, on="group", how="left", maintain_order="left")["fold"].to_numpy()


def out_of_fold(features: Floats, labels: Ints, folds: Ints, classes: int) -> tuple[npt.NDArray[np.float64], Chosen]:
    """Probabilities (N, K) of each image from the images of other folds, and which images could be judged (N,).

    Those whose class, and one more, has images in another fold. Raises UserError where a feature is not finite.
    """
    from sklearn.linear_model import LogisticRegression

    if not np.isfinite(features).all():
        raise UserError("suggest: the backbone gives features that are not finite; name other weights.", Exit.DIVERGED)
    scores, judged = discriminants(_scaled(features), labels, folds, classes)
    scores -= scores.mean(axis=1, keepdims=True)
    scores /= max(float(scores[judged].std()) if judged.any() else 0.0, 1e-12)
    probabilities = np.zeros_like(scores)
    for fold in np.unique(folds[judged]):
        held, rest = folds == fold, (folds != fold) & judged
        if len(set(labels[rest].tolist())) < 2:
            judged[held] = False
            continue
        fitted = LogisticRegression(C=STRENGTH, tol=1e-8, max_iter=1000).fit(scores[rest], labels[rest])
        probabilities[np.ix_(held, fitted.classes_)] = fitted.predict_proba(scores[held])
    return probabilities, judged


def discriminants(features: Floats, labels: Ints, folds: Ints, classes: int) -> tuple[npt.NDArray[np.float64], Chosen]:
    """The linear discriminants (N, K) of each image, from the images of other folds; and which images have some.

    x·Σ⁻¹μ - ½ μ·Σ⁻¹μ + ln π, with Σ the covariance within classes, shrunk; in units of their spread over the classes'
    own means, for a fold that happens to hold the outliers leaves a smaller Σ to itself. A class without images there
    gets the least of the others.
    """
    scores, judged = np.zeros((len(labels), classes)), np.zeros(len(labels), np.bool_)
    numbers = np.unique(folds)
    scatters, sums, counts = zip(*(_sums(features, labels, folds == fold, classes) for fold in numbers), strict=True)
    for fold, scatter, part, count in zip(numbers, scatters, sums, counts, strict=True):
        rest, there = np.sum(counts, axis=0) - count, np.flatnonzero(np.sum(counts, axis=0) - count)
        if len(there) < 2:
            continue
        means = (np.sum(sums, axis=0) - part)[there] / rest[there, None]
        within = sum(scatters) - scatter - (means.T * rest[there]) @ means
        directions = np.linalg.solve(_shrunk(within / rest.sum()), means.T)  # (F, classes there)
        offsets = np.log(rest[there] / rest.sum()) - 0.5 * (means.T * directions).sum(axis=0)
        apart = means @ directions + offsets
        spread = max(float((apart - apart.mean(axis=1, keepdims=True)).std()), 1e-12)
        for rows in _blocks(folds == fold):
            found = (features[rows].astype(np.float64) @ directions + offsets) / spread
            scores[rows] = found.min(axis=1, keepdims=True)
            scores[np.ix_(rows, there)] = found
            judged[rows] = np.isin(labels[rows], there)
    return scores, judged


def _sums(features: Floats, labels: Ints, chosen: Chosen, classes: int) -> tuple[Any, Any, Any]:
    """Over the chosen rows: Σ x xᵀ (F, F), Σ x by class (K, F), rows by class (K,)."""
    width = features.shape[1]
    scatter, sums = np.zeros((width, width)), np.zeros((classes, width))
    for rows in _blocks(chosen):
        values = features[rows].astype(np.float64)
        scatter += values.T @ values
        np.add.at(sums, labels[rows], values)
    return scatter, sums, np.bincount(labels[chosen], minlength=classes)


def _shrunk(covariance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Towards the identity times the mean variance: Ledoit and Wolf's target, with a fixed share."""
    mean = max(float(np.trace(covariance)) / len(covariance), 1e-9)
    return (1 - SHRINKAGE) * covariance + SHRINKAGE * mean * np.eye(len(covariance))


def _scaled(features: Floats) -> npt.NDArray[np.float32]:
    """Centred, and divided by one number so that the mean variance is 1; folded where there are too many.

    Folding is a count sketch (Charikar, Chen, Farach-Colton, 2002): each feature goes into one of WIDEST, with a sign.
    """
    width = features.shape[1]
    if width > WIDEST:
        drawn = np.random.PCG64(0).random_raw(width)  # raw output: what NumPy keeps from version to version
        order = np.argsort(drawn, kind="stable")
        cuts = np.arange(WIDEST) * width // WIDEST
        signs = np.where(drawn & np.uint64(1), 1, -1).astype(np.float32)
        features = np.concatenate(
            [np.add.reduceat((features[rows] * signs)[:, order], cuts, axis=1) for rows in _blocks(_every(features))]
        )
    centred = (features - features.mean(axis=0, dtype=np.float64)).astype(np.float32)
    spread = float(np.sqrt(np.square(centred, dtype=np.float64).mean()))
    return centred / np.float32(max(spread, 1e-12))


def _every(features: Floats) -> Chosen:
    return np.ones(len(features), np.bool_)


def _blocks(chosen: Chosen) -> Iterable[Ints]:
    rows = np.flatnonzero(chosen)
    return [rows[first : first + ROWS] for first in range(0, len(rows), ROWS)]


def _frozen(settings: Train, index: Index, device: str) -> "tuple[Classifier, Train]":
    """The model whose backbone the settings name. UserError where it would know nothing."""
    import torch

    from training.models import build
    from training.runs import chosen_device, run_statistics

    if settings.weights == "none":
        raise UserError(
            "suggest: weights = none: a backbone of random features says nothing about an image; "
            "name --weights FILE.safetensors or default, or a trained run with --run NAME.",
            Exit.USAGE,
        )
    settings = settings.model_copy(update={"freeze": "backbone"})
    with torch.random.fork_rng(devices=[]):  # its head is random, and not used
        statistics = run_statistics(settings, index)
        model = build(settings, classes=index.classes, contract=index.contract, statistics=statistics)
    return model.to(chosen_device(device)).eval(), settings


def _of_run(run: Path, index: Index, device: str) -> "tuple[Classifier, Train]":
    """The model of a run's best checkpoint. UserError where there is none, or it learned from other pixels."""
    from training.checkpoints import load_classifier
    from training.folders import BEST, read_facts
    from training.runs import chosen_device

    settings = Train.model_validate(read_facts(run)["settings"])
    return load_classifier(run / BEST, chosen_device(device), contract=index.contract), settings


def _curated(dataset: DatasetStore, transform_key: str) -> Stage:
    """The curation that a shard set was made of, found by the digests that the stages between them keep."""
    made = dataset.find("transform", transform_key)
    views = [stage for stage in dataset.published("augment") if made and stage.digest == made.inputs.get("views")]
    digests = {stage.inputs.get("curated") for stage in views}
    if found := [stage for stage in dataset.published("curate") if stage.digest in digests]:
        return found[0]
    place = dataset.folder("transform", transform_key)
    raise UserError(f"{place}: the curation it was made of is gone; run transform again.", Exit.STALE)


def _with_groups(rows: pl.DataFrame, dataset: DatasetStore, curated: Stage) -> pl.DataFrame:
    """Each row with its group of duplicates; an image without one is its own."""
    groups = read_table(dataset.folder("curate", curated.key) / "images.parquet").select("path", "group")
    joined = rows.join(groups, on="path", how="left", maintain_order="left")
    return joined.with_columns(pl.col("group").fill_null(pl.col("sha256")))


def _counts(rows: pl.DataFrame, listed: pl.DataFrame, judged: Chosen, agreement: float) -> dict[str, Any]:
    images, flagged = Counter(rows["class"].to_list()), Counter(listed["class"].to_list())
    pairs = (
        listed.group_by("class", "likely")
        .len("images")
        .sort("images", "class", "likely", descending=[True, False, False])
    )
    return {
        "images": rows.height,
        "judged": int(judged.sum()),
        "flagged": listed.height,
        "agreement": round(agreement, DIGITS),  # share of the judged whose likeliest class is the one they carry
        "per_class": [{"class": name, "images": images[name], "flagged": flagged[name]} for name in sorted(images)],
        "pairs": pairs.head(20).to_dicts(),
    }
