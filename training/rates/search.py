"""The learning-rate range test: a rate that grows with every step, until the loss runs away.

Smith, Cyclical Learning Rates for Training Neural Networks (https://arxiv.org/abs/1506.01186). The loss is smoothed by
an exponential mean, corrected for its start; the suggestion is where it falls fastest over the logarithm of the rate.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from manifests.errors import Exit, UserError
from manifests.progress import Progress, silent
from manifests.recipe import Train
from manifests.shards import read_index
from manifests.store import DatasetStore
from training.batches import Batches
from training.listening import Silent
from training.runs import Feeder, chosen_device, made_model, seeded
from training.step import Step, class_weights

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 120
SMOOTHING = 0.95  # share of the mean so far in each smoothed loss
RUNAWAY = 4.0  # times the best smoothed loss: then it is over
FEWEST = 10  # steps before the smoothed loss is one to go by
SPAN = 6  # steps to either side over which its fall is judged
LEAST_FALL = 0.03  # of the loss: less is no fall


@dataclass(frozen=True)
class Curve:
    """Loss by learning rate; `suggested` is None where the loss never fell."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]  # nats, of each step's batch
    smoothed: tuple[float, ...]
    suggested: float | None

    def as_csv(self) -> str:
        rows = zip(self.rates, self.losses, self.smoothed, strict=True)
        return "learning_rate,loss,smoothed\n" + "".join(f"{a:.6g},{b:.6g},{c:.6g}\n" for a, b, c in rows)


def search(
    dataset: DatasetStore, shards: Path, settings: Train, *, device: str = "auto", progress: Progress = silent
) -> Curve:
    """Try rates from LOWEST to HIGHEST on a fresh model of these settings. Nothing of the model is kept."""
    place = chosen_device(device)
    settings = settings.model_copy(update={"ema": None, "compile": False, "unfreeze_after": None})
    with seeded(settings.seed, place):
        index = read_index(shards)
        model = made_model(settings, index, place)
        with Feeder(dataset, shards, index, model, settings, Silent(), lambda: False, True) as feeder:
            inputs = feeder.inputs()
            model.train()  # making features leaves it in eval mode
            weights = class_weights(settings, index.classes, inputs.train.labels)
            step = Step(settings, model, LOWEST, None if weights is None else weights.to(place))
            tried = tried_rates(step, partial(inputs.forward, model), _endless(inputs.train), progress)
            return curve(tried)


def tried_rates(
    step: Step,
    outputs: Callable[[Tensor], tuple[Tensor, ...]],
    batches: Iterator[tuple[Tensor, Tensor]],
    progress: Progress,
) -> list[tuple[float, float]]:
    """Rate and loss of each step, until the loss runs away."""
    found: list[tuple[float, float]] = []
    best = math.inf
    for number, (images, labels) in enumerate(itertools.islice(batches, STEPS)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
        step.set_rate(rate)
        _, loss, total = step.forward(outputs, images, labels)
        value = float(total.detach())
        progress("learning rates", number + 1, STEPS)
        if not math.isfinite(value):
            break
        found.append((rate, float(loss.detach())))
        mean = smoothed([each for _, each in found])[-1]
        best = min(best, mean)
        if number >= FEWEST and mean > RUNAWAY * best:
            break
        step.update(total)
    return found


def _endless(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in itertools.count(1):
        yield from batches.epoch(epoch)


def curve(tried: Sequence[tuple[float, float]]) -> Curve:
    """The curve of what was tried. Raises UserError (exit 8) where the very first losses were not finite."""
    if len(tried) < FEWEST:
        raise UserError(
            f"the loss ran away after {len(tried)} steps, at a learning rate of {LOWEST:g}; "
            "look at the data, or at the normalisation.",
            Exit.DIVERGED,
        )
    rates, losses = zip(*tried, strict=True)
    means = smoothed(losses)
    return Curve(rates, losses, tuple(means), steepest(rates, means))


def smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential mean of the losses so far, each corrected for the zero it began with."""
    mean, found = 0.0, list[float]()
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**number))
    return found


def steepest(rates: Sequence[float], means: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest over log rate, before its lowest; None where it hardly falls.

    Judged over SPAN steps to either side, and not before FEWEST: the first means are of too few batches.
    """
    values = np.asarray(means[FEWEST:])
    lowest = int(np.argmin(values)) if len(values) else 0
    if lowest <= SPAN or values[lowest] > (1 - LEAST_FALL) * values[0]:
        return None
    places = np.arange(lowest + 1)
    before, after = np.maximum(places - SPAN, 0), np.minimum(places + SPAN, lowest)
    slopes = (values[after] - values[before]) / (after - before)  # rates are evenly spaced in their logarithm
    return float(rates[FEWEST + int(np.argmin(slopes))])
