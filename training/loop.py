"""The training step and the epoch: settings in as one frozen value, batches as iterators, a record an epoch out.

Nothing is printed or written here: `training.runs` listens to the records, saves and shows. All that changes while a
model learns is in `Trainer`, and `tensors` and `facts` are all of it, so a trainer that is saved between any two steps
and restored goes on bit for bit (on CPU) as if nothing had happened.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from manifests.errors import Exit, UserError
from manifests.recipe import Train
from training.batches import Batches
from training.models import AUXILIARY_WEIGHT, Classifier
from training.schedules import schedule
from training.stopping import Waiting

Outputs = Callable[[Tensor], tuple[Tensor, ...]]  # a batch → logits and auxiliary logits
CHECK_STEPS = 32  # on a GPU: steps between two looks at the losses, each of which waits for the device


class Stopped(Exception):  # noqa: N818 # no error: somebody asked for it
    """Asked to stop, between two steps; the trainer can be saved as it is."""


@dataclass(frozen=True)
class Record:
    """One epoch. Losses are means over images, accuracies fractions; None where there is no validation split."""

    epoch: int  # from 1
    train_loss: float  # of each batch as it was trained on, dropout and all
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    seconds: float  # with validation; of all sittings where it was interrupted
    images_per_second: float  # of training alone
    best: bool  # whether this epoch's monitored value is the best so far


class Trainer:
    """A model that learns from one set of batches and is measured on another.

    `outputs` is the model's own, or its head's alone where the batches hold features already.
    """

    def __init__(
        self, settings: Train, model: Classifier, outputs: Outputs, train: Batches, val: Batches | None
    ) -> None:
        self.settings = settings
        self.model = model
        self.outputs = outputs
        self.train = train
        self.val = val
        self.device = model.normalise.scale.device
        self.optimiser = optimiser(settings, model)
        self.schedule = schedule(settings)
        self.waiting = Waiting(settings.patience)
        self.epoch = 0  # finished
        self.step = 0  # done of the epoch under way
        self.losses = torch.zeros(train.steps, device=self.device)  # of the epoch under way, per step
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)  # images, of the epoch under way
        self.seconds = {"train": 0.0, "val": 0.0}  # of the epoch under way

    @property
    def monitored(self) -> str:
        """Field of `Record` that best, patience and plateau look at: of train where there is nothing to validate on."""
        monitor = self.settings.monitor
        return monitor if self.val is not None else monitor.replace("val_", "train_")

    def epochs(self, stop: Callable[[], bool], progress: Callable[[int, int], None]) -> Iterator[Record]:
        """Learn, to the last epoch or until patience ends. Raises Stopped once `stop()` says so, asked every step.

        `progress` hears the steps done and all steps of the run: once at the start, then after each.
        """
        self._tell(progress)
        while self.epoch < self.settings.epochs and not self.waiting.is_over:
            yield self._learn_epoch(stop, progress)

    def _learn_epoch(self, stop: Callable[[], bool], progress: Callable[[int, int], None]) -> Record:
        rate = self.schedule.rate(self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with self._timed("train"):
            self.model.train()
            for images, labels in self.train.epoch(self.epoch + 1, self.step):
                if stop():
                    self._check(self.step)
                    raise Stopped
                self._learn(images, labels)
                self._tell(progress)
            self._check(self.step)
        with self._timed("val"):
            measured = measure(self.model, self.outputs, self.val, stop) if self.val else (None, None)
        return self._close_epoch(rate, *measured)

    def _tell(self, progress: Callable[[int, int], None]) -> None:
        progress(self.epoch * self.train.steps + self.step, self.settings.epochs * self.train.steps)

    @contextmanager
    def _timed(self, what: str) -> Generator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] += time.monotonic() - started

    def _learn(self, images: Tensor, labels: Tensor) -> None:
        """The training step."""
        self.optimiser.zero_grad(set_to_none=True)
        logits, *auxiliary = self.outputs(images)
        loss = total = cross_entropy(logits, labels)
        for other in auxiliary:
            total = total + AUXILIARY_WEIGHT * cross_entropy(other, labels)
        self.losses[self.step] = torch.where(total.detach().isfinite(), loss.detach(), total.detach())
        if self.device.type == "cpu" or self.step % CHECK_STEPS == 0:
            self._check(self.step + 1)
        total.backward()
        self.optimiser.step()
        self.correct += (logits.argmax(1) == labels).sum()
        self.step += 1

    def _check(self, steps: int) -> None:
        """Stop where a loss of the epoch's first so many steps is not finite. On a GPU this waits for the device."""
        losses = self.losses[steps - 1 : steps] if self.device.type == "cpu" else self.losses[:steps]
        if not bool(losses.isfinite().all()):
            batch = steps - len(losses) + int(losses.isfinite().int().argmin())
            raise _diverged(f"batch {batch + 1}: the loss", self.losses[batch].item(), self.epoch, self.optimiser)

    def _sums(self) -> tuple[float, float]:
        """Mean loss and accuracy of the epoch's train images, each batch by its size."""
        sizes = torch.tensor([b - a for a, b in pairwise(self.train.cuts)], dtype=torch.float64)
        return float(self.losses.double().cpu() @ sizes) / self.train.rows, int(self.correct) / self.train.rows

    def _close_epoch(self, rate: float, val_loss: float | None, val_accuracy: float | None) -> Record:
        if val_loss is not None and not math.isfinite(val_loss):
            raise _diverged("the validation loss", val_loss, self.epoch, self.optimiser)
        train_loss, train_accuracy = self._sums()
        values: dict[str, Any] = {
            "train_loss": train_loss, "train_accuracy": train_accuracy,
            "val_loss": val_loss, "val_accuracy": val_accuracy,
        }  # fmt: skip
        value: float = values[self.monitored]
        value = -value if self.monitored.endswith("accuracy") else value
        self.schedule.saw(value)
        is_best = self.waiting.saw(value)
        self.epoch += 1
        seconds, speed = sum(self.seconds.values()), self.train.rows / max(self.seconds["train"], 1e-9)
        self._begin_epoch()
        return Record(self.epoch, **values, learning_rate=rate, seconds=seconds, images_per_second=speed, best=is_best)

    def _begin_epoch(self) -> None:
        self.step = 0
        self.losses.zero_()
        self.correct.zero_()
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes and is a tensor, but for the model."""
        states = self.optimiser.state_dict()["state"]
        kept = {f"optimiser.{i}.{name}": value for i, state in states.items() for name, value in state.items()}
        kept = {name: value for name, value in kept.items() if isinstance(value, Tensor)}  # sgd begins with None
        kept |= {"epoch.losses": self.losses, "epoch.correct": self.correct, "random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            kept["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return kept

    def facts(self) -> dict[str, Any]:
        """Everything that changes and is no tensor."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "schedule": self.schedule.state(),
            "stopping": self.waiting.state(),
            "seconds": self.seconds,
        }

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go on from what `tensors` and `facts` gave; the model's weights are the caller's to load."""
        learning: list[Tensor] = self.optimiser.param_groups[0]["params"]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, key = name.split(".", 2)
                like = learning[int(number)]
                if value.shape == like.shape:  # fused steps read memory in order: as the weights lie, channels last
                    value = torch.empty_like(like, dtype=value.dtype).copy_(value)
                state.setdefault(int(number), {})[key] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.losses.copy_(tensors["epoch.losses"])
        self.correct.copy_(tensors["epoch.correct"])
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.epoch, self.step = facts["epoch"], facts["step"]
        self.seconds = facts["seconds"]
        self.schedule.restore(facts["schedule"])
        self.waiting.restore(facts["stopping"])


def optimiser(settings: Train, model: Classifier) -> torch.optim.Optimizer:
    """Over what is not frozen; fused: one pass over all parameters instead of ten operations on each."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(learning, rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(learning, rate, weight_decay=decay, fused=True)


def measure(
    model: Classifier, outputs: Outputs, batches: Batches, stop: Callable[[], bool] = lambda: False
) -> tuple[float, float]:
    """Mean loss and accuracy over a split, in eval mode. Raises Stopped once `stop()` says so."""
    model.eval()
    device = model.normalise.scale.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.no_grad():
        for images, labels in batches.epoch():
            if stop():
                raise Stopped
            logits = outputs(images)[0]
            loss += cross_entropy(logits, labels, reduction="sum").double()
            correct += (logits.argmax(1) == labels).sum()
    return float(loss) / batches.rows, int(correct) / batches.rows


def _diverged(what: str, value: float, epoch: int, optimiser: torch.optim.Optimizer) -> UserError:
    rate = optimiser.param_groups[0]["lr"]
    kept = f"the state after epoch {epoch} is kept" if epoch else "nothing was kept"
    return UserError(
        f"epoch {epoch + 1}, {what} is {value}; stopped before it could spoil the weights, {kept}. "
        f"Lower the learning rate (now {rate:g}) and train again with --restart.",
        Exit.DIVERGED,
    )
