"""What leaves as a file says the same as the model: onnxruntime and torch.export against the classifier."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from etl.images import array, resized
from etl.opened import as_stored
from manifests.errors import Exit, UserError
from manifests.pixels import NAMED, PixelContract, normalisation
from manifests.recipe import Train
from tests.makers import contract
from training.graph import EXTRA, refuse_missing, write_onnx, write_torch
from training.models import Classifier, build
from training.predict import logits

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

CLASSES = ("ant", "bee", 'a "b", c')
SIZES = [(1, 32, 32), (3, 30, 55), (2, 90, 33), (1, 1, 1), (1, 200, 7)]  # pictures, height, width
NORMALISED: dict[str, Any] = {"normalise": "imagenet", "mean": NAMED["imagenet"][0], "deviation": NAMED["imagenet"][1]}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "crop": ("simple", {"resize": "crop", "interpolation": "bicubic"}),
    "pad, gray, background": ("simple", {"resize": "pad", "channels": "gray", "background": "#1278f0"}),
    "squash, squeezenet": ("torchvision/squeezenet1_1", {"resize": "squash", "interpolation": "lanczos"}),
    "crop, float16": ("simple", {"resize": "crop", "dtype": "float16"} | NORMALISED),
    "squash, nearest, bfloat16": ("simple", {"interpolation": "nearest", "dtype": "bfloat16"} | NORMALISED),
}


class Made(NamedTuple):
    """A model, and the file that it was written to."""

    model: Classifier
    file: Path
    notes: tuple[str, ...]


def classifier(kind: str) -> Classifier:
    name, pixels = KINDS[kind]
    seen = contract(32, **pixels)
    settings = Train.model_validate({"model": name} | ({"widths": (6,)} if name == "simple" else {}))
    statistics = normalisation("imagenet", seen.shape[2])
    torch.manual_seed(0)
    return build(settings, classes=CLASSES, contract=seen, statistics=statistics, load=False).eval()


@cache
def made(kind: str) -> Made:
    """Written once for all tests: an export takes seconds."""
    model, file = classifier(kind), Path(mkdtemp()) / "model.onnx"
    return Made(model, file, write_onnx(model, file, {"classes": CLASSES, "digest": model.contract.digest}))


def noise(pictures: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (pictures, height, width, 3), dtype=np.uint8)


def pixels(picture: npt.NDArray[np.uint8], seen: PixelContract) -> npt.NDArray[Any]:
    """As a shard keeps it."""
    image = Image.fromarray(picture).convert("RGB" if seen.channels == "rgb" else "L")
    return as_stored(array(resized(image, seen), seen), seen)


def session(file: Path) -> Any:
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", KINDS)
class TestOnnx:
    """The graph takes pictures of any size and gives the logits that alacena gives."""

    def test_logits_are_those_of_alacena_for_any_size_and_number(self, kind: str):
        model, file, notes = made(kind)
        opened = session(file)
        assert notes == ()
        for size in SIZES:
            pictures = noise(*size)
            expected = logits(model, np.stack([pixels(each, model.contract) for each in pictures]))
            said, likely = opened.run(["logits", "probabilities"], {"images": pictures})
            assert said.dtype == likely.dtype == np.float32
            assert np.abs(said - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
            assert np.allclose(likely, torch.tensor(expected).softmax(1).numpy(), atol=1e-4)

    def test_it_says_what_it_takes_and_gives(self, kind: str):
        opened = session(made(kind).file)
        assert [(each.name, each.shape, each.type) for each in opened.get_inputs()] == [
            ("images", ["N", "H", "W", 3], "tensor(uint8)")
        ]
        assert [(each.name, each.shape) for each in opened.get_outputs()] == [
            ("logits", ["N", 3]),
            ("probabilities", ["N", 3]),
        ]

    def test_classes_and_contract_stand_in_its_metadata(self, kind: str):
        model, file, _ = made(kind)
        said = session(file).get_modelmeta().custom_metadata_map
        assert json.loads(said["classes"]) == list(CLASSES)
        assert said["digest"] == model.contract.digest

    def test_it_holds_no_path_of_this_machine(self, kind: str):
        content = made(kind).file.read_bytes()
        assert b".py" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


class TestTorch:
    """A torch.export program takes the contract's pixels, as many as there are."""

    @pytest.mark.parametrize("kind", ["pad, gray, background", "crop, float16"])
    def test_logits_are_those_of_the_model(self, kind: str, tmp_path: Path):
        model = classifier(kind)
        assert write_torch(model, tmp_path / "model.pt2", {"classes": CLASSES}) == ()
        extra = {EXTRA: ""}
        program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
        assert json.loads(extra[EXTRA]) == {"classes": list(CLASSES)}
        for count in (1, 2, 5):
            stored = np.stack([pixels(each, model.contract) for each in noise(count, 40, 50)])
            assert np.allclose(program(torch.from_numpy(stored)).detach().numpy(), logits(model, stored), atol=1e-5)


class Counting(nn.Module):
    """A backbone that goes through its pictures one by one, so that their number is part of it."""

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C)
        return torch.stack([images[number].mean(dim=(1, 2)) for number in range(len(images))])


class Deciding(nn.Module):
    """A backbone that decides by what it sees, which no graph can hold."""

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C)
        return images.mean(dim=(2, 3)) if images.sum() > 0 else images.amax(dim=(2, 3))


class Spelling(nn.Module):
    """A backbone that goes by how a number is written: while it is traced, that is the name of something unknown."""

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C)
        return images.mean(dim=(2, 3)) * len(str(images.sum().item()))


def with_backbone(backbone: nn.Module) -> Classifier:
    model = classifier("crop")
    model.backbone, model.head = backbone, nn.Sequential(nn.Linear(3, 3))
    return model.eval()


class TestHardModels:
    """What cannot be had is said."""

    def test_a_model_that_counts_its_pictures_takes_one_at_a_time(self, tmp_path: Path):
        model = with_backbone(Counting())
        notes = write_onnx(model, tmp_path / "model.onnx", {})
        assert notes == ("this model takes one picture at a time: N is 1 in the graph",)
        opened = session(tmp_path / "model.onnx")
        assert opened.get_inputs()[0].shape == [1, "H", "W", 3]
        picture = noise(1, 20, 30)
        expected = logits(model, pixels(picture[0], model.contract)[None])
        assert np.allclose(opened.run(["logits"], {"images": picture})[0], expected, atol=1e-4)
        assert "one picture at a time" in write_torch(model, tmp_path / "model.pt2", {})[0]

    @pytest.mark.parametrize(
        ("backbone", "why"), [(Deciding(), "data-dependent"), (Spelling(), "its graph gives logits")]
    )
    def test_a_model_that_no_graph_can_hold_is_refused(self, tmp_path: Path, backbone: nn.Module, why: str):
        with pytest.raises(UserError, match=f"cannot be written for ONNX .*{why}") as caught:
            write_onnx(with_backbone(backbone), tmp_path / "model.onnx", {})
        assert caught.value.code == Exit.USAGE

    def test_packages_that_are_not_there_are_named_with_the_command(self):
        with pytest.raises(UserError, match=r"needs no_such_package, .*uv pip install \"alacena\[export\]\"") as caught:
            refuse_missing(("json", "no_such_package"))
        assert caught.value.code == Exit.MISSING
