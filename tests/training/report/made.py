"""A made-up run on made-up shards, as the trainer and the transform leave them: small, seeded, and fast to make."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.digests import file_digest, rank
from manifests.pixels import Dtype, PixelContract
from manifests.recipe import Train
from manifests.shards import Index, create, describe, open_rows, write_index
from manifests.store import Stage, write_whole
from manifests.table import read_table, write_table
from training.evaluate import Evaluation, write_evaluation
from training.report import write_report
from training.report.evidence import EPOCHS, read_epochs
from training.scores import predictions, scores
from training.timing import Timing


class Made(NamedTuple):
    run: Path
    shards: Path


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def contract(size: int = 8, dtype: Dtype = "uint8", **values: Any) -> PixelContract:
    settings: dict[str, Any] = {"resize": "crop", "interpolation": "bilinear", "channels": "rgb", "decoder": "made 1"}
    return PixelContract(height=size, width=size, dtype=dtype, **settings | values)


def shards(
    folder: Path, classes: Sequence[str], splits: dict[str, int], pixels: PixelContract | None = None, prefix: str = ""
) -> Path:
    """Splits of so many rows; labels go round the classes, a picture is its class's colour with noise."""
    pixels = pixels or contract()
    folder.mkdir(parents=True)
    table: list[dict[str, Any]] = []
    written: dict[str, Any] = {}
    for split, count in splits.items():
        file = folder / f"{split}-00000.safetensors"
        create(file, count, pixels.shape, pixels.dtype)
        rows, draw = open_rows(file, writable=True), np.random.default_rng(len(split))
        for row in range(count):
            label = row % len(classes)
            rows.labels[row] = label
            rows.images[row] = picture(label, pixels, draw)
            path = f"{prefix}{split}/{classes[label]}/{row:05d}.jpg"
            place = {"split": split, "shard": file.name, "row": row}
            table.append(place | {"path": path, "sha256": rank(0, path), "view": 0, "class": classes[label]})
        del rows
        written[split] = [describe(file, count)]
    write_table(pl.DataFrame(table), folder / "rows.parquet")
    means = (0.5,) * pixels.shape[2]
    index = Index(dataset="made", classes=tuple(classes), contract=pixels, mean=means, deviation=means, splits=written)
    write_index(index, folder)
    return folder


def picture(label: int, pixels: PixelContract, draw: np.random.Generator) -> npt.NDArray[Any]:
    """(H, W, C): a disc of the class's colour on a shaded ground."""
    height, width, channels = pixels.shape
    down, across = np.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    colour, ground = np.random.default_rng(label).random((2, channels))
    centre, radius = draw.uniform(0.35, 0.65, 2), draw.uniform(0.18, 0.38)
    inside = np.hypot(down - centre[0], across - centre[1])[..., None] < radius
    values = np.where(inside, colour, ground * (0.4 + 0.6 * down[..., None])) + draw.normal(0, 0.03, pixels.shape)
    return (values.clip(0, 1) * 255).astype(np.uint8) if pixels.dtype == "uint8" else values.clip(0, 1)


