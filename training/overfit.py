"""Whether a model can learn one batch by heart: the first thing to try where a run learns nothing.

A model, a learning rate or labels that cannot even do that will not do more. Nothing is kept.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from manifests.progress import Progress, silent
from manifests.recipe import Train
from manifests.shards import read_index
from training.batches import Batches
from training.models import Classifier
from training.runs import chosen_device, made_model, seeded
from training.step import Step

STEPS = 200
ENOUGH = 0.05  # nats: the mean loss under which, with every image right, the batch is learned


@dataclass(frozen=True)
class Overfit:
    """What became of one batch."""

    images: int
    steps: int
    first_loss: float  # nats
    last_loss: float
    accuracy: float  # fraction of the batch, after the last step
    learned: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def overfit(shards: Path, settings: Train, *, device: str = "auto", progress: Progress = silent) -> Overfit:
    """Train on the first batch alone, without dropout, smoothing, weights or decay, until it is learned or for STEPS.

    Batch norm stays in train mode, so the batch is judged as it is trained on.
    """
    plain = {"dropout": 0.0, "label_smoothing": 0.0, "class_weights": "none", "weight_decay": 0.0}
    settings, place = settings.model_copy(update=plain), chosen_device(device)
    with seeded(settings.seed, place):
        model = made_model(settings, read_index(shards), place)
        with Batches(shards, "train", settings.batch_size, place, seed=settings.seed, resident=False) as batches:
            images, labels = (part.clone() for part in next(iter(batches.epoch())))
        step = Step(settings, model, settings.learning_rate, None)
        losses: list[float] = []
        accuracy = 0.0
        for done in range(STEPS):
            logits, loss, total = step.forward(lambda batch: Classifier.outputs(model, batch), images, labels)
            losses.append(float(loss.detach()))
            accuracy = float((logits.argmax(1) == labels).float().mean())
            progress("one batch", done + 1, STEPS)
            if (accuracy == 1.0 and losses[-1] < ENOUGH) or not losses[-1] < float("inf"):
                break
            step.update(total)
    learned = accuracy == 1.0 and losses[-1] < ENOUGH
    return Overfit(len(labels), len(losses), losses[0], losses[-1], accuracy, learned)
