"""Weights from a library or from a file, into a model that must fit them exactly.

Files are safetensors, or what torch saved of plain tensors (.pth, .pt, .bin): nothing that a file says is run.
"""

import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from manifests.errors import Exit, UserError
from manifests.recipe import Train

TORCH = (".pth", ".pt", ".bin")  # how files that torch saved are called; all else is read as safetensors
WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which trainers keep a model's tensors among others


def fetched(fetch: Callable[[], Any], settings: Train, where: str) -> Any:
    """What a library's download gives, its own words on stderr. UserError says what to do where there is no network."""
    try:
        with redirect_stdout(sys.stderr):
            return fetch()
    except Exception as error:  # whatever a network, a hub or a hash can raise: the remedy is the same
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"model = {settings.model!r}, weights = default: they could not be fetched ({reason}). Where there is a "
            f"network, fetch {where} and name the file: --weights FILE",
            Exit.USAGE,
        ) from error


def timm_address(name: str) -> str:
    """Where timm fetches a model's weights from."""
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    hub = getattr(config, "hf_hub_id", None)
    return f"https://huggingface.co/{hub}/resolve/main/model.safetensors" if hub else str(getattr(config, "url", ""))


def load_file(net: nn.Module, weights: str, settings: Train) -> None:
    """A file's tensors into a model as its library makes it. Raises UserError for a file that has others."""
    load_strictly(
        net, read_tensors(Path(weights), settings.model), f"weights = {weights!r}, model = {settings.model!r}"
    )


def read_tensors(file: Path, model: str) -> dict[str, Tensor]:
    """Name → tensor of a weights file, on the CPU. Raises UserError for anything that is not plain tensors."""
    try:
        if file.suffix in TORCH:
            return _plain_tensors(torch.load(file, map_location="cpu", weights_only=True))
        return safetensors.torch.load_file(file)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise UserError(
            f"weights = {str(file)!r}: not a file of plain tensors that can be read ({reason}). "
            f"Known: none, default, or FILE.safetensors or FILE.pth with the tensors of {model}.",
            Exit.RECIPE,
        ) from error


def _plain_tensors(said: Any) -> dict[str, Tensor]:
    """The tensors themselves, or those under the one name that trainers keep them by."""
    for name in WRAPPERS:
        if isinstance(said, dict) and isinstance(said.get(name), dict):
            said = said[name]
    if not isinstance(said, dict) or not all(isinstance(value, Tensor) for value in said.values()):
        raise ValueError("it holds something else than tensors by name")
    return {str(name).removeprefix("module."): value for name, value in said.items()}


def licence(settings: Train) -> str | None:
    """Of the weights a run begins with, as their library or file states it; None for random ones."""
    library, _, name = settings.model.partition("/")
    if settings.weights == "none":
        return None
    if settings.licence:
        return settings.licence
    if settings.weights != "default":
        return _stated(Path(settings.weights)) or "not stated in the file (name it with --licence)"
    if library == "timm":
        import timm

        config: Any = timm.get_pretrained_cfg(name)
        return getattr(config, "license", None) or "not stated by timm"
    from torchvision import models

    best: Any = models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    return best.meta.get("license") or "not stated by torchvision, whose code is BSD-3-Clause"


def _stated(file: Path) -> str | None:
    if file.suffix in TORCH:
        return None
    with safe_open(file, framework="pt") as opened:
        said: dict[str, str] = opened.metadata() or {}
    return said.get("licence") or said.get("license")


def load_strictly(net: nn.Module, tensors: dict[str, Tensor], place: str, code: Exit = Exit.RECIPE) -> None:
    """Every tensor of the module from `tensors` and none left over, or UserError naming the first that is wrong."""
    own = net.state_dict()
    counters = {key: own[key] for key in own if key.endswith(".num_batches_tracked")}  # older files lack them
    found: OrderedDict[str, Tensor] = OrderedDict(counters | {_modern(key): value for key, value in tensors.items()})
    wrong = next(
        (f"{key}: {_shape(own.get(key))} expected, {_shape(found.get(key))} found"
         for key in (*own, *found) if _shape(own.get(key)) != _shape(found.get(key))), None,
    )  # fmt: skip
    if wrong:
        raise UserError(f"{place}: the tensors are not those of this model; the first that differs is {wrong}.", code)
    setattr(found, "_metadata", getattr(own, "_metadata", None))  # noqa: B010 # versions that some models ask for and safetensors cannot carry
    net.load_state_dict(found, strict=True)


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"{tuple(tensor.shape)}"


def _modern(key: str) -> str:
    """torchvision's first DenseNets wrote `denselayer1.norm.1` for what is `denselayer1.norm1` today."""
    if "denselayer" in key:
        for part in ("norm", "relu", "conv"):
            key = key.replace(f".{part}.1.", f".{part}1.").replace(f".{part}.2.", f".{part}2.")
    return key
