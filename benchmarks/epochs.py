"""An epoch of training from shards, against the same steps on one batch that already lies on the device.

    python -m benchmarks.epochs [ROUNDS] [--quick]

What is beyond 1 is what feeding costs. On the CPU resnet18 at 96 px, STEPS steps of BATCH images a round, about
a minute; where there is a GPU also mobilenet_v2 and resnet50, with the split on the device and with streaming.
"""

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, islice
from pathlib import Path

import torch

from benchmarks.measure import arguments, photographs, report, rounds
from etl.pipeline import bring
from etl.steps import Site
from manifests.recipe import Curate, Extract, Recipe, Train, Transform
from manifests.shards import read_index
from manifests.store import DatasetStore
from training.batches import Batches
from training.mapped import Batch
from training.runs import chosen_device, made_model
from training.step import Step

BATCH = 32
STEPS, QUICK_STEPS = 15, 6
MODELS = {"cpu": ("resnet18",), "cuda": ("resnet18", "mobilenet_v2", "resnet50")}


def main(number: int, is_quick: bool) -> None:
    device = chosen_device("auto")
    with tempfile.TemporaryDirectory() as place:
        recipe = Recipe(
            dataset="clothing",
            extract=Extract.model_validate({"source": str(photographs())}),
            curate=Curate(dedupe="off"),
            transform=Transform(size=(96, 96)),
        )
        dataset = DatasetStore(Path(place) / recipe.dataset)
        shards = dataset.folder("transform", bring(recipe, Site(dataset, 2))["transform"].key)
        for model in MODELS[device.type]:
            compare(model, shards, device, number, QUICK_STEPS if is_quick else STEPS)


def compare(name: str, shards: Path, device: torch.device, number: int, steps: int) -> None:
    """The steps of each kind of feeding in turn, each round another epoch's."""
    settings = Train(model=f"torchvision/{name}", batch_size=BATCH)
    model = made_model(settings, read_index(shards), device).train()
    step = Step(settings, model, 1e-3, None)

    def learn(batches: Iterable[Batch]) -> None:
        for images, labels in islice(batches, steps):
            step.update(step.forward(model.outputs, images, labels)[2])
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    against = "one batch that lies on the device"
    kinds = {"alacena, streaming": False} | (
        {"alacena, the split on the device": True} if device.type == "cuda" else {}
    )
    epochs = count(1)
    sources = {kind: Batches(shards, "train", BATCH, device, seed=0, resident=there) for kind, there in kinds.items()}
    first = next(iter(next(iter(sources.values())).epoch()))
    there = first[0].clone(), first[1].clone()
    rivals: dict[str, Callable[[], object]] = {against: lambda: learn(there for _ in range(steps))}
    rivals |= {kind: partial(_epoch, learn, source, epochs) for kind, source in sources.items()}
    for run in rivals.values():
        run()  # once uncounted
    seconds = rounds(rivals, number)
    for source in sources.values():
        source.close()
    amounts, asked = dict.fromkeys(rivals, steps * BATCH), dict.fromkeys(kinds, round(1 / 1.03, 3))
    report(f"training {name} at 96 px on {device}, batches of {BATCH}", seconds, amounts, "images/s", against, asked)


def _epoch(learn: Callable[[Iterable[Batch]], None], source: Batches, epochs: Iterable[int]) -> None:
    learn(source.epoch(next(iter(epochs))))


if __name__ == "__main__":
    main(*arguments(5, 3))
