"""Where a model looks: which places of its last feature map speak for a class, for the images that the report shows.

Of that map A (places × channels) and a class's logit y, a place counts by the positive part of Σ_k A_k · ∂y/∂A_k.
Where the map goes to the head by its mean, as in most networks, this is Grad-CAM (Selvaraju et al. 2017,
https://arxiv.org/abs/1610.02391). Where each place has weights of its own (a flat head, a class token that attends),
the mean over places that Grad-CAM takes of the gradient would mix them up; without it, what is shown is what was used
(HiResCAM, Draelos and Carin 2020, https://arxiv.org/abs/2011.08891).

The map is found by hooks and not by name: the last output of any module of the backbone that has places, be it
(B, C, H, W), (B, H, W, C) or tokens (B, N, C). `look` writes RUN/evaluation/SPLIT/attention.safetensors,
`read_attention` reads it, `training.report.sections.attention` draws it.
"""

import json
import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from manifests.errors import Exit, UserError
from manifests.progress import Progress, silent
from manifests.shards import open_rows
from manifests.store import flush
from training.folders import evaluation_folder
from training.report.evidence import Evidence, read_evidence
from training.report.sections.examples import chosen
from training.writing import replacing

if TYPE_CHECKING:  # torch takes seconds to import, and the report needs none of it
    import torch
    from torch import Tensor, nn

    from training.models import Classifier

FILE = "attention.safetensors"
KEY, FORMAT = "alacena", 1  # of the metadata
SHOWN = 6  # images of each kind that the report shows
BATCH = 4  # maps at once: all activations of the backbone are kept meanwhile
LARGEST = 32  # places of a kept map along each side, at the most
PREFIX = 8  # tokens before the places (class, distillation, registers), at the most
NO_MAP = "no layer of this model gives a map of places before its head"

Floats = npt.NDArray[np.float32]


class Look(NamedTuple):
    """What a map is asked for."""

    row: int  # of the split, from 0: that of predictions.csv
    label: int  # the class: its place in the class order


@dataclass(frozen=True)
class Attention:
    """The maps of one evaluation."""

    maps: dict[
        Look, Floats
    ]  # (H, W) in [0, 1], each by its own highest place; all 0 where nothing speaks for the class
    layer: str  # the module whose output was looked at
    why: str = ""  # why there are none


@dataclass(frozen=True)
class Layout:
    """How an output holds places."""

    height: int
    width: int
    order: str  # channels first, channels last or tokens
    prefix: int = 0  # tokens before those of the places

    def places(self, values: "Tensor") -> "Tensor":
        """Any of the three → (B, H, W, C)."""
        if self.order == "tokens":
            return values[:, self.prefix :].unflatten(1, (self.height, self.width))
        return values.permute(0, 2, 3, 1) if self.order == "channels first" else values


def look(
    run: Path,
    shards: Path,
    split: str,
    *,
    device: "torch.device | str" = "cpu",
    progress: Progress = silent,
) -> Path | None:
    """Write the maps for the images of an evaluated split that the report shows; None where the model has none.

    Of the class that was said and, where that was wrong, of the true one. What is written then says why there are
    none. Raises UserError (exit 5) without an evaluation, or of other weights than those that are there.
    """
    from training.checkpoints import load_classifier

    evidence = read_evidence(run, shards)
    figures = evidence.evaluations.get(split)
    if figures is None or evidence.is_outdated_on(split):
        raise UserError(f"{run}: no evaluation of its weights on {split}; make one with: alacena evaluate", Exit.STALE)
    model = load_classifier(run / f"{figures['checkpoint']}.safetensors", device)
    predictions = evidence.predictions_on(split)
    try:
        found = _looked(model, evidence, predictions, progress)
    except (RuntimeError, NotImplementedError) as error:  # of a model that cannot be differentiated here
        found = Attention({}, "", str(error).splitlines()[0] if str(error) else type(error).__name__)
    file = evaluation_folder(run, split) / FILE
    write_attention(file, found, str(figures["weights"]))
    return file if found.maps else None


