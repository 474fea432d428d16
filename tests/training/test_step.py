from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

from manifests.errors import UserError
from manifests.pixels import normalisation
from manifests.recipe import Train
from tests.training.makers import CLASSES, contract
from training.models import Classifier, build
from training.step import Step, class_weights, number_type

LABELS = np.array([0, 0, 0, 0, 0, 1, 1, 2], np.int64)
CPU = torch.device("cpu")


def images(count: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def model() -> Classifier:
    torch.manual_seed(0)
    settings = Train(widths=(4,))
    return build(settings, classes=CLASSES, contract=contract(8), statistics=normalisation("imagenet", 3)).eval()


def stepped(**asked: Any) -> tuple[Classifier, Step, list[torch.Tensor]]:
    """A model after one step of plain descent, and its gradients."""
    made, settings = model(), Train.model_validate({"optimizer": "sgd", "momentum": 0.0} | asked)
    step = Step(settings, made, 0.1, class_weights(settings, CLASSES, LABELS))
    _, _, total = step.forward(made.outputs, images(), torch.from_numpy(LABELS))
    step.update(total)
    return made, step, [parameter.grad for parameter in made.parameters() if parameter.grad is not None]


class TestLoss:
    """The loss is torch's own, weighted and smoothed as asked."""

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("weights", ["none", "auto", {"green": 3.0}])
    def test_it_is_torchs(self, smoothing: float, weights: Any) -> None:
        settings = Train.model_validate({"label_smoothing": smoothing, "class_weights": weights})
        made, counted = model(), class_weights(settings, CLASSES, LABELS)
        labels = torch.from_numpy(LABELS)
        logits, loss, total = Step(settings, made, 0.1, counted).forward(made.outputs, images(), labels)
        assert torch.equal(loss, cross_entropy(logits, labels, weight=counted, label_smoothing=smoothing))
        assert torch.equal(loss, total)

    def test_auto_is_scikit_learns_balanced(self) -> None:
        found = class_weights(Train(class_weights="auto"), CLASSES, LABELS)
        wanted = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
        assert found is not None
        np.testing.assert_allclose(wanted, found.numpy(), rtol=1e-6)

    def test_a_class_without_images_counts_one(self) -> None:
        found = class_weights(Train(class_weights="auto"), (*CLASSES, "none of it"), LABELS)
        assert found is not None
        assert found[3] == 1.0

    def test_a_weight_for_a_class_that_is_not_there(self) -> None:
        with pytest.raises(UserError, match=r"class_weights: no class 'gren'.*green"):
            class_weights(Train(class_weights={"gren": 2.0}), CLASSES, LABELS)


class TestClipping:
    """Gradients longer than asked, all together, are scaled to it; shorter ones stay."""

    def test_long_ones_are_cut(self) -> None:
        *_, gradients = stepped(clip_norm=1e-3)
        assert float(torch.stack([part.norm() for part in gradients]).norm()) == pytest.approx(1e-3, rel=1e-3)

    def test_short_ones_stay(self) -> None:
        for ours, theirs in zip(stepped(clip_norm=1e6)[2], stepped()[2], strict=True):
            assert torch.equal(ours, theirs)


class TestPrecision:
    """Lower precision for the passes alone: weights and losses stay float32, and the numbers stay close."""

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_a_step_is_nearly_the_same(self, precision: str) -> None:
        ours, theirs = stepped(precision=precision)[0], stepped(precision="off")[0]
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert one.dtype is torch.float32
            torch.testing.assert_close(one, other, atol=5e-3, rtol=0.05)

    def test_the_passes_do_compute_in_it(self) -> None:
        step = stepped(precision="bf16")[1]
        with step.precision():
            assert model()(images()).dtype is torch.bfloat16

    def test_auto_is_float32_on_a_cpu(self) -> None:
        assert number_type("auto", CPU) is None
        assert number_type("off", CPU) is None

    def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_falls(self) -> None:
        made, settings = model(), Train(optimizer="sgd", precision="fp16")
        step, before = Step(settings, made, 0.1, None), [each.clone() for each in made.parameters()]
        _, _, total = step.forward(made.outputs, images(), torch.from_numpy(LABELS))
        step.update(total * 1e38)
        assert all(map(torch.equal, before, made.parameters()))
        assert step.facts()["scale"] < 65536

    def test_after_a_first_step_that_is_left_out_momentum_is_whole(self) -> None:
        made, settings = model(), Train(optimizer="sgd", precision="fp16")
        step = Step(settings, made, 0.1, None)
        torch.use_deterministic_algorithms(True)  # fills fresh memory with what is no number
        try:
            for factor in (1e38, 1.0):
                _, _, total = step.forward(made.outputs, images(), torch.from_numpy(LABELS))
                step.update(total * factor)
        finally:
            torch.use_deterministic_algorithms(False)
        assert all(each.isfinite().all() for each in made.parameters())

    def test_one_value_of_each_channel_is_refused_in_a_sentence(self) -> None:
        made = model().train()
        made.backbone.insert(0, torch.nn.AdaptiveAvgPool2d(2))  # pyright: ignore[reportCallIssue]
        made.backbone.insert(1, torch.nn.AdaptiveAvgPool2d(1))  # pyright: ignore[reportCallIssue]
        step = Step(Train(), made, 0.1, None)
        with pytest.raises(UserError, match="a batch of 1: batch norm needs more than one value"):
            step.forward(made.outputs, images(1), torch.zeros(1, dtype=torch.int64))

    def test_the_scale_is_kept_and_restored(self) -> None:
        _, step, _ = stepped(precision="fp16")
        step.scaler.update(new_scale=4.0)
        other = stepped(precision="fp16")[1]
        other.restore(step.tensors(), step.facts())
        assert other.facts()["scale"] == 4.0
