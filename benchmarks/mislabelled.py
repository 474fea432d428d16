"""Mislabelled images: 5 % of the labels flipped at random, and how many of them each ranking finds.

    python -m benchmarks.mislabelled [SEEDS [STORE]]

Both sets of photographs with the features of a frozen mobilenet_v2, made once (in STORE, kept for the next time, or in
a temporary folder). For each seed: labels flipped, each to another class drawn evenly; probabilities out of fold as
`suggest` makes them; our ranking, and cleanlab's of the same probabilities (benchmarks/requirements.txt installs it).
Precision at the number of flips is recall there too; of a list that is shorter, it is that of the whole list. The
photographs have wrong and doubtful labels of their own: what finds one of those instead of a flip counts as wrong here,
so no ranking can be expected to reach 1. Minutes for the features, then seconds a seed.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from cleanlab.filter import find_label_issues  # pyright: ignore[reportMissingImports] # only here, see requirements.txt
from cleanlab.rank import get_label_quality_scores  # pyright: ignore[reportMissingImports] # the same

from benchmarks.measure import machine, photographs
from etl.pipeline import bring
from etl.steps import Site
from manifests.recipe import Extract, Recipe, Train, Transform
from manifests.shards import read_index
from manifests.store import DatasetStore
from manifests.table import read_table
from training.confident import Suspects, suspects
from training.features import image_rows, of_images
from training.models import build
from training.runs import run_statistics
from training.suggest import FOLDS, folds_of, out_of_fold

WRONG = 0.05  # share of the labels that is flipped
FIRST_SEED = 100  # seeds below 100 were used to choose the method
WORKERS = 2

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Images(NamedTuple):
    """The images of one data set, as `suggest` sees them."""

    features: npt.NDArray[np.float32]
    labels: Ints
    groups: pl.Series
    classes: int
    seconds: float  # for the features, made or read


def main(seeds: int, store: Path) -> None:
    clothing = photographs()
    weights = clothing.parents[1] / "weights" / "mobilenet_v2.safetensors"
    for name, source in {"clothing": clothing, "signs": clothing.parent / "signs" / "Dataset"}.items():
        if not (source.is_dir() and weights.is_file()):
            sys.exit(f"{source} or {weights}: missing; nothing was measured.")
        compare(name, seen(name, source, weights, store), seeds)


def seen(name: str, source: Path, weights: Path, store: Path) -> Images:
    extract = Extract.model_validate({"source": str(source)})
    recipe = Recipe(dataset=name, extract=extract, transform=Transform(size=(224, 224)))
    dataset = DatasetStore(store / name)
    made = bring(recipe, Site(dataset, WORKERS))
    shards = dataset.folder("transform", made["transform"].key)
    index, settings = read_index(shards), Train(model="torchvision/mobilenet_v2", weights=str(weights))
    statistics_of = run_statistics(settings, index)
    started = time.perf_counter()
    model = build(settings, classes=index.classes, contract=index.contract, statistics=statistics_of)
    features = of_images(dataset, shards, index, model, settings, progress=lambda _done, _total: None)
    curated = read_table(dataset.folder("curate", made["curate"].key) / "images.parquet").select("path", "group")
    rows = image_rows(shards).join(curated, on="path", how="left", maintain_order="left")
    labels = rows["class"].replace_strict(index.classes, range(len(index.classes)), return_dtype=pl.Int64)
    seconds = time.perf_counter() - started
    return Images(features, labels.to_numpy(), rows["group"], len(index.classes), seconds)


def flipped(labels: Ints, classes: int, seed: int) -> tuple[Ints, Ints]:
    """The labels with some wrong, and which rows those are."""
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(labels))[: round(WRONG * len(labels))]
    wrong = labels.copy()
    wrong[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
    return wrong, rows


def compare(name: str, images: Images, seeds: int) -> None:
    figures: dict[str, list[dict[str, float]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        labels, rows = flipped(images.labels, images.classes, seed)
        started = time.perf_counter()
        found, probabilities = judged(images, labels, seed)
        seconds = time.perf_counter() - started
        for ranking, order in rankings(labels, probabilities, found).items():
            values = {"at_flips": share(order[: len(rows)], rows)}
            if len(order) < len(labels):  # a set of suspects, not an order of all images
                values |= {"flagged": len(order), "precision": share(order, rows), "recall": share(rows, order)}
            if ranking == "ours, flagged":
                hit = np.intersect1d(order, rows)
                likely = float((found.likely[hit] == images.labels[hit]).mean())
                values |= {"likely": likely, "seconds": seconds}
            figures.setdefault(ranking, []).append(values)
    labels = images.labels  # as they are
    report(name, images, figures, seeds, len(judged(images, labels, 0)[0].flagged))


def judged(images: Images, labels: Ints, seed: int) -> tuple[Suspects, Floats]:
    folds = folds_of(images.groups, labels, FOLDS, seed)
    probabilities, _ = out_of_fold(images.features, labels, folds, images.classes)
    return suspects(labels, probabilities), probabilities


def rankings(labels: Ints, probabilities: Floats, found: Suspects) -> dict[str, Ints]:
    """Row numbers by name of the ranking, most suspicious first: of all images, or of those flagged."""
    orders: dict[str, Ints] = {"ours": np.argsort(-found.score, kind="stable"), "ours, flagged": found.flagged}
    quality: Callable[..., Any] = get_label_quality_scores
    filtered: Callable[..., Any] = find_label_issues
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        for is_adjusted in (False, True) if method != "confidence_weighted_entropy" else (False,):  # it cannot be
            scores = quality(labels, probabilities, method=method, adjust_pred_probs=is_adjusted)
            orders[f"cleanlab {method}{', adjusted' if is_adjusted else ''}"] = np.argsort(scores, kind="stable")
        orders[f"cleanlab find_label_issues, {method}"] = filtered(
            labels, probabilities, return_indices_ranked_by=method, n_jobs=1
        )
    return orders


def share(rows: Ints, among: Ints) -> float:
    """Of the rows, those that are among the others; 1 of none."""
    return float(np.isin(rows, among).mean()) if len(rows) else 1.0


def report(name: str, images: Images, figures: dict[str, list[dict[str, float]]], seeds: int, as_found: int) -> None:
    rows = {
        ranking: {key: spread([each[key] for each in values]) for key in values[0]}
        for ranking, values in figures.items()
    }
    flips = round(WRONG * len(images.labels))
    print(f"\n{name}: {len(images.labels):,} images, {images.classes} classes, {flips} labels flipped; {machine()}")
    print(f"n = {seeds} seeds from {FIRST_SEED} on, mean ± standard deviation; {FOLDS} folds")
    print(f"{'ranking':<58} {'precision at flips':>18} {'flagged':>11} {'precision':>15} {'recall':>15}")
    for ranking, values in rows.items():
        cells = [
            shown(values.get(key), digits)
            for key, digits in (("at_flips", 3), ("flagged", 0), ("precision", 3), ("recall", 3))
        ]
        print(f"{ranking:<58} {cells[0]:>18} {cells[1]:>11} {cells[2]:>15} {cells[3]:>15}")
    ours = rows["ours, flagged"]
    print(f"likely class right, of the flips that we flag: {shown(ours['likely'], 3)}")
    print(f"features {images.seconds:.1f} s, made or read; all else {shown(ours['seconds'], 2)} s a seed")
    print(f"flagged of the labels as they are, none flipped: {as_found}")
    facts = {
        "title": f"mislabelled, {name}",
        "images": len(images.labels),
        "flips": flips,
        "n": seeds,
        "machine": machine(),
    }
    print(json.dumps(facts | {"flagged_as_found": as_found, "feature_seconds": round(images.seconds, 1), "rows": rows}))


def spread(values: list[float]) -> tuple[float, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return round(statistics.mean(values), 4), round(deviation, 4)


def shown(value: tuple[float, float] | None, digits: int) -> str:
    return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}" if value else ""


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if len(sys.argv) > 2:
        main(count, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as place:
            main(count, Path(place))
