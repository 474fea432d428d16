from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from manifests.errors import Exit, UserError
from manifests.pixels import normalisation
from manifests.recipe import Train, Transform
from tests.training.makers import CLASSES, contract
from training.models import Classifier, build, try_on

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "weights"


def model(size: int = 32, *, channels: Any = "rgb", dtype: Any = "uint8", **asked: Any) -> Classifier:
    settings = Train(**asked)
    statistics = normalisation(settings.normalise or "imagenet", 3 if channels == "rgb" else 1, None)
    pixels = contract(size, channels=channels, dtype=dtype)
    return build(settings, classes=CLASSES, contract=pixels, statistics=statistics)


def pictures(count: int = 2, size: int = 32, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, size, size, channels), dtype=torch.uint8, generator=generator)


def features(found: Classifier) -> int:
    return next(layer.in_features for layer in found.head if isinstance(layer, nn.Linear))


class TestNormalise:
    """Stored pixels become what the model learns from, without a copy that reorders them."""

    @pytest.mark.parametrize("name", ["imagenet", "half", "none"])
    def test_uint8_is_normalised_as_the_name_says(self, name: Any) -> None:
        images = pictures()
        mean, deviation = (torch.tensor(part).view(1, 3, 1, 1) for part in normalisation(name, 3))
        wanted = (images.permute(0, 3, 1, 2) / 255 - mean) / deviation
        torch.testing.assert_close(model(normalise=name).normalise(images), wanted, atol=1e-6, rtol=1e-5)

    @pytest.mark.parametrize("needs_gradient", [False, True])  # in the same memory, and in memory of its own
    def test_lines_are_scaled_as_channels_are_to_the_last_bit_or_two(self, needs_gradient: bool) -> None:
        normalise, images = model(normalise="imagenet").normalise, pictures(5)
        exact = images.permute(0, 3, 1, 2).double() * normalise.scale.double() + normalise.shift.double()
        found = normalise(images.float().requires_grad_() if needs_gradient else images).detach()
        torch.testing.assert_close(found, exact.float(), rtol=2**-22, atol=2**-22)

    def test_the_memory_is_the_same_each_time_and_grows_with_the_batch(self) -> None:
        normalise = model(normalise="imagenet").normalise
        with torch.inference_mode():
            small, large = normalise(pictures(2)).clone(), normalise(pictures(5)).data_ptr()
        again = normalise(pictures(2))  # outside of that mode, and smaller
        assert torch.equal(small, again)
        assert again.data_ptr() == large

    def test_pixels_that_need_a_gradient_get_memory_of_their_own(self) -> None:
        normalise = model(normalise="imagenet").normalise
        for _ in range(2):
            images = pictures().float().requires_grad_()
            normalise(images).sum().backward()
            assert torch.equal(normalise.scale.flatten().expand_as(images), torch.as_tensor(images.grad))

    def test_a_backward_pass_that_came_too_late_is_refused(self) -> None:
        found = model(widths="8").train()
        early = found(pictures(2)).sum()
        found(pictures(2))
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            early.backward()

    def test_the_result_is_channels_last_in_memory(self) -> None:
        assert model().normalise(pictures()).is_contiguous(memory_format=torch.channels_last)

    def test_stored_floats_are_only_permuted(self) -> None:
        images = torch.rand(2, 8, 8, 3)
        assert torch.equal(images.permute(0, 3, 1, 2), model(8, dtype="float32", widths="8").normalise(images))

    def test_stored_floats_are_not_normalised_twice(self) -> None:
        with pytest.raises(UserError, match="stored normalised by imagenet") as caught:
            model(8, dtype="float16", normalise="half")
        assert caught.value.code == Exit.RECIPE


