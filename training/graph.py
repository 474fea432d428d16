"""A classifier as a file that others run: an ONNX graph of pictures of any size, a torch program of contract pixels.

The graph holds `training.resizing`, the normalisation and the model; whether it says the same is found out by
`training.agreement`. Neither file holds a path of the machine that it was made on.
"""

import importlib.util
import json
import logging
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract
from training.models import Classifier
from training.resizing import Resize

NEEDED = ("onnx", "onnxscript", "onnxruntime")
EXTRA = "alacena.json"  # inside a .pt2: what an ONNX file has as its metadata
SIDES = (45, 51)  # pixels of the picture that is traced: any will do that are neither equal nor the contract's
TRIED = ((1, 40, 30), (3, 21, 64))  # pictures, height, width of the noise that a new graph is tried with
APART = 1e-3  # how far its logits may be from the model's: of the largest, or of 1
INPUT, OUTPUTS = "images", ["logits", "probabilities"]


class Whole(nn.Module):
    """(N, H, W, 3) uint8 RGB, upright → logits (N, K) and probabilities (N, K), both float32."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.resize = Resize(model.contract)
        self.stored = Stored(model.contract)
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(self.stored(self.resize(images)))
        return logits, logits.softmax(1)


class Stored(nn.Module):
    """Whole levels (N, H, W, C) → the same as the shards of this contract keep them."""

    def __init__(self, contract: PixelContract) -> None:
        super().__init__()
        self.dtype = getattr(torch, contract.dtype)
        self.register_buffer("mean", torch.tensor(contract.mean or (0.0,)), persistent=False)
        self.register_buffer("deviation", torch.tensor(contract.deviation or (1.0,)), persistent=False)

    mean: Tensor
    deviation: Tensor

    def forward(self, levels: Tensor) -> Tensor:
        if self.dtype == torch.uint8:
            return levels
        return ((levels.float() / 255 - self.mean) / self.deviation).to(self.dtype)


def refuse_missing(packages: Iterable[str] = NEEDED) -> None:
    """Raise UserError (exit 6) for packages that are not installed, with the command that brings them."""
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"export --format onnx needs {', '.join(missing)}, not installed here; install with: "
            'uv pip install "alacena[export]", or pip install the same.',
            Exit.MISSING,
        )


def write_onnx(model: Classifier, file: Path, said: dict[str, Any]) -> tuple[str, ...]:
    """Write the graph with its metadata, check it, and try it on noise; what is to be said of it.

    The number of pictures is free where the model allows it, else 1. Over 1.5 GB the weights lie beside, in
    FILE.data. Raises UserError (exit 2) for a model that ONNX cannot hold, or that becomes another one in it.
    """
    import onnx

    whole = Whole(model).eval()
    program, notes = _traced(whole)
    for node in program.model.graph.all_nodes():  # each names the lines of our files that it comes from
        node.metadata_props.clear()
    program.model.metadata_props.update(_texts(said))
    program.save(file)
    onnx.checker.check_model(str(file), full_check=True)
    _refuse_wrong(file, whole, most=1 if notes else None)
    return notes


def session(file: Path) -> Any:
    """The graph, ready to run on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def _refuse_wrong(file: Path, whole: Whole, most: int | None) -> None:
    """Raise UserError where the graph gives other logits than the model: a tracer may take for fixed what is not."""
    opened, draw = session(file), torch.Generator().manual_seed(0)
    for pictures, height, width in TRIED:
        noise = torch.randint(0, 256, (most or pictures, height, width, 3), dtype=torch.uint8, generator=draw)
        with torch.no_grad():
            expected = whole(noise)[0]
        said = torch.from_numpy(opened.run(OUTPUTS[:1], {INPUT: noise.numpy()})[0])
        apart, size = float((said - expected).abs().max()), float(expected.abs().max())
        if not apart <= APART * max(1.0, size):  # and not where it is no number
            raise _refused("ONNX", ValueError(f"its graph gives logits that are {apart:.1e} away"))


def _traced(whole: Whole) -> tuple[Any, tuple[str, ...]]:
    """The ONNX program, and what is to be said of it."""
    sides = {1: torch.export.Dim("H"), 2: torch.export.Dim("W")}
    try:
        return _program(whole, 2, {0: torch.export.Dim("N")} | sides), ()
    except Exception:  # whatever a tracer raises: a model that counts its pictures may do with one
        pass
    try:
        return _program(whole, 1, sides), ("this model takes one picture at a time: N is 1 in the graph",)
    except Exception as error:
        raise _refused("ONNX", error) from error


def _program(whole: Whole, pictures: int, free: dict[int, Any]) -> Any:
    example = torch.zeros((pictures, *SIDES, 3), dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        # Traced here, and not by the exporter: where that fails it tries other ways, which may give another model.
        traced = torch.export.export(whole, (example,), dynamic_shapes={"images": free})
        return torch.onnx.export(
            traced,
            dynamo=True,
            input_names=[INPUT],
            output_names=OUTPUTS,
            dynamic_shapes={"images": free},
            verbose=False,
        )


def write_torch(model: Classifier, file: Path, said: dict[str, Any]) -> tuple[str, ...]:
    """Write a torch.export program of the model: (N, height, width, C) as shards keep them → logits (N, K)."""
    program, notes = _exported(model)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with _quiet():
        torch.export.save(program, file, extra_files={EXTRA: json.dumps(said, indent=1, ensure_ascii=False)})
    return notes


def _exported(model: Classifier) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    example = torch.zeros((2, *model.contract.shape), dtype=getattr(torch, model.contract.dtype))
    try:
        return _exported_of(model, example, {0: torch.export.Dim("N")}), ()
    except Exception:  # as above
        pass
    try:
        note = "this model takes one picture at a time: N is 1 in the torch program"
        return _exported_of(model, example[:1], {}), (note,)
    except Exception as error:
        raise _refused("torch.export", error) from error


def _exported_of(model: Classifier, example: Tensor, free: dict[int, Any]) -> torch.export.ExportedProgram:
    with _quiet(), torch.no_grad():
        return torch.export.export(model, (example,), dynamic_shapes={"images": free})


def _refused(what: str, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(f"this model cannot be written for {what} ({reason}); export another.", Exit.USAGE)


@contextmanager
def _quiet() -> Generator[None]:
    """The exporters speak of their own affairs, to stdout and as warnings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _texts(said: dict[str, Any]) -> dict[str, str]:
    """ONNX metadata is text: what is none of it becomes JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for name, value in said.items()
    }
