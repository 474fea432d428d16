"""One training step: forward, loss, backward, clip, update; under the precision that was asked for.

What the epochs make of it is `training.loop`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from manifests.errors import Exit, UserError, known
from manifests.recipe import Train
from training.models import AUXILIARY_WEIGHT, Classifier

Outputs = Callable[[Tensor], tuple[Tensor, ...]]  # a batch → logits and auxiliary logits
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Step:
    """The optimiser of what is not frozen, and all that a step needs beside the batch."""

    def __init__(self, settings: Train, model: Classifier, rate: float, weights: Tensor | None) -> None:
        self.settings = settings
        self.device = model.normalise.scale.device
        self.learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimiser = optimiser(settings, self.learning, rate)
        self.weights = weights  # (classes,) float32, or None where every class counts the same
        dtype = number_type(settings.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype is torch.float16)
        self._dtype = dtype

    def precision(self) -> AbstractContextManager[Any]:
        """Of a forward pass; what is kept is float32 always."""
        return nullcontext() if self._dtype is None else torch.autocast(self.device.type, self._dtype)

    def forward(self, outputs: Outputs, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, classes), the loss that is shown and the loss that is learned from, auxiliary outputs in it."""
        self.optimiser.zero_grad(set_to_none=True)
        with self.precision():
            logits, *auxiliary = _passed(outputs, images)
        loss = total = self._loss(logits, labels)
        for other in auxiliary:
            total = total + AUXILIARY_WEIGHT * self._loss(other, labels)
        return logits, loss, total

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits.float(), labels, weight=self.weights, label_smoothing=self.settings.label_smoothing)

    def update(self, total: Tensor) -> None:
        """Backward, clip, step. Under fp16 a step whose gradients overflow is left out, and the scale is lowered."""
        self.scaler.scale(total).backward()
        if self.settings.clip_norm is not None:
            self.scaler.unscale_(self.optimiser)
            torch.nn.utils.clip_grad_norm_(self.learning, self.settings.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def set_rate(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    @property
    def rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def tensors(self) -> dict[str, Tensor]:
        """What changes and is a tensor, by parameter number and name."""
        states = self.optimiser.state_dict()["state"]
        kept = {f"{i}.{name}": value for i, state in states.items() for name, value in state.items()}
        return {name: value for name, value in kept.items() if isinstance(value, Tensor)}

    def facts(self) -> dict[str, Any]:
        """What changes and is no tensor: the scaler's numbers; empty where nothing is scaled."""
        return self.scaler.state_dict()

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            number, key = name.split(".", 1)
            like = self.learning[int(number)]
            if value.shape == like.shape:  # fused steps read memory in order: as the weights lie, channels last
                value = torch.empty_like(like, dtype=value.dtype).copy_(value)
            state.setdefault(int(number), {})[key] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        if facts:
            self.scaler.load_state_dict(facts)


def _passed(outputs: Outputs, images: Tensor) -> tuple[Tensor, ...]:
    try:
        return outputs(images)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            f"a batch of {len(images)}: batch norm needs more than one value of each channel; "
            "ask for a larger batch_size, or for larger pictures (transform --size).",
            Exit.RECIPE,
        ) from error


def optimiser(settings: Train, learning: list[torch.nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Fused: one pass over all parameters instead of ten operations on each."""
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        made = torch.optim.SGD(learning, rate, momentum=settings.momentum, weight_decay=decay, fused=True)
        if settings.momentum:  # a fused first step that fp16 leaves out would leave the buffers as memory was
            for parameter in learning:
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return made
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(learning, rate, weight_decay=decay, fused=True)


def number_type(precision: str, device: torch.device) -> torch.dtype | None:
    """What the passes compute in where that is not float32: bf16 by itself on a GPU that has it."""
    if precision == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else None
    return PRECISIONS.get(precision)


def check_class_names(settings: Train, classes: tuple[str, ...]) -> None:
    """Raise UserError for a weight of a class that is not there."""
    for name in settings.class_weights if isinstance(settings.class_weights, dict) else ():
        if name not in classes:
            raise UserError(f"class_weights: no class {name!r}. {known(name, classes)}", Exit.RECIPE)


def class_weights(settings: Train, classes: tuple[str, ...], labels: npt.NDArray[np.int64]) -> Tensor | None:
    """What each class counts in the loss, (classes,) float32.

    `auto` is images / (classes × images of the class), scikit-learn's `balanced`; a class without images counts 1.
    Raises UserError for a weight of a class that is not there.
    """
    asked = settings.class_weights
    if asked == "none":
        return None
    counts = np.bincount(labels, minlength=len(classes))
    if isinstance(asked, dict):
        check_class_names(settings, classes)
        return torch.tensor([asked.get(name, 1.0) for name in classes], dtype=torch.float32)
    there = np.count_nonzero(counts)
    weights = np.where(counts > 0, len(labels) / (there * np.maximum(counts, 1)), 1.0)
    return torch.from_numpy(weights.astype(np.float32))
