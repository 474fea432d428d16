"""Heads on a frozen backbone: ten epochs with the feature cache against one pass of the backbone, and the next head.

    python -m benchmarks.heads [ROUNDS]

mobilenet_v2 with ImageNet's weights, 3,407 photographs of 224×224. Each round begins without features. "One pass" is
the backbone over all train and val images by itself, as the cache makes it, without writing anything. Takes about
four minutes a round.
"""

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.measure import photographs, report, rounds
from etl.pipeline import bring
from etl.steps import Site
from manifests.recipe import Extract, Recipe, Train
from manifests.shards import read_index
from manifests.store import DatasetStore
from training.batches import in_order
from training.features import BATCH, SPLITS
from training.runs import made_model, train

WEIGHTS = Path(__file__).resolve().parents[1].parent / "shared" / "weights" / "mobilenet_v2.safetensors"


def asked(**more: object) -> Train:
    frozen = {"model": "torchvision/mobilenet_v2", "weights": str(WEIGHTS), "freeze": "backbone", "epochs": 10}
    return Train.model_validate(frozen | more)


def one_pass(shards: Path) -> None:
    """Every train and val image through the backbone, and nothing else."""
    model = made_model(asked(), read_index(shards), torch.device("cpu")).eval()
    with torch.inference_mode():
        for split in SPLITS:
            for images, _ in in_order(shards, split, BATCH, "cpu"):
                model.features(images)


def ten_epochs(dataset: DatasetStore, key: str) -> None:
    shutil.rmtree(dataset.root / "features", ignore_errors=True)
    train(dataset, key, asked(run="first"), device="cpu", restart=True)


def main(count: int) -> None:
    if not WEIGHTS.is_file():
        sys.exit(f"{WEIGHTS}: the weights for this benchmark are missing; nothing was measured.")
    with tempfile.TemporaryDirectory(prefix="alacena-heads-") as place:
        dataset = DatasetStore(Path(place) / "clothing")
        recipe = Recipe(dataset="clothing", extract=Extract.model_validate({"source": str(photographs())}))
        stage = bring(recipe, Site(dataset, workers=2))["transform"]
        index = read_index(dataset.folder("transform", stage.key))
        images = sum(index.rows(split) for split in SPLITS)
        found = rounds(
            {
                "one pass of the backbone": partial(one_pass, dataset.folder("transform", stage.key)),
                "ten epochs of a head, features and all": partial(ten_epochs, dataset, stage.key),
                "ten epochs of another head": partial(
                    train, dataset, stage.key, asked(run="other", head=(256,)), device="cpu", restart=True
                ),
            },
            count,
        )
    print("seconds: " + "; ".join(f"{name} {[round(each, 1) for each in times]}" for name, times in found.items()))
    report("Heads on a frozen backbone", found, dict.fromkeys(found, images), "images/s", "one pass of the backbone")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
