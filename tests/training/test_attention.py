"""Where a model looks: at what says the class, whatever the architecture, and without leaving a trace in the model."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from manifests.errors import Exit, UserError
from manifests.pixels import NAMED, normalisation
from manifests.recipe import Train
from tests.training.makers import CLASSES, contract
from tests.training.report.made import Made, made
from tests.training.report.made import contract as made_contract
from training.attention import (
    FILE,
    NO_MAP,
    Attention,
    Layout,
    Look,
    attention,
    layout,
    look,
    read_attention,
    wanted,
    write_attention,
)
from training.checkpoints import model_facts, model_tensors, save
from training.evaluate import evaluate
from training.models import Classifier, Normalise, build

CORNERS = ("top left", "bottom right")
SIDE = 16


def corners(number: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 16, 16, 3) uint8 noise and the class of each: the corner in which a bright patch of 4 × 4 pixels lies."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 120, (number, SIDE, SIDE, 3), np.uint8)
    labels = np.arange(number) % 2
    for image, label in zip(images, labels, strict=True):
        row, column = draw.integers(1, 4, 2) + 8 * label
        image[row : row + 4, column : column + 4] = 255
    return torch.from_numpy(images), torch.from_numpy(labels)


def learned() -> Classifier:
    """A small `simple` that tells the corners apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        asked = Train(model="simple", widths=(8, 8))
        model = build(asked, classes=CORNERS, contract=contract(SIDE), statistics=normalisation("imagenet", 3))
        steps = torch.optim.Adam(model.parameters(), 0.01)
        images, labels = corners(64)
        for _ in range(30):
            steps.zero_grad()
            cross_entropy(model(images), labels).backward()
            steps.step()
    model.zero_grad()
    return model


def made_by_hand(backbone: nn.Module, head: nn.Linear, classes: tuple[str, ...] = CORNERS) -> Classifier:
    pixels = contract(4)
    normalise = Normalise("none", ((0.0,) * 3, (1.0,) * 3), is_stored=False)
    return Classifier(normalise, backbone, nn.Sequential(head), classes=classes, contract=pixels)


def random(name: str, size: int) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        asked = Train(model=name)
        return build(asked, classes=CLASSES, contract=contract(size), statistics=normalisation("imagenet", 3))


def noise(size: int, number: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (number, size, size, 3), np.uint8))


def maps(model: Classifier, images: torch.Tensor, labels: list[int]) -> list[npt.NDArray[np.float32]]:
    found = attention(model, images, labels)
    assert found is not None
    return found[1]


class TestWhereItLooks:
    """A map is high where the class is said."""

    def test_a_trained_model_looks_at_the_corner_that_says_the_class(self):
        model, (images, labels) = learned(), corners(20, seed=1)
        assert model.eval()(images).argmax(1).tolist() == labels.tolist()
        for places, label in zip(maps(model, images, labels.tolist()), labels.tolist(), strict=True):
            assert places.shape == (4, 4)
            inside = places[:2, :2] if label == 0 else places[2:, 2:]
            assert places.max() == inside.max() == 1
            assert inside.sum() > 0.8 * places.sum()

    def test_of_a_flat_head_it_is_what_each_place_adds_to_the_score(self):
        backbone, head = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.Flatten()), nn.Linear(16, 2)
        weights = torch.zeros(2, 4, 4)
        weights[0, 0, 0], weights[0, 0, 1], weights[0, 3, 3], weights[1, 3, 3] = 2, 1, -5, 1
        with torch.no_grad():
            next(backbone.parameters()).fill_(1 / 3)
            head.weight.copy_(weights.flatten(1))
        white = torch.full((2, 4, 4, 3), 255, dtype=torch.uint8)
        first, second = (places.tolist() for places in maps(made_by_hand(backbone, head), white, [0, 1]))
        nothing = [0.0] * 4
        assert first == [[1, 0.5, 0, 0], nothing, nothing, nothing]
        assert second == [nothing, nothing, nothing, [0, 0, 0, 1]]

    def test_where_the_head_reads_the_mean_it_is_grad_cam(self):
        model, images = random("simple", 32).eval(), noise(32)
        model.backbone[-1] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # pyright: ignore[reportIndexIssue] `simple` is a sequence
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model.head = nn.Sequential(nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 3))
        for parameter in model.head.parameters():
            parameter.data.abs_()  # so that something speaks for every class
        activation = model.backbone[:-1](model.normalise(images)).detach().requires_grad_()  # pyright: ignore[reportIndexIssue] the same
        score = model.head(activation.mean((2, 3)))[[0, 1], [2, 1]].sum()
        weights = torch.autograd.grad(score, activation)[0].mean((2, 3), keepdim=True)
        grad_cam = (weights * activation).sum(1).clamp(min=0).detach()
        expected = grad_cam / grad_cam.amax((1, 2), keepdim=True)
        assert np.allclose(maps(model, images, [2, 1]), expected.numpy(), atol=1e-6)

    def test_where_nothing_speaks_for_the_class_it_is_empty(self):
        backbone, head = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten()), nn.Linear(16, 2)
        with torch.no_grad():
            head.weight.zero_()
        (places,) = maps(made_by_hand(backbone, head), noise(4, 1), [0])
        assert places.tolist() == [[0.0] * 4] * 4