class TestNames:
    """A model by name takes pictures of the contract's size and gives a row of logits each; it trains as well."""

    @pytest.mark.parametrize(
        ("name", "size", "channels", "pool", "expected"),
        [
            ("simple", 32, "rgb", "average", 128),
            ("simple", 32, "gray", "flatten", 128 * 4 * 4),
            ("torchvision/resnet18", 32, "gray", "average", 512),
            ("torchvision/resnet18", 64, "rgb", "flatten", 512 * 2 * 2),
            ("torchvision/mobilenet_v2", 32, "rgb", "average", 1280),
            ("torchvision/squeezenet1_1", 48, "rgb", "average", 512),
            ("torchvision/squeezenet1_1", 48, "gray", "flatten", 512 * 2 * 2),
            ("torchvision/densenet121", 32, "rgb", "average", 1024),
            ("torchvision/convnext_tiny", 32, "rgb", "average", 768),
            ("torchvision/swin_t", 32, "rgb", "average", 768),
            ("torchvision/shufflenet_v2_x0_5", 32, "rgb", "average", 1024),
            ("timm/mobilevit_xxs", 32, "rgb", "average", 320),
            ("timm/mobilevit_xxs", 64, "gray", "flatten", 320 * 2 * 2),
        ],
    )
    def test_by_name(self, name: str, size: int, channels: Any, pool: Any, expected: int) -> None:
        found = model(size, channels=channels, model=name, pool=pool)
        images = pictures(2, size, 3 if channels == "rgb" else 1)
        assert features(found) == expected
        (logits,) = found.outputs(images)
        logits.sum().backward()
        assert logits.shape == (2, 3)
        assert next(found.backbone.parameters()).grad is not None

    def test_vgg_is_flattened_as_keras_flattens_it(self) -> None:
        assert features(model(224, model="torchvision/vgg11", pool="flatten")) == 25088

    @pytest.mark.parametrize(("name", "size", "outputs"), [("inception_v3", 75, 2), ("googlenet", 32, 3)])
    def test_auxiliary_outputs_are_there_in_training_only(self, name: str, size: int, outputs: int) -> None:
        found = model(size, model=f"torchvision/{name}")
        images = pictures(2, size)
        assert [tuple(one.shape) for one in found.outputs(images)] == [(2, 3)] * outputs
        assert [tuple(one.shape) for one in found.eval().outputs(images)] == [(2, 3)]

    def test_the_head_is_data(self) -> None:
        found = model(head="16,8", dropout=0.1)
        kinds = [type(layer).__name__ for layer in found.head]
        assert kinds == ["Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
        assert [layer.out_features for layer in found.head if isinstance(layer, nn.Linear)] == [16, 8, 3]

    def test_the_head_of_the_features_is_the_model(self) -> None:
        found, images = model().eval(), pictures()
        assert torch.equal(found(images), found.head(found.features(images)))


class TestRefusal:
    """What cannot work is refused by a sentence that helps, before any work."""

    @pytest.mark.parametrize(
        ("asked", "size", "words"),
        [
            ({"model": "torchvision/resnet81"}, 32, "Did you mean 'resnet18'"),
            ({"model": "timm/mobilevit_sx"}, 32, "Did you mean 'mobilevit_"),
            ({"model": "torchvision/vit_b_16"}, 96, "does not take pictures of 96×96"),
            ({"model": "simple"}, 4, "does not take pictures of 4×4"),
            ({"model": "torchvision/densenet121", "pool": "flatten"}, 32, "pools inside"),
            ({"model": "simple", "weights": "default"}, 32, "simple has no pretrained weights"),
            ({"model": "torchvision/resnet18", "weights": "missing.safetensors"}, 32, "there is no such file"),
        ],
    )
    def test_refused(self, asked: dict[str, Any], size: int, words: str) -> None:
        with pytest.raises(UserError, match=words) as caught:
            model(size, **asked)
        assert caught.value.code == Exit.RECIPE

    def test_weights_that_cannot_be_fetched_say_which_file_would_help(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
        with pytest.raises(UserError, match=r"fetch https://.*squeezenet1_1.*--weights FILE"):
            model(model="torchvision/squeezenet1_1", weights="default")


class TestWeights:
    """A file loads strictly into the library's model before its classifier goes."""

    def saved(self, place: Path, name: str = "squeezenet1_1") -> tuple[Path, dict[str, torch.Tensor]]:
        from torchvision import models

        tensors = models.get_model(name, weights=None).state_dict()
        safetensors.torch.save_file(tensors, place / "weights.safetensors")
        return place / "weights.safetensors", tensors

    def test_the_backbone_is_the_files(self, tmp_path: Path) -> None:
        file, tensors = self.saved(tmp_path)
        found = model(model="torchvision/squeezenet1_1", weights=str(file)).backbone.state_dict()
        assert found
        assert all(torch.equal(tensors[name], value) for name, value in found.items())

    def test_one_channel_sees_a_grey_picture_as_three_did(self, tmp_path: Path) -> None:
        file, _ = self.saved(tmp_path)
        asked = {"model": "torchvision/squeezenet1_1", "weights": str(file), "normalise": "half"}
        colour, grey = model(48, **asked).eval(), model(48, channels="gray", **asked).eval()
        images = pictures(2, 48, 1)
        wanted = colour.features(images.expand(-1, -1, -1, 3))
        torch.testing.assert_close(grey.features(images), wanted, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
    def test_the_first_tensor_that_differs_is_named(self, tmp_path: Path, change: str) -> None:
        file, tensors = self.saved(tmp_path)
        value = tensors.pop("features.3.squeeze.bias")
        if change != "missing":
            tensors["features.3.squeeze.bias" if change == "shape" else "strange"] = value[:3]
        if change == "unexpected":
            tensors["features.3.squeeze.bias"] = value.clone()
        safetensors.torch.save_file(tensors, file)
        with pytest.raises(UserError, match="strange" if change == "unexpected" else r"features\.3\.squeeze\.bias"):
            model(model="torchvision/squeezenet1_1", weights=str(file))

    def test_models_that_ask_for_their_version_load_too(self, tmp_path: Path) -> None:
        file, _ = self.saved(tmp_path, "mnasnet0_5")
        assert features(model(model="torchvision/mnasnet0_5", weights=str(file))) == 1280

    @pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
    def test_real_weights(self, name: str) -> None:
        file = WEIGHTS / f"{name}.safetensors"
        if not file.is_file():
            pytest.skip(f"{file} is not here")
        found = model(64, model=f"torchvision/{name}", weights=str(file), freeze="backbone").eval()
        features = found.features(pictures(4, 64))
        assert found(pictures(4, 64)).isfinite().all()
        assert features.std(0).mean() > 0.01  # different pictures, different features


class TestFrozen:
    """A frozen backbone keeps its weights and its statistics, whatever mode the model is in."""

    def test_nothing_of_the_backbone_moves(self, tmp_path: Path) -> None:
        file, _ = TestWeights().saved(tmp_path, "resnet18")
        found = model(model="torchvision/resnet18", weights=str(file), freeze="backbone", dropout=0.5).train()
        before = {name: value.clone() for name, value in found.backbone.state_dict().items()}
        learning = [parameter for parameter in found.parameters() if parameter.requires_grad]
        optimiser = torch.optim.SGD(learning, lr=1.0)
        for _ in range(2):
            found.outputs(pictures(4))[0].square().sum().backward()
            optimiser.step()
        after = found.backbone.state_dict()
        assert sum(p.numel() for p in learning) == sum(p.numel() for p in found.head.parameters())
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert not found.backbone.training
        assert found.head.training


class TestTryOn:
    """Whether a model can take such pixels is known before anything is made."""

    @pytest.mark.parametrize(
        ("name", "size"),
        [("simple", 8), ("torchvision/resnet18", 33), ("torchvision/inception_v3", 80), ("timm/mobilevit_xxs", 64)],
    )
    def test_those_that_can(self, name: str, size: int) -> None:
        try_on(Train(model=name), Transform.model_validate({"size": size}))

    @pytest.mark.parametrize(
        ("name", "size"),
        [("torchvision/vit_b_16", 96), ("torchvision/inception_v3", 32), ("timm/vit_tiny_patch16_224", 64)],
    )
    def test_those_that_cannot(self, name: str, size: int) -> None:
        with pytest.raises(UserError, match=rf"does not take pictures of {size}×{size}") as caught:
            try_on(Train(model=name), Transform.model_validate({"size": size}))
        assert caught.value.code == Exit.RECIPE

    def test_a_model_that_pools_inside_cannot_be_flattened_in_grey_or_colour(self) -> None:
        with pytest.raises(UserError, match="pool = 'flatten' cannot be had"):
            try_on(Train(model="torchvision/densenet121", pool="flatten"), Transform(channels="gray"))

    @pytest.mark.parametrize("where", ["freeze", "unfreeze_to"])
    def test_more_blocks_than_there_are(self, where: str) -> None:
        asked = {"model": "torchvision/resnet18", "weights": "default", "freeze": 1, "unfreeze_after": 2, where: 10}
        with pytest.raises(UserError, match="freeze = 10: the backbone has 10 blocks"):
            try_on(Train.model_validate(asked), Transform())

    def test_it_draws_no_random_number(self) -> None:
        torch.manual_seed(5)
        before = torch.get_rng_state()
        try_on(Train(), Transform())
        assert torch.equal(before, torch.get_rng_state())
