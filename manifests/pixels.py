"""The pixel contract: all that decides which numbers a picture becomes.

It stands in the shard index, in every checkpoint and in every exported model. Two sides that differ are refused with
both shown. `etl.images` fulfils it; nothing else decodes a picture.
"""

from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from manifests.digests import digest
from manifests.errors import Exit, UserError

Resize = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]
Channels = Literal["rgb", "gray"]
Dtype = Literal["uint8", "float16", "bfloat16", "float32"]
Normalise = Literal["imagenet", "half", "dataset", "none"]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation per channel, of values in [0, 1]

# (value / 255 - mean) / deviation. ImageNet's are those that torchvision and timm state with their weights.
NAMED: dict[str, Statistics] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def normalisation(name: str, channels: int, dataset: Statistics | None = None) -> Statistics:
    """Mean and deviation per channel for values in [0, 1]; `dataset` is the train split's own, from the shard index.

    With one channel, a named normalisation is the mean over its three: the deviation of a grey picture is not known
    from that of its colours, and this is what timm does too.
    """
    if name == "dataset":
        if dataset is None:
            raise UserError(
                "normalise = dataset: the shards state no mean and deviation of their train split.", Exit.STALE
            )
        return dataset
    mean, deviation = NAMED[name]
    if channels == 1:
        return (sum(mean) / 3,), (sum(deviation) / 3,)
    return mean, deviation


class PixelContract(BaseModel):
    """What a tensor's pixels are. Frozen; equal contracts have equal digests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int  # pixels
    width: int  # pixels
    resize: Resize  # crop: fill and cut the middle; pad: fit and fill with background; squash: ignore the aspect
    interpolation: Interpolation
    channels: Channels
    dtype: Dtype
    normalise: Normalise | None = None  # None for uint8: the run chooses; else what the shards were stored with
    mean: tuple[float, ...] | None = None  # the numbers of `normalise`, where the shards are float
    deviation: tuple[float, ...] | None = None
    background: str = "#ffffff"  # under transparent pixels, and around a padded picture
    decoder: str  # name and version: another decoder gives other pixels

    @cached_property
    def digest(self) -> str:
        return digest(self.model_dump(mode="json"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one row."""
        return self.height, self.width, 3 if self.channels == "rgb" else 1

    def differences(self, other: "PixelContract") -> list[str]:
        """`size: 224×224 here, 96×96 there` for each field in which the two differ."""
        here, there = self.model_dump(mode="json"), other.model_dump(mode="json")
        return [f"{name}: {here[name]} here, {there[name]} there" for name in here if here[name] != there[name]]
