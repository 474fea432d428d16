from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from manifests.errors import Exit, UserError
from manifests.pixels import normalisation
from manifests.recipe import Train
from manifests.shards import open_rows
from tests.training.makers import CLASSES, contract, everything, shard_set
from training.batches import Batches
from training.loop import Inputs, Record, Trainer, measure
from training.models import Classifier, build


def trainer(folder: Path, *, dtype: Any = "uint8", val: bool = True, **asked: Any) -> Trainer:
    settings = Train.model_validate({"widths": "4,8", "batch_size": 8, "epochs": 2} | asked)
    statistics = normalisation("imagenet", 3)
    torch.manual_seed(settings.seed)
    model = build(settings, classes=CLASSES, contract=contract(dtype=dtype), statistics=statistics)
    train = Batches(folder, "train", settings.batch_size, "cpu", seed=settings.seed)
    inputs = Inputs(Classifier.outputs, train, Batches(folder, "val", 4, "cpu") if val else None)
    return Trainer(settings, model, lambda: inputs)


def records(found: Trainer) -> list[Record]:
    return list(found.epochs(lambda: False, lambda _done, _total: None))


def plain(model: Classifier, folder: Path, split: str) -> tuple[float, float]:
    """Loss and accuracy of all rows at once."""
    images, labels = (torch.from_numpy(part.copy()) for part in everything(folder, split))
    with torch.no_grad():
        logits = model.eval()(images)
    return cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def stay_in_eval(found: Trainer) -> None:
    """Batch norm by its fixed statistics, in training too: each image by itself, and nothing moves but by steps."""
    for layer in found.model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0
            layer.register_forward_pre_hook(lambda module, _: module.eval() and None)


class TestTrainer:
    """A record an epoch, with exact sums over batches of unequal size."""

    def test_it_learns_what_can_be_learned(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        found = trainer(tmp_path, epochs=10, learning_rate=0.02)
        last = records(found)[-1]
        assert last.val_accuracy == 1.0
        assert (last.val_loss, last.val_accuracy) == pytest.approx(plain(found.model, tmp_path, "val"))

    def test_train_figures_are_means_over_images(self, tmp_path: Path) -> None:
        shard_set(tmp_path, dtype="float32", rows={"train": (11, 3), "val": (2,)})
        found = trainer(tmp_path, dtype="float32", epochs=1, learning_rate=1e-30)
        stay_in_eval(found)
        (record,) = records(found)
        assert (record.train_loss, record.train_accuracy) == pytest.approx(plain(found.model, tmp_path, "train"))

    def test_measure_is_the_plain_way(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        found = trainer(tmp_path)
        for size in (1, 4, 11, 20):
            measured = measure(found.model, Classifier.outputs, Batches(tmp_path, "val", size, "cpu"))
            assert measured == pytest.approx(plain(found.model, tmp_path, "val"), abs=1e-6)

    def test_the_same_seed_gives_the_same_numbers(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        runs = [records(trainer(tmp_path, dropout=0.3, head="6", seed=seed)) for seed in (1, 1, 2)]
        losses = [[record.train_loss for record in run] for run in runs]
        assert losses[0] == losses[1]
        assert losses[0] != losses[2]

    def test_best_is_the_first_of_equal_values(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        found = records(trainer(tmp_path, epochs=12, learning_rate=0.02, monitor="val_accuracy"))
        accuracies = [record.val_accuracy or 0.0 for record in found]
        wanted = [value > max([-1.0, *accuracies[:i]]) for i, value in enumerate(accuracies)]
        assert [record.best for record in found] == wanted

    def test_patience_ends_the_run(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        found = trainer(tmp_path, epochs=50, optimizer="sgd", learning_rate=1e-30, momentum=0, patience=2)
        stay_in_eval(found)  # nothing moves, so nothing is ever better
        assert len(records(found)) == 4

    def test_without_validation_train_is_monitored(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        found = trainer(tmp_path, val=False, epochs=3)
        rows = records(found)
        assert found.monitored == "train_loss"
        assert {(row.val_loss, row.val_accuracy) for row in rows} == {(None, None)}
        assert found.waiting.best == min(row.train_loss for row in rows)

    @pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
    def test_progress_counts_every_step_of_the_run(self, tmp_path: Path, name: str) -> None:
        shard_set(tmp_path)
        seen: list[tuple[int, int]] = []
        list(trainer(tmp_path, optimizer=name).epochs(lambda: False, lambda done, total: seen.append((done, total))))
        assert seen == [(step, 8) for step in range(9)]

    def test_auxiliary_outputs_are_trained_too(self, tmp_path: Path) -> None:
        shard_set(tmp_path, size=32, rows={"train": (3,)})
        settings = Train(model="torchvision/googlenet", epochs=1, optimizer="sgd")
        model = build(settings, classes=CLASSES, contract=contract(32), statistics=normalisation("imagenet", 3))
        before = {name: value.detach().clone() for name, value in model.named_parameters() if "aux1" in name}
        train = Batches(tmp_path, "train", 3, "cpu", seed=0)
        records(Trainer(settings, model, lambda: Inputs(Classifier.outputs, train, None)))
        after = dict(model.named_parameters())
        assert before
        assert all(not torch.equal(value, after[name]) for name, value in before.items() if name.endswith("weight"))


class TestOptimiser:
    """The fused step on weights that lie channels last is the plain step: it reads memory, not shapes."""

    @pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
    def test_fused_is_plain(self, tmp_path: Path, name: str) -> None:
        shard_set(tmp_path)
        found = [trainer(tmp_path, optimizer=name, weight_decay=0.1, epochs=2) for _ in range(2)]
        for group in found[1].learner.optimiser.param_groups:
            group["fused"] = False
        for one in found:
            records(one)
        for ours, theirs in zip(*(one.model.parameters() for one in found), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


class TestDivergence:
    """A loss that is not finite stops the run before the step, and says where."""

    def test_epoch_and_batch_are_named_and_the_weights_are_whole(self, tmp_path: Path) -> None:
        shard_set(tmp_path, dtype="float32")
        found = trainer(tmp_path, dtype="float32")
        with Batches(tmp_path, "train", 8, "cpu", seed=0) as batches:
            first = next(iter(batches.epoch(1, 2)))[0][0].numpy().copy()  # a row of the third batch
        for file in tmp_path.glob("train-*.safetensors"):
            rows = open_rows(file, writable=True).images
            for row in rows:
                if (row == first).all():
                    row[0, 0, 0] = float("nan")
        with pytest.raises(UserError, match="epoch 1, batch 3: the loss is nan") as caught:
            records(found)
        assert caught.value.code == Exit.DIVERGED
        assert all(value.isfinite().all() for value in found.model.parameters())

    def test_a_validation_loss_that_is_not_finite_stops_too(self, tmp_path: Path) -> None:
        shard_set(tmp_path, dtype="float32")
        open_rows(tmp_path / "val-00000.safetensors", writable=True).images[0] = float("inf")
        with pytest.raises(UserError, match="epoch 1, the validation loss is nan"):
            records(trainer(tmp_path, dtype="float32"))