def test_a_model_without_places_has_no_map():
    assert attention(made_by_hand(nn.Flatten(), nn.Linear(48, 2)), noise(4), [0, 1]) is None


class TestTraces:
    """The model is as it was, and the map the same, whatever state it was in."""

    def test_the_mode_of_the_model_changes_nothing(self):
        model, images = learned(), noise(SIDE)
        before = [places.tolist() for places in maps(model.eval(), images, [0, 1])]
        assert before == [places.tolist() for places in maps(model.train(), images, [0, 1])]

    def test_weights_gradients_modes_and_hooks_stay(self):
        model = learned().train()
        model.backbone[1].eval()  # pyright: ignore[reportIndexIssue] `simple` is a sequence
        first = next(model.parameters())
        first.grad = torch.ones_like(first)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        maps(model, noise(SIDE), [0, 1])
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == modes
        assert {True, False} == set(modes)
        assert torch.equal(first.grad, torch.ones_like(first))
        assert [parameter.grad for parameter in model.parameters() if parameter is not first] == [None] * (
            len(list(model.parameters())) - 1
        )
        hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]  # pyright: ignore[reportPrivateUsage] torch has no other word for it
        assert set(hooks) == {(0, 0)}

    def test_hooks_are_gone_after_an_error_too(self):
        model = learned()
        with pytest.raises(RuntimeError):
            attention(model, noise(5), [0, 1])
        assert not any(module._forward_hooks for module in model.modules())  # pyright: ignore[reportPrivateUsage] torch has no other word for it

    def test_a_frozen_backbone_gives_the_same(self):
        model, images = learned(), noise(SIDE)
        before = [places.tolist() for places in maps(model, images, [0, 1])]
        model.backbone.requires_grad_(False)
        assert before == [places.tolist() for places in maps(model, images, [0, 1])]


@pytest.mark.parametrize(
    ("name", "size", "layer", "grid"),
    [
        ("simple", 32, "11", (4, 4)),
        ("torchvision/resnet18", 64, "layer4", (2, 2)),
        ("torchvision/squeezenet1_1", 32, "features.7", (3, 3)),  # what follows has one place
        ("torchvision/inception_v3", 75, "Mixed_6e", (3, 3)),  # not a branch of the block that follows
        ("timm/vit_tiny_patch16_224", 224, "blocks.11.norm1", (14, 14)),  # behind it only the class token counts
        ("timm/mobilevit_xxs", 64, "final_conv", (2, 2)),
    ],
)
def test_each_kind_of_model_has_its_map(name: str, size: int, layer: str, grid: tuple[int, int]):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    found = attention(random(name, size), noise(size), [0, 2])
    assert found is not None
    assert found[0] == layer
    assert [places.shape for places in found[1]] == [grid, grid]
    assert all(0 <= places.min() <= places.max() <= 1 for places in found[1])


class TestLayout:
    """Which shapes hold places of pictures."""

    @pytest.mark.parametrize(
        ("shape", "picture", "expected"),
        [
            ((2, 512, 7, 7), (224, 224), Layout(7, 7, "channels first")),
            ((2, 7, 7, 768), (224, 224), Layout(7, 7, "channels last")),
            ((2, 64, 3, 5), (96, 160), Layout(3, 5, "channels first")),
            ((2, 64, 8, 8), (250, 250), Layout(8, 8, "channels first")),  # 250 / 32 = 7.8
            ((2, 196, 192), (224, 224), Layout(14, 14, "tokens")),
            ((2, 197, 192), (224, 224), Layout(14, 14, "tokens", 1)),  # a class token
            ((2, 198, 192), (224, 224), Layout(14, 14, "tokens", 2)),  # and one of distillation
            ((2, 261, 384), (224, 224), Layout(16, 16, "tokens", 5)),  # and four registers
            ((2, 25, 192), (64, 96), Layout(4, 6, "tokens", 1)),
        ],
    )
    def test_places_are_found(self, shape: tuple[int, ...], picture: tuple[int, int], expected: Layout):
        assert layout(shape, (2, *picture)) == expected

    @pytest.mark.parametrize(
        "shape",
        [
            (2, 512),
            (2, 512, 1, 1),
            (2, 1, 192),
            (2, 3, 197, 64),  # queries of attention
            (8, 49, 96),  # windows
            (2, 17, 5, 5, 3),
            (),
        ],
    )
    def test_what_has_none_is_left(self, shape: tuple[int, ...]):
        assert layout(shape, (2, 224, 224)) is None

    def test_places_come_as_rows_and_columns_with_channels_last(self):
        values = torch.arange(2 * 3 * 4).view(1, 2, 3, 4)
        expected = values[0, :, 1, 2].tolist()
        tokens = torch.cat([torch.zeros(1, 1, 2), values.flatten(2).transpose(1, 2)], 1)
        assert Layout(3, 4, "channels first").places(values)[0, 1, 2].tolist() == expected
        assert Layout(3, 4, "channels last").places(values.permute(0, 2, 3, 1))[0, 1, 2].tolist() == expected
        assert Layout(3, 4, "tokens", 1).places(tokens)[0, 1, 2].tolist() == expected


