"""What is asked of a training, and what the report that a recipe repeats said of it."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from manifests.errors import known
from manifests.pixels import Normalise
from manifests.settings import NAME, Settings, Widths, absolute_path, split_pairs

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _freeze(value: Any) -> Any:
    """`backbone`, `none`, or a number of blocks, as a number or as digits."""
    if isinstance(value, str) and value not in {"none", "backbone"}:
        try:
            value = int(value)
        except ValueError:
            raise ValueError(
                "backbone, none, or a number of blocks: 5 the first five, -2 all but the last two"
            ) from None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("backbone, none, or a number of blocks")  # pydantic takes ValueError alone
    return value or "none"


def _class_weights(value: Any) -> Any:
    """`auto`, `none`, or `cat=2,dog=1` as a table."""
    if value in ("auto", "none"):
        return value
    if not isinstance(value, str | dict):
        raise ValueError("auto, none, or a weight for each class that is to count otherwise: cat=2,dog=0.5")
    pairs: dict[str, Any] = split_pairs(value)
    for name, weight in pairs.items():
        try:
            is_weight = 0 < float(weight) < math.inf
        except (TypeError, ValueError):
            is_weight = False
        if not is_weight:
            raise ValueError(f"the weight of {name} is {weight!r}; a number above 0 is expected")
    return pairs


Freeze = Annotated[Literal["none", "backbone"] | int, BeforeValidator(_freeze)]
ClassWeights = Annotated[Literal["none", "auto"] | dict[str, Positive], BeforeValidator(_class_weights)]


class Reported(Settings):
    """What the report that a recipe repeats says of this run; shown beside ours, never used."""

    accuracy: float | None = Field(default=None, ge=0, le=1)
    loss: float | None = Field(default=None, ge=0)
    f1: float | None = Field(default=None, ge=0, le=1)


class Train(Settings):
    run: str | None = Field(
        default=None, alias="name", pattern=NAME, description="Name of the run; default: model and settings."
    )
    model: str = Field(default="simple", description="simple, torchvision/NAME or timm/NAME.")
    weights: str = Field(default="none", description="none, default (the library's own) or FILE (.safetensors, .pth).")
    licence: str | None = Field(
        default=None, description="Licence of the weights, where neither the library nor the file states it."
    )
    freeze: Freeze = Field(
        default="none",
        description="backbone: only the head learns; N: the first N blocks stay; -N: all but the last N.",
    )
    unfreeze_after: int | None = Field(
        default=None, ge=1, description="Epochs after which what is frozen begins to learn; default: never."
    )
    unfreeze_to: Freeze = Field(
        default="none", description="What stays frozen from then on, as for --freeze: -3 lets the last 3 blocks learn."
    )
    unfreeze_learning_rate: Positive | None = Field(
        default=None, description="Step size from then on; default: a tenth of --learning-rate."
    )
    normalise: Normalise | None = Field(
        default=None, description="The model's first layer for uint8 shards; default imagenet."
    )
    pool: Literal["average", "flatten"] | None = Field(
        default=None,
        description="How the backbone's last map becomes features; default: flatten for simple, else average.",
    )
    head: Widths = Field(
        default=(), description="Hidden widths of the head: 256 or 512,128; default: one linear layer."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Before each layer of the head.")
    widths: Widths = Field(default=(32, 64, 128), description="Channels of the blocks of `simple`.")
    views: Literal["all", "rotate"] = Field(
        default="all",
        description="all: each view once an epoch; rotate: each image once, another of its views each time.",
    )
    epochs: int = Field(default=10, ge=1, description="Passes over the train split at the most.")
    batch_size: int = Field(default=32, ge=1, description="Images a step.")
    optimizer: Literal["adam", "adamw", "sgd"] = Field(default="adam", description="Optimiser.")
    learning_rate: Positive = Field(default=1e-3, description="Step size at the start; of onecycle, the highest.")
    weight_decay: NotNegative = Field(default=0.0, description="Per step, as the optimiser defines it.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Of sgd.")
    schedule: Literal["none", "step", "plateau", "exponential", "cosine", "onecycle"] = Field(
        default="none", description="How the learning rate falls."
    )
    warmup_epochs: NotNegative = Field(
        default=0.0, description="Epochs, or parts of one, in which the learning rate rises to what the schedule says."
    )
    step_epochs: int = Field(default=10, ge=1, description="step: epochs between two falls.")
    gamma: float = Field(
        default=0.5, gt=0, lt=1, description="step, exponential and plateau: what the learning rate is multiplied by."
    )
    plateau_epochs: int = Field(
        default=5, ge=0, description="plateau: epochs without a better value that it waits for."
    )
    patience: int | None = Field(
        default=None, ge=0, description="Epochs without a better value before stopping; default: never."
    )
    min_delta: NotNegative | None = Field(
        default=None, description="Better by no more than this is not better, to patience and plateau. [default: 0]"
    )
    semantics: Literal["strict", "keras"] = Field(
        default="strict",
        description="Of patience N: strict bears N epochs and stops at the next; keras stops at the Nth.",
    )
    monitor: Literal["val_loss", "val_accuracy"] = Field(
        default="val_loss", description="What best, patience and plateau look at."
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the truth spread over all classes.")
    class_weights: ClassWeights = Field(
        default="none", description="auto: rare classes count more, by train counts; or cat=2,dog=0.5."
    )
    clip_norm: Positive | None = Field(
        default=None, description="Gradients longer than this, all together, are scaled down to it."
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="Decay of a moving average of the weights, which is then judged and kept."
    )
    precision: Literal["auto", "bf16", "fp16", "off"] = Field(
        default="auto", description="Of the passes: auto is bf16 on a GPU that has it, else off (float32)."
    )
    compile: bool = Field(
        default=False, description="Compile the model (torch.compile): the first steps of a run take much longer."
    )
    deterministic: bool = Field(
        default=False, description="Only algorithms that give the same numbers every time, on a GPU too."
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="Seed of weights, order and dropout.")
    seeds: int = Field(default=1, ge=1, description="Runs with so many seeds, from --seed on: mean and deviation.")
    transform: dict[str, Any] = Field(default={}, json_schema_extra={"recipe_only": True})  # this run's own pixels
    reported: Reported | None = Field(default=None, json_schema_extra={"recipe_only": True})

    def absolute(self) -> Self:
        return self if self.weights == "none" else self.model_copy(update={"weights": absolute_path(self.weights)})

    @field_validator("model")
    @classmethod
    def _of_a_library(cls, value: str) -> str:
        library, _, name = value.partition("/")
        if value != "simple" and not (library in {"torchvision", "timm"} and name):
            raise ValueError(f"unknown. {known(value, ('simple', 'torchvision/NAME', 'timm/NAME'))}")
        return value

    @model_validator(mode="after")
    def _freezing_needs_weights(self) -> "Train":
        if self.freeze != "none" and self.weights == "none":
            raise ValueError(
                f"freeze = {self.freeze} with weights = none would keep random features; name weights or freeze = none"
            )
        if self.unfreeze_after is not None and self.freeze == "none":
            raise ValueError("unfreeze_after without freeze: nothing is frozen; name freeze = backbone or N")
        if self.unfreeze_after is None and (self.unfreeze_to != "none" or self.unfreeze_learning_rate is not None):
            raise ValueError("unfreeze_to and unfreeze_learning_rate need unfreeze_after; name it, or leave them out")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs = {self.warmup_epochs:g} of {self.epochs} epochs: "
                "the learning rate would never be reached; warm up for fewer"
            )
        if self.unfreeze_to == "backbone":
            raise ValueError("unfreeze_to = backbone would unfreeze nothing; name none, or a number of blocks")
        if self.unfreeze_after is not None and self.unfreeze_after >= self.epochs:
            raise ValueError(
                f"unfreeze_after = {self.unfreeze_after} of {self.epochs} epochs: nothing would learn unfrozen; "
                "ask for more epochs"
            )
        return self

    def repeated(self) -> "list[Train]":
        """One run a seed, NAME-seed0, NAME-seed1, …; itself where there is one seed. Needs a name."""
        if self.seeds == 1:
            return [self]
        each = range(self.seed, self.seed + self.seeds)
        return [self.model_copy(update={"seed": seed, "seeds": 1, "run": f"{self.run}-seed{seed}"}) for seed in each]
