"""Checkpoints: safetensors and nothing else, no pickle; each says all that is needed to build its model again.

The tensors are the model's (`model.NAME`) and, in `last`, those of the optimiser, the random generators and the epoch
under way. All else is JSON under one metadata key: safetensors writes several keys in no fixed order, and the same run
should give the same bytes. Files are written whole: temporary sibling, flush, rename.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract
from manifests.recipe import Train, explain
from manifests.store import flush
from training.models import Classifier, build, load_strictly
from training.writing import replacing

KEY = "alacena"  # of the metadata
FORMAT = 1
MODEL = "model."  # before the names of the model's tensors


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    file: Path
    said: dict[str, Any]  # the metadata
    tensors: dict[str, Tensor]


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def model_tensors(model: Classifier) -> dict[str, Tensor]:
    return {MODEL + name: value for name, value in model.state_dict().items()}


def model_facts(model: Classifier, settings: Train) -> dict[str, Any]:
    """What `load_classifier` builds the model of."""
    mean, deviation = model.normalise.statistics
    return {
        "classes": model.classes,
        "contract": model.contract.model_dump(mode="json"),
        "normalise": model.normalise.name,
        "mean": mean,
        "deviation": deviation,
        "settings": settings.asked(),
    }


def save(file: Path, tensors: dict[str, Tensor], said: dict[str, Any]) -> None:
    """Write or replace a checkpoint at once. Raises UserError where the disk refuses, and keeps the one before."""
    # Copies: safetensors refuses tensors that share memory or do not lie in order, as channels last does not.
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    metadata = {KEY: json.dumps({"format": FORMAT} | said, sort_keys=True, ensure_ascii=False, allow_nan=False)}
    with replacing(file, "If the disk is full, free some space (prune), then go on with: train --resume") as temporary:
        safetensors.torch.save_file(plain, temporary, metadata)
        flush(temporary)


def read_said(file: Path) -> dict[str, Any]:
    """A checkpoint's metadata, without its tensors. Raises UserError for a file that is no checkpoint of ours."""
    try:
        with safe_open(file, framework="pt") as opened:
            metadata: dict[str, str] = opened.metadata() or {}
        said = json.loads(metadata[KEY])
        if said["format"] != FORMAT:
            raise UserError(
                f"{file}: a checkpoint of format {said['format']}; this alacena reads {FORMAT}. Train again.",
                Exit.STALE,
            )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "damaged, or not written by alacena"
        raise UserError(f"{file}: no checkpoint of a run ({reason}); train writes them.", Exit.STALE) from error
    return said


def read(file: Path) -> Checkpoint:
    """A whole checkpoint, its tensors on the CPU."""
    return Checkpoint(file, read_said(file), safetensors.torch.load_file(file))


def load_classifier(
    file: Path, device: torch.device | str = "cpu", *, contract: PixelContract | None = None
) -> Classifier:
    """The model of a checkpoint, from its own metadata and without any download, in eval mode.

    With `contract`, the pixels that it is to be fed: UserError (exit 5) with both sides where the model learned from
    others.
    """
    said = read_said(file)
    try:
        settings = Train.model_validate(said["settings"])
        learned = PixelContract.model_validate(said["contract"])
        statistics = tuple(said["mean"]), tuple(said["deviation"])
    except KeyError as error:
        raise UserError(f"{file}: its metadata lacks {error}; train again.", Exit.STALE) from None
    except ValidationError as error:
        raise UserError(f"{file}: from another version of alacena: {explain(Train, error)}", Exit.STALE) from None
    if contract is not None and contract != learned:
        # "here" is the checkpoint, "there" what it is to be fed
        raise UserError(
            f"{file}: learned from other pixels than these: {'; '.join(learned.differences(contract))}.", Exit.STALE
        )
    with torch.random.fork_rng(devices=[]):  # the random weights it is built with are replaced at once
        model = build(settings, classes=said["classes"], contract=learned, statistics=statistics, load=False)
    load_model(model, read(file))
    return model.to(device).eval()


def load_model(model: Classifier, checkpoint: Checkpoint) -> None:
    """The checkpoint's weights into a model built alike."""
    load_strictly(model, under(MODEL, checkpoint.tensors), str(checkpoint.file), Exit.STALE)