def wanted(predictions: pl.DataFrame, classes: Sequence[str]) -> list[Look]:
    """What is said of the images that the report shows, and the truth where that is another; each once."""
    parts = (part.head(SHOWN) for part in chosen(predictions.with_row_index("number")))
    labels = {name: label for label, name in enumerate(classes)}
    images = [image for part in parts for image in part.iter_rows(named=True)]
    return list(dict.fromkeys(Look(i["number"], labels[i[c]]) for i in images for c in ("predicted", "class")))


def _looked(model: "Classifier", evidence: Evidence, predictions: pl.DataFrame, progress: Progress) -> Attention:
    looks, maps, layer = wanted(predictions, model.classes), dict[Look, Floats](), ""
    for start in range(0, len(looks), BATCH):
        progress("attention", start, len(looks))
        # Filled up: outputs of windows and heads are told from those of images by their number, and one would mislead.
        part = [*looks[start : start + BATCH], *looks[-1:] * BATCH][:BATCH]
        found = attention(model, _pixels(evidence, predictions, part, model), [look.label for look in part])
        if found is None:
            return Attention({}, "", NO_MAP)
        layer, values = found
        maps |= dict(zip(part, values, strict=True))
    progress("attention", len(looks), len(looks))
    return Attention(maps, layer)


def _pixels(evidence: Evidence, predictions: pl.DataFrame, looks: list[Look], model: "Classifier") -> "Tensor":
    """(B, H, W, C) as stored, on the model's device."""
    import torch

    places = [predictions.row(look.row, named=True) for look in looks]
    rows = [np.asarray(open_rows(evidence.shards / place["shard"]).images[place["row"]]) for place in places]
    kind = getattr(torch, model.contract.dtype)  # bfloat16 is stored as its bits
    return torch.from_numpy(np.stack(rows)).view(kind).to(model.normalise.scale.device)


def attention(model: "Classifier", images: "Tensor", labels: Sequence[int]) -> tuple[str, list[Floats]] | None:
    """Images (B, H, W, C) as stored, a class for each → the module looked at, and a map (h, w) in [0, 1] for each.

    None where no output of the backbone has places. The model is left as it was: weights, gradients, modes and hooks.
    """
    import torch

    shape = (images.shape[0], images.shape[1], images.shape[2])
    with _evaluating(model), torch.enable_grad(), _recorded(model.backbone) as outputs:
        logits = model(images)
    named = _maps(model.backbone, outputs, shape)
    if not named:
        return None
    score = logits.gather(1, torch.tensor(labels, device=logits.device)[:, None]).sum()
    # Behind the last attention a class token goes on alone, and no place counts any more: then back to where they do.
    last = named[-1][2].places(named[-1][1]).shape
    for name, value, found in reversed([each for each in named if each[2].places(each[1]).shape == last]):
        slope = found.places(torch.autograd.grad(score, value, retain_graph=True, materialize_grads=True)[0])
        if bool(slope.any()):
            return name, _scaled((slope * found.places(value)).sum(-1).clamp(min=0))
    name, value, found = named[-1]
    return name, _scaled(torch.zeros_like(found.places(value)[..., 0]))


def _maps(
    backbone: "nn.Module", outputs: list[tuple[str, "Tensor"]], shape: Sequence[int]
) -> list[tuple[str, "Tensor", Layout]]:
    """The outputs that hold places, but for those of one branch of a module that itself gives none any more: what
    passes there is a part of what is used. A sequence has no branches."""
    from torch import nn

    layouts = [(name, value, layout(value.shape, shape)) for name, value in outputs]
    sequences = {name for name, module in backbone.named_modules() if isinstance(module, nn.Sequential)}
    ends = {name for name, _, found in layouts if found is None} - sequences - {""}
    return [
        (name, value, found)
        for name, value, found in layouts
        if found and value.requires_grad and not any(name.startswith(f"{end}.") for end in ends)
    ]


def _scaled(maps: "Tensor") -> list[Floats]:
    """(B, H, W) from 0 on → small maps, each by its own highest place."""
    from torch.nn.functional import adaptive_avg_pool2d

    small = adaptive_avg_pool2d(maps.detach().float(), (min(maps.shape[1], LARGEST), min(maps.shape[2], LARGEST)))
    highest = small.amax((1, 2), keepdim=True)
    return list((small / highest.where(highest > 0, 1)).cpu().numpy())


