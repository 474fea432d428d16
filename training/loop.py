"""The epochs of a run: settings in as one frozen value, batches as iterators, a record an epoch out.

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
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from manifests.errors import Exit, UserError
from manifests.recipe import Train
from training import freezing
from training.batches import Batches
from training.checkpoints import under
from training.models import Classifier
from training.schedules import schedule
from training.step import Step, class_weights
from training.stopping import Waiting

CHECK_STEPS = 32  # on a GPU: steps between two looks at the losses, each of which waits for the device
UNFROZEN_RATE = 0.1  # of the learning rate, once what was frozen learns, unless told otherwise

Forward = Callable[[Classifier, Tensor], tuple[Tensor, ...]]  # a batch through a model → logits and auxiliary logits


class Stopped(Exception):  # noqa: N818 # no error: somebody asked for it
    """Asked to stop, between two steps; the trainer can be saved as it is."""


@dataclass(frozen=True)
class Record:
    """One epoch. Losses are means over images, accuracies fractions; None where there is no validation split."""

    epoch: int  # from 1
    train_loss: float  # of each batch as it was trained on: dropout, smoothing, class weights and all
    train_accuracy: float
    val_loss: float | None  # plain cross-entropy
    val_accuracy: float | None
    learning_rate: float  # of the epoch's last step
    seconds: float  # with validation; of all sittings where it was interrupted
    images_per_second: float  # of training alone
    best: bool  # whether this epoch's monitored value is the best so far


@dataclass(frozen=True)
class Inputs:
    """What a phase learns from: pixels through the whole model, or a frozen backbone's features through its head."""

    forward: Forward
    train: Batches
    val: Batches | None