def evaluated(place: Path, **pixels: object) -> Made:
    """A made-up run with the checkpoint of an untrained `simple`, evaluated."""
    classes = ("ant", "bee", "cow")
    both = made(place, classes, evaluated=(), pixels=made_contract(**pixels))  # pyright: ignore[reportArgumentType] passed on as they are
    asked = Train(model="simple", widths=(4,), head=(8,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(asked, classes=classes, contract=made_contract(**pixels), statistics=NAMED["imagenet"])  # pyright: ignore[reportArgumentType] the same
    save(both.run / "best.safetensors", model_tensors(model), model_facts(model, asked) | {"epoch": 1})
    evaluate(both.run, both.shards)
    return both


def weights_of(both: Made) -> str:
    return json.loads((both.run / "evaluation" / "test" / "metrics.json").read_text("utf-8"))["weights"]


class TestLook:
    """The maps of an evaluation, kept beside it."""

    @pytest.mark.parametrize("dtype", ["uint8", "bfloat16", "float16"])
    def test_each_image_shown_has_a_map_for_what_was_said_and_for_the_truth(self, tmp_path: Path, dtype: str):
        stored = {} if dtype == "uint8" else {"normalise": "imagenet"} | dict(zip(("mean", "deviation"), NAMED["imagenet"], strict=True))  # fmt: skip # noqa: E501
        both = evaluated(tmp_path, dtype=dtype, **stored)
        told: list[tuple[int, int]] = []
        file = look(both.run, both.shards, "test", progress=lambda _, done, of: told.append((done, of)))
        assert file == both.run / "evaluation" / "test" / FILE
        found = read_attention(both.run, "test", weights_of(both))
        predictions = pl.read_csv(both.run / "evaluation" / "test" / "predictions.csv")
        assert found is not None
        assert list(found.maps) == wanted(predictions, ("ant", "bee", "cow"))
        assert told[-1] == (len(found.maps), len(found.maps))
        assert {places.shape for places in found.maps.values()} == {(4, 4)}

    def test_a_map_is_that_of_its_own_image(self, tmp_path: Path):
        from training.batches import in_order
        from training.checkpoints import load_classifier

        both = evaluated(tmp_path)
        look(both.run, both.shards, "test")
        found = read_attention(both.run, "test", weights_of(both))
        assert found is not None
        images, _ = next(iter(in_order(both.shards, "test", 12, "cpu")))
        model = load_classifier(both.run / "best.safetensors")
        for (row, label), places in found.maps.items():
            (expected,) = maps(model, images[row : row + 1], [label])
            assert np.allclose(places, expected, atol=1e-3)  # kept as float16

    def test_images_that_were_named_right_ask_for_one_map_and_none_is_asked_for_twice(self):
        columns = {
            "path": ["a", "b", "c"], "class": ["ant", "ant", "bee"], "predicted": ["ant", "bee", "bee"],
            "probability": [0.9, 0.8, 0.4], "correct": [True, False, True],
        }  # fmt: skip
        assert wanted(pl.DataFrame(columns), ("ant", "bee")) == [Look(1, 1), Look(1, 0), Look(2, 1), Look(0, 0)]

    def test_what_was_seen_by_other_weights_is_not_shown(self, tmp_path: Path):
        both = evaluated(tmp_path)
        look(both.run, both.shards, "test")
        assert read_attention(both.run, "test", "of others") is None
        assert read_attention(both.run, "val", weights_of(both)) is None

    def test_without_an_evaluation_of_these_weights_there_is_nothing_to_look_at(self, tmp_path: Path):
        both = evaluated(tmp_path)
        with pytest.raises(UserError, match="no evaluation of its weights on val"):
            look(both.run, both.shards, "val")
        with (both.run / "best.safetensors").open("ab") as file:
            file.write(b"more")
        with pytest.raises(UserError, match="no evaluation of its weights on test") as caught:
            look(both.run, both.shards, "test")
        assert caught.value.code == Exit.STALE

    def test_why_there_is_no_map_is_kept(self, tmp_path: Path):
        write_attention(tmp_path / "evaluation" / "test" / FILE, Attention({}, "", NO_MAP), "weights")
        assert read_attention(tmp_path, "test", "weights") == Attention({}, "", NO_MAP)

    def test_a_damaged_file_is_named(self, tmp_path: Path):
        both = evaluated(tmp_path)
        look(both.run, both.shards, "test")
        (both.run / "evaluation" / "test" / FILE).write_bytes(b"nothing")
        with pytest.raises(UserError, match=r"attention\.safetensors: damaged"):
            read_attention(both.run, "test", weights_of(both))

    def test_the_same_weights_give_the_same_bytes(self, tmp_path: Path):
        both = evaluated(tmp_path)
        first = look(both.run, both.shards, "test")
        assert first is not None
        before = first.read_bytes()
        look(both.run, both.shards, "test")
        assert first.read_bytes() == before