def run(folder: Path, index: Index, *, epochs: int = 8, val: bool = True, **facts: Any) -> Path:
    """run.json and metrics.csv of a run that went well."""
    folder.mkdir(parents=True)
    settings = Train(name=folder.parent.name, epochs=max(epochs, 1), model="simple")
    contents: dict[str, Any] = {
        "run": folder.parent.name, "key": folder.name, "settings": settings.asked(), "dataset": index.dataset,
        "transform": "0123456789abcdef", "data": index.digest, "classes": list(index.classes),
        "contract": index.contract.model_dump(mode="json"), "normalise": "imagenet", "mean": [0.485, 0.456, 0.406],
        "deviation": [0.229, 0.224, 0.225], "parameters": 93_514, "trainable": 93_514, "weights": None,
        "device": "cpu", "versions": {"python": "3.11.7", "torch": "2.11.0"},
        "rows": {split: index.rows(split) for split in index.splits}, "feature_cache": None,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(contents | facts), "utf-8")
    finished = Stage("train", folder.name, {}, {}, counts={"epochs": epochs, "stopped": "epochs"})
    write_whole(folder / "stage.json", json.dumps(asdict(finished)))
    draw, lowest = np.random.default_rng(1), 99.0
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(EPOCHS)
        for epoch in range(1, epochs + 1):
            train = 2.2 * np.exp(-epoch / 4) + 0.1
            held = 2.0 * np.exp(-epoch / 3) + 0.45 + 0.03 * epoch + draw.normal(0, 0.03)
            best, lowest = int(held < lowest), min(lowest, held)
            seen = [f"{held:.4f}", f"{1 - held / 3:.4f}"] if val else ["", ""]
            table.writerow([epoch, f"{train:.4f}", f"{1 - train / 3:.4f}", *seen, 0.001, 3.2, 410.0, best])
    return folder


def logits(labels: npt.NDArray[np.int64], classes: int, *, skill: float = 2.5) -> npt.NDArray[np.float32]:
    """Logits that are often right, and otherwise lean to the next class."""
    draw = np.random.default_rng(2)
    out = draw.normal(0, 1.0, (len(labels), classes))
    each, ease = np.arange(len(labels)), draw.normal(1, 0.45, len(labels)).clip(0.4)
    out[each, labels] += skill * ease
    out[each, (labels + 1) % classes] += skill * 0.35 * draw.random(len(labels))
    return (out * 1.6).astype(np.float32)


def evaluation(made: Made, split: str, *, skill: float = 2.5) -> Evaluation:
    """What `evaluate` would write, from logits that no model made."""
    index = Index.model_validate_json((made.shards / "index.json").read_bytes())
    labels = np.concatenate([open_rows(made.shards / s.file).labels for s in index.splits[split]])
    out = logits(labels, len(index.classes), skill=skill)
    best = read_epochs(made.run).filter(pl.col("best") == 1)["epoch"]
    checkpoint = made.run / "best.safetensors"
    checkpoint.touch()
    done = Evaluation(
        run=made.run.parent.name, split=split, checkpoint="best", epoch=best[-1] if len(best) else None,
        weights=file_digest(checkpoint),
        data=index.digest, contract=index.contract.digest, device="cpu", seconds=0.5,
        images_per_second=2 * len(labels), from_features=False, timing=Timing(4.25, 12),
        scores=scores(out, labels, index.classes), folder=made.run / "evaluation" / split,
    )  # fmt: skip
    table = read_table(made.shards / "rows.parquet").filter(pl.col("split") == split)
    write_evaluation(done, predictions(table, out, labels, index.classes))
    return done


def made(
    place: Path,
    classes: Sequence[str] = ("ant", "bee"),
    *,
    splits: dict[str, int] | None = None,
    evaluated: Sequence[str] = ("test",),
    skill: float = 2.5,
    epochs: int = 8,
    val: bool = True,
    pixels: PixelContract | None = None,
    **facts: Any,
) -> Made:
    """A run, its shards and its evaluations under `place`."""
    folder = shards(
        place / "transform" / "0123456789abcdef", classes, splits or {"train": 24, "val": 12, "test": 12}, pixels
    )
    index = Index.model_validate_json((folder / "index.json").read_bytes())
    both = Made(run(place / "runs" / "first" / "fedcba9876543210", index, epochs=epochs, val=val, **facts), folder)
    for split in evaluated:
        evaluation(both, split, skill=skill)
    return both


def report(place: Path, *arguments: object, **settings: object) -> str:
    """The page of a run made so."""
    both = made(place, *arguments, **settings)  # pyright: ignore[reportArgumentType] passed on as they are
    return write_report(*both).read_text("utf-8")
