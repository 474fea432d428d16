import warnings

import pytest
import torch
from torch import nn

from manifests.errors import Exit, UserError
from manifests.pixels import normalisation
from manifests.recipe import Train
from tests.training.makers import CLASSES, contract
from training.freezing import blocks, chosen, hold, refuse_moved, statistics
from training.models import build


def library(name: str) -> nn.Module:
    """A model without memory or weights: only its parts are looked at."""
    from torchvision import models

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        net = models.get_model(name, weights=None)
    name, _ = list(net.named_children())[-1]
    setattr(net, name, nn.Identity())
    return net


def learning(net: nn.Module) -> set[str]:
    return {name for name, parameter in net.named_parameters() if parameter.requires_grad}


class TestBlocks:
    """The parts of a backbone in the order that a picture passes them."""

    @pytest.mark.parametrize(
        ("name", "count", "kind"),
        [
            ("resnet18", 10, "BasicBlock"),
            ("vgg16", 13, "Conv2d"),
            ("mobilenet_v2", 19, "Conv2dNormActivation"),
            ("squeezenet1_1", 9, "Fire"),
            ("inception_v3", 16, "InceptionE"),
        ],
    )
    def test_convolutional_nets(self, name: str, count: int, kind: str) -> None:
        found = blocks(library(name))
        assert (len(found), type(found[-1]).__name__) == (count, kind)

    def test_a_transformers_encoder_is_opened(self) -> None:
        names = [type(part).__name__ for part in blocks(library("vit_b_16"))]
        assert names == ["Conv2d", *["EncoderBlock"] * 12, "LayerNorm"]

    def test_auxiliary_classifiers_are_no_part_of_the_way(self) -> None:
        assert "InceptionAux" not in [type(part).__name__ for part in blocks(library("inception_v3"))]


class TestHold:
    """What is frozen does not learn, and nothing else is."""

    def test_the_first_blocks(self) -> None:
        net = library("resnet18")
        hold(net, chosen(net, 3))
        assert {name.split(".")[0] for name in learning(net)} == {"layer1", "layer2", "layer3", "layer4"}
        assert {name for name in learning(net) if name.startswith("layer1")} == {
            name for name, _ in net.named_parameters() if name.startswith("layer1.1.")
        }

    def test_all_but_the_last(self) -> None:
        net = library("mobilenet_v2")
        hold(net, chosen(net, -2))
        assert {name.split(".")[1] for name in learning(net)} == {"17", "18"}

    def test_a_class_token_is_frozen_with_the_first_block(self) -> None:
        net = library("vit_b_16")
        hold(net, chosen(net, 1))
        assert not {"class_token", "encoder.pos_embedding", "conv_proj.weight"} & learning(net)
        assert "encoder.layers.encoder_layer_0.mlp.0.weight" in learning(net)

    def test_auxiliary_classifiers_learn(self) -> None:
        net = library("inception_v3")
        hold(net, chosen(net, 14))
        assert "AuxLogits.fc.weight" in learning(net)
        assert "Mixed_6e.branch1x1.conv.weight" not in learning(net)

    def test_all_and_nothing(self) -> None:
        net = library("squeezenet1_1")
        hold(net, chosen(net, "backbone"))
        assert not learning(net)
        hold(net, chosen(net, "none"))
        assert len(learning(net)) == len(list(net.parameters()))

    @pytest.mark.parametrize("count", [9, -9, 40])
    def test_more_blocks_than_there_are(self, count: int) -> None:
        with pytest.raises(UserError, match=rf"freeze = {count}: the backbone has 9 blocks; ask for 1 to 8") as caught:
            chosen(library("squeezenet1_1"), count)
        assert caught.value.code == Exit.RECIPE


class TestStatistics:
    """Batch norm of a frozen part keeps its running means, and the rest moves on."""

    def test_frozen_blocks_stay_in_eval_mode(self) -> None:
        model = build(
            Train(widths=(4, 8), head=(3,)), classes=CLASSES, contract=contract(8), statistics=normalisation("none", 3)
        ).freeze(2)
        first, second = (part for part in model.backbone.modules() if isinstance(part, nn.BatchNorm2d))
        before = statistics(model.frozen)
        model.train()
        model(torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8))
        refuse_moved(model.frozen, before)
        assert first.num_batches_tracked == 0
        assert second.num_batches_tracked == 1

    def test_a_part_that_moves_all_the_same_is_refused(self) -> None:
        part = nn.BatchNorm2d(1)
        before = statistics([part])
        part(torch.ones(2, 1, 2, 2))
        with pytest.raises(UserError, match="running_mean of the frozen part has changed"):
            refuse_moved([part], before)