@contextmanager
def _evaluating(model: "nn.Module") -> Generator[None]:
    """Every module in eval mode while the block runs, and then each as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _recorded(backbone: "nn.Module") -> Generator[list[tuple[str, "Tensor"]]]:
    """The outputs of all modules, with their names, in the order in which they come.

    What goes in asks for its gradient, so that a frozen backbone can be differentiated too; a copy of it goes on, for
    the first layer may write over it.
    """
    from torch import Tensor, nn

    outputs: list[tuple[str, Tensor]] = []

    def begin(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].detach().requires_grad_().clone(), *inputs[1:])

    def heard(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append((name, output))

    handles = [backbone.register_forward_pre_hook(begin)]
    handles += [module.register_forward_hook(partial(heard, name)) for name, module in backbone.named_modules()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def layout(shape: Sequence[int], pictures: Sequence[int]) -> Layout | None:
    """How an output of this shape holds places of pictures (B, H, W); None where it does not, or has but one place."""
    batch, *picture = pictures[:3]
    if not shape or shape[0] != batch:
        return None  # windows and heads lie where the images should
    if len(shape) == 4:
        first = Layout(shape[2], shape[3], "channels first")
        last = Layout(shape[1], shape[2], "channels last")
        return next((each for each in (first, last) if _is_grid(each.height, each.width, picture)), None)
    return _tokens(shape[1], picture) if len(shape) == 3 else None


def _tokens(number: int, picture: Sequence[int]) -> Layout | None:
    """The grid of a sequence: the fewest tokens before it that leave one, and of several the picture's own shape."""
    for prefix in range(min(PREFIX + 1, number)):
        rest = number - prefix
        sides = [(height, rest // height) for height in range(1, rest + 1) if rest % height == 0]
        if grids := [sides for sides in sides if _is_grid(*sides, picture)]:
            height, width = min(grids, key=lambda grid: abs(math.log(grid[0] / grid[1] * picture[1] / picture[0])))
            return Layout(height, width, "tokens", prefix)
    return None


def _is_grid(height: int, width: int, picture: Sequence[int]) -> bool:
    """Whether one stride takes the picture to several places: each side is the picture's by it, rounded either way."""
    least = max(picture[0] / (height + 1), picture[1] / (width + 1))
    most = min(
        side / (places - 1) if places > 1 else math.inf for side, places in zip(picture, (height, width), strict=True)
    )
    return height * width > 1 and least < most


def write_attention(file: Path, found: Attention, weights: str) -> None:
    """The maps as float16 and what they are of as metadata; the same maps give the same bytes."""
    from safetensors.numpy import save_file

    looks = list(found.maps)
    shape = (0, 1, 1) if not looks else (len(looks), *found.maps[looks[0]].shape)
    maps = np.stack([found.maps[each] for each in looks]) if looks else np.zeros(shape)
    said = {"format": FORMAT, "weights": weights, "layer": found.layer, "why": found.why, "looks": looks}
    with replacing(file, "If the disk is full, free some space (prune); evaluate again.") as temporary:
        save_file({"maps": maps.astype(np.float16)}, temporary, {KEY: json.dumps(said, ensure_ascii=False)})
        flush(temporary)


def read_attention(run: Path, split: str, weights: str) -> Attention | None:
    """What `look` wrote for these weights (their sha256); None where there is nothing, or of others."""
    from safetensors import SafetensorError, safe_open

    file = evaluation_folder(run, split) / FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="numpy") as opened:
            said, maps = json.loads((opened.metadata() or {})[KEY]), opened.get_tensor("maps").astype(np.float32)
        if said["format"] != FORMAT or said["weights"] != weights:
            return None
        looks = [Look(*each) for each in said["looks"]]
        return Attention(dict(zip(looks, maps, strict=True)), said["layer"], said["why"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        raise UserError(f"{file}: damaged; remove it and evaluate again.", Exit.STALE) from None