class Trainer:
    """A model that learns from one set of batches and is measured on another.

    A run has one phase, or two: with `unfreeze_after`, what was frozen learns in the second, with a fresh optimiser, a
    learning rate and a schedule of its own. `inputs` is asked for at the start of each, the model being frozen as the
    phase wants it. `phase` is that of the checkpoint it is to be restored from, if any.
    """

    def __init__(self, settings: Train, model: Classifier, inputs: Callable[[], Inputs], *, phase: int = 0) -> None:
        self.settings = settings
        self.model = model
        self.device = model.normalise.scale.device
        self._open = inputs
        self.waiting = Waiting(settings.patience, settings.min_delta or 0.0, settings.semantics)
        average = get_ema_multi_avg_fn(settings.ema) if settings.ema is not None else None
        self.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if average else None
        self.epoch = 0  # finished
        self.seconds = {"train": 0.0, "val": 0.0}  # of the epoch under way
        self._begin_phase(phase)

    def _begin_phase(self, phase: int) -> None:
        self.phase = phase
        settings, first = self.settings, phase == 0
        self.model.freeze(settings.freeze if first else settings.unfreeze_to)
        self.inputs = self._open()
        start, end = self._span
        rate = settings.learning_rate
        if not first:
            rate = settings.unfreeze_learning_rate or rate * UNFROZEN_RATE
        weights = class_weights(settings, self.model.classes, self.train.labels)
        self.learner = Step(settings, self.model, rate, None if weights is None else weights.to(self.device))
        self.schedule = schedule(settings, rate, end - start)
        self.step = 0  # done of the epoch under way
        self.losses = torch.zeros(self.train.steps, device=self.device)  # of the epoch under way, per step
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)  # images, of the epoch under way
        self._statistics = freezing.statistics(self.model.frozen)  # which must be the same after an epoch
        self._forward = torch.compile(self._through) if settings.compile else self._through

    @property
    def _span(self) -> tuple[int, int]:
        """The epochs of this phase: the first, and the one after its last."""
        turn, epochs = self.settings.unfreeze_after, self.settings.epochs
        if turn is None:
            return 0, epochs
        return (0, turn) if self.phase == 0 else (turn, epochs)

    @property
    def train(self) -> Batches:
        return self.inputs.train

    @property
    def judged(self) -> Classifier:
        """What is measured, and kept as best: the moving average where there is one."""
        return self.model if self.average is None else cast(Classifier, self.average.module)

    @property
    def monitored(self) -> str:
        """Field of `Record` that best, patience and plateau look at: of train where there is nothing to validate on."""
        monitor = self.settings.monitor
        return monitor if self.inputs.val is not None else monitor.replace("val_", "train_")

    @property
    def is_over(self) -> bool:
        """At the last epoch, or out of patience; patience ends no phase that another one follows."""
        out_of_patience = self.waiting.is_over and self._span[1] == self.settings.epochs
        return self.epoch >= self.settings.epochs or out_of_patience

    def epochs(self, stop: Callable[[], bool], progress: Callable[[int, int], None]) -> Iterator[Record]:
        """Learn, to the last epoch or until patience ends. Raises Stopped once `stop()` says so, asked every step.

        `progress` hears the steps done and all steps of the run: once at the start, then after each.
        """
        self._tell(progress)
        while not self.is_over:
            if self.epoch == self._span[1]:
                self.waiting.begin_again()
                self._begin_phase(1)
            yield self._learn_epoch(stop, progress)

    def _learn_epoch(self, stop: Callable[[], bool], progress: Callable[[int, int], None]) -> Record:
        with self._timed("train"):
            self.model.train()
            for images, labels in self.train.epoch(self.epoch + 1, self.step):
                if stop():
                    self._check(self.step)
                    raise Stopped
                self._learn(images, labels)
                self._tell(progress)
            self._check(self.step)
        freezing.refuse_moved(self.model.frozen, self._statistics)
        with self._timed("val"):
            measured = self._measured(stop)
        return self._close_epoch(*measured)

    def _measured(self, stop: Callable[[], bool]) -> tuple[float | None, float | None]:
        if self.inputs.val is None:
            return None, None
        with self.learner.precision():
            return measure(self.judged, self.inputs.forward, self.inputs.val, stop)

    def _tell(self, progress: Callable[[int, int], None]) -> None:
        progress(self.epoch * self.train.steps + self.step, self.settings.epochs * self.train.steps)

    @contextmanager
    def _timed(self, what: str) -> Generator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] += time.monotonic() - started

    def _rate(self, step: int) -> float:
        return self.schedule.rate(self.epoch - self._span[0], step, self.train.steps)

    def _through(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.inputs.forward(self.model, images)

    def _learn(self, images: Tensor, labels: Tensor) -> None:
        """One step; a loss that is not finite is found before it can reach the weights (on a GPU: the disk)."""
        self.learner.set_rate(self._rate(self.step))
        logits, loss, total = self.learner.forward(self._forward, images, labels)
        self.losses[self.step] = torch.where(total.detach().isfinite(), loss.detach(), total.detach())
        if self.device.type == "cpu" or self.step % CHECK_STEPS == 0:
            self._check(self.step + 1)
        self.learner.update(total)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.correct += (logits.argmax(1) == labels).sum()
        self.step += 1

    def _check(self, steps: int) -> None:
        """Stop where a loss of the epoch's first so many steps is not finite. On a GPU this waits for the device."""
        losses = self.losses[steps - 1 : steps] if self.device.type == "cpu" else self.losses[:steps]
        if not bool(losses.isfinite().all()):
            batch = steps - len(losses) + int(losses.isfinite().int().argmin())
            raise _diverged(f"batch {batch + 1}: the loss", self.losses[batch].item(), self.epoch, self.learner.rate)

    def _sums(self) -> tuple[float, float]:
        """Mean loss and accuracy of the epoch's train images, each batch by its size."""
        sizes = torch.tensor([b - a for a, b in pairwise(self.train.cuts)], dtype=torch.float64)
        return float(self.losses.double().cpu() @ sizes) / self.train.rows, int(self.correct) / self.train.rows

    def _close_epoch(self, val_loss: float | None, val_accuracy: float | None) -> Record:
        if val_loss is not None and not math.isfinite(val_loss):
            raise _diverged("the validation loss", val_loss, self.epoch, self.learner.rate)
        train_loss, train_accuracy = self._sums()
        values: dict[str, Any] = {
            "train_loss": train_loss, "train_accuracy": train_accuracy,
            "val_loss": val_loss, "val_accuracy": val_accuracy, "learning_rate": self._rate(self.train.steps - 1),
        }  # fmt: skip
        value: float = values[self.monitored]
        value = -value if self.monitored.endswith("accuracy") else value
        self.schedule.saw(value)
        is_best = self.waiting.saw(value)
        self.epoch += 1
        seconds, speed = sum(self.seconds.values()), self.train.rows / max(self.seconds["train"], 1e-9)
        self._begin_epoch()
        return Record(self.epoch, **values, seconds=seconds, images_per_second=speed, best=is_best)

    def _begin_epoch(self) -> None:
        self.step = 0
        self.losses.zero_()
        self.correct.zero_()
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes and is a tensor, but for the model."""
        kept = {f"optimiser.{name}": value for name, value in self.learner.tensors().items()}
        kept |= {"epoch.losses": self.losses, "epoch.correct": self.correct, "random.cpu": torch.get_rng_state()}
        if self.average is not None:
            kept |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        if self.device.type == "cuda":
            kept["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return kept

    def facts(self) -> dict[str, Any]:
        """Everything that changes and is no tensor."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "phase": self.phase,
            "schedule": self.schedule.state(),
            "scaler": self.learner.facts(),
            "stopping": self.waiting.state(),
            "seconds": self.seconds,
        }

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go on from what `tensors` and `facts` gave; the model's weights are the caller's to load."""
        self.learner.restore(under("optimiser.", tensors), facts["scaler"])
        if self.average is not None:
            self.average.load_state_dict(under("average.", tensors))
        self.losses.copy_(tensors["epoch.losses"])
        self.correct.copy_(tensors["epoch.correct"])
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.epoch, self.step = facts["epoch"], facts["step"]
        self.seconds = facts["seconds"]
        self.schedule.restore(facts["schedule"])
        self.waiting.restore(facts["stopping"])


def measure(
    model: Classifier, forward: Forward, batches: Batches, stop: Callable[[], bool] = lambda: False
) -> tuple[float, float]:
    """Mean loss (plain cross-entropy) and accuracy over a split, in eval mode. Raises Stopped once `stop()` says so."""
    model.eval()
    device = model.normalise.scale.device
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.no_grad():
        for images, labels in batches.epoch():
            if stop():
                raise Stopped
            logits = forward(model, images)[0].float()
            loss += cross_entropy(logits, labels, reduction="sum").double()
            correct += (logits.argmax(1) == labels).sum()
    return float(loss) / batches.rows, int(correct) / batches.rows


def _diverged(what: str, value: float, epoch: int, rate: float) -> UserError:
    kept = f"the state after epoch {epoch} is kept" if epoch else "nothing was kept"
    return UserError(
        f"epoch {epoch + 1}, {what} is {value}; stopped, {kept}. "
        f"Lower the learning rate (now {rate:g}) and train again with --restart.",
        Exit.DIVERGED,
    )
