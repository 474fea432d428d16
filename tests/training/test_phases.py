"""Freezing, the moving average and the like as a run does them, from its first file to its last."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import safetensors.torch
import torch

from manifests.errors import UserError
from manifests.recipe import Train
from manifests.shards import read_index
from manifests.store import DatasetStore, read_stage
from manifests.table import write_table
from tests.training.makers import dataset, squeezenet
from tests.training.sittings import Heard, asked, rows, same, stop_at
from training.folders import key_settings
from training.runs import Interrupted, train

ROWS = {"train": (30, 10), "val": (9,)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return squeezenet(tmp_path_factory.mktemp("weights"))


def tuned(weights: str, **more: Any) -> Train:
    plain = {"model": "torchvision/squeezenet1_1", "weights": weights, "batch_size": 20, "epochs": 3, "dropout": 0.2}
    return Train.model_validate(plain | more)


def tensors(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    kept = safetensors.torch.load_file(run / f"{name}.safetensors")
    return {key.removeprefix("model."): value for key, value in kept.items() if key.startswith("model.")}


def moved(run: Path, before: dict[str, torch.Tensor]) -> set[str]:
    """Tensors of the backbone that are not what the weights file has."""
    now = tensors(run)
    return {name for name, value in before.items() if not torch.equal(now[f"backbone.{name}"], value)}


class TestTwoPhases:
    """First the head alone, on features; then everything, on pixels, with a rate of its own."""

    @pytest.fixture
    def made(self, tmp_path: Path) -> tuple[DatasetStore, str]:
        return dataset(tmp_path, rows=ROWS, size=24)

    def test_the_backbone_begins_to_learn(self, made: tuple[DatasetStore, str], weights: str) -> None:
        frozen = train(*made, tuned(weights, run="frozen", freeze="backbone"))
        both = train(*made, tuned(weights, run="both", freeze="backbone", unfreeze_after=2))
        before = safetensors.torch.load_file(weights)
        before = {name: value for name, value in before.items() if not name.startswith("classifier")}
        assert moved(frozen, before) == set()
        assert moved(both, before) == set(before)
        assert [row["learning_rate"] for row in rows(both)] == ["0.001", "0.001", "0.0001"]
        assert rows(both)[:2] == rows(frozen)[:2]

    def test_interrupted_at_any_step_it_comes_to_the_same(self, made: tuple[DatasetStore, str], weights: str) -> None:
        more = {"freeze": "backbone", "unfreeze_after": 1, "unfreeze_learning_rate": 0.01, "ema": 0.9, "epochs": 2}
        whole = train(*made, tuned(weights, run="whole", **more))
        for call in range(2, 7):
            named = tuned(weights, run=f"cut-{call}", **more)
            with pytest.raises(Interrupted):
                train(*made, named, stop=stop_at(call))
            assert same(whole, train(*made, named, resume=True))

    def test_some_blocks_stay(self, made: tuple[DatasetStore, str], weights: str) -> None:
        run = train(*made, tuned(weights, run="some", freeze=-2, epochs=1))
        before = {n: v for n, v in safetensors.torch.load_file(weights).items() if n.startswith("features")}
        assert {name.split(".")[1] for name in moved(run, before)} == {"11", "12"}

    def test_parts_that_learned_and_then_stay_are_resumed_as_they_are(
        self, made: tuple[DatasetStore, str], weights: str
    ) -> None:
        more = {"freeze": 5, "unfreeze_after": 1, "unfreeze_to": 2, "epochs": 2}
        whole = train(*made, tuned(weights, run="whole", **more))
        for call in range(3, 7):
            with pytest.raises(Interrupted):
                train(*made, tuned(weights, run=f"cut-{call}", **more), stop=stop_at(call))
            assert same(whole, train(*made, tuned(weights, run=f"cut-{call}", **more), resume=True))

    def test_a_second_phase_that_freezes_more_is_refused(self, made: tuple[DatasetStore, str], weights: str) -> None:
        with pytest.raises(UserError, match="unfreeze_to = 5: would freeze what freeze = 2 lets learn"):
            train(*made, tuned(weights, freeze=2, unfreeze_after=1, unfreeze_to=5))

    def test_patience_does_not_end_the_first_phase(self, made: tuple[DatasetStore, str], weights: str) -> None:
        more = {"freeze": "backbone", "unfreeze_after": 3, "epochs": 6, "patience": 0, "learning_rate": 1e-12}
        run = train(*made, tuned(weights, run="patient", **more))
        stage = read_stage(run)
        assert stage is not None
        assert stage.counts["epochs"] >= 4


class TestAverage:
    """The moving average is what is judged and kept as best; what learns is kept as last."""

    def test_it_follows_slowly(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        run = train(*made, asked(ema=0.9, epochs=4))
        averaged, learned = tensors(run, "best"), tensors(run, "last")
        assert averaged.keys() == learned.keys()
        assert not torch.equal(averaged["head.1.weight"], learned["head.1.weight"])

    def test_interrupted_or_not(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        whole = train(*made, asked(run="whole", ema=0.8, precision="fp16", clip_norm=1.0, schedule="onecycle"))
        for call in (3, 8, 15):
            named = asked(run=f"cut-{call}", ema=0.8, precision="fp16", clip_norm=1.0, schedule="onecycle")
            with pytest.raises(Interrupted):
                train(*made, named, stop=stop_at(call))
            assert same(whole, train(*made, named, resume=True))


class TestGrowing:
    """A run of more epochs goes on from one of fewer, and comes to what it would have come to alone."""

    def test_the_same_as_at_once(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        whole = train(*made, asked(run="whole", epochs=4))
        short = train(*made, asked(run="grown", epochs=2))
        kept = {file.name: file.read_bytes() for file in short.iterdir()}
        heard = Heard()
        grown = train(*made, asked(run="grown", epochs=4), resume=True, listen=heard)
        assert same(whole, grown)
        assert len(heard.records) == 2
        assert "run grown of 2 epochs goes on to 4, as grown" in heard.lines
        assert {file.name: file.read_bytes() for file in short.iterdir()} == kept

    def test_under_another_name(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        train(*made, asked(run="short", epochs=1))
        heard = Heard()
        train(*made, asked(run="long", epochs=2, schedule="none"), resume=True, listen=heard)
        assert [record.epoch for record in heard.records] == [2]

    def test_from_the_middle_of_the_first_epoch(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        whole = train(*made, asked(run="whole", epochs=2))
        with pytest.raises(Interrupted):
            train(*made, asked(run="a", epochs=1), stop=stop_at(3))
        assert same(whole, train(*made, asked(run="a", epochs=2), resume=True))

    def test_a_damaged_run_is_nobodys_to_go_on_with(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        run = train(*made, asked(run="bad", epochs=1))
        (run / "run.json").write_text("{")
        heard = Heard()
        train(*made, asked(run="long", epochs=2), resume=True, listen=heard)
        assert [record.epoch for record in heard.records] == [1, 2]

    def test_not_from_other_settings(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        train(*made, asked(run="short", epochs=1, seed=1))
        heard = Heard()
        train(*made, asked(run="long", epochs=2), resume=True, listen=heard)
        assert [record.epoch for record in heard.records] == [1, 2]

    def test_a_schedule_that_is_stretched_is_said(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        train(*made, asked(run="a", epochs=1, schedule="cosine"))
        heard = Heard()
        train(*made, asked(run="a", epochs=2, schedule="cosine"), resume=True, listen=heard)
        assert "the schedule cosine is that of 2 epochs from here on" in heard.lines


class TestViews:
    """`rotate` trains on each image once an epoch."""

    def test_an_epoch_has_as_many_steps_as_images_need(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path)
        shards = store.folder("transform", key)
        count = read_index(shards).rows("train")
        table = pl.DataFrame(
            {
                "split": ["train"] * count,
                "shard": ["train-00000"] * 13 + ["train-00001"] * 7 + ["train-00002"] * 10,
                "row": [*range(13), *range(7), *range(10)],
                "path": [str(n % 15) for n in range(count)],  # two views of each image
                "sha256": [str(n % 15) for n in range(count)],
            }
        )
        write_table(table, shards / "rows.parquet")
        heard = Heard()
        train(store, key, asked(views="rotate", epochs=1), listen=heard)
        assert heard.steps[-1] == ("training", 2, 2)


class TestEnvironment:
    """Where a run was trained, beside it."""

    def test_it_names_versions_and_digests(self, tmp_path: Path) -> None:
        made = dataset(tmp_path)
        run = train(*made, asked(deterministic=True, epochs=1))
        said = json.loads((run / "environment.json").read_text("utf-8"))
        assert said["versions"]["torch"] == torch.__version__
        assert said["digests"]["data"] == read_index(made[0].folder("transform", made[1])).digest
        assert said["deterministic"] is True
        assert not torch.are_deterministic_algorithms_enabled()


class TestRefusals:
    """What cannot be is said in one sentence."""

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"freeze": "backbone"}, "freeze = backbone with weights = none would keep random features"),
            ({"unfreeze_after": 2}, "unfreeze_after without freeze"),
            (
                {"freeze": 2, "weights": "x", "unfreeze_to": 1},
                "unfreeze_to and unfreeze_learning_rate need unfreeze_after",
            ),
            ({"freeze": 2, "weights": "x", "unfreeze_after": 2, "unfreeze_to": "backbone"}, "would unfreeze nothing"),
            ({"seed": 2**64}, "seed = "),
            ({"warmup_epochs": 99}, "warmup_epochs = 99 of 10 epochs: the learning rate would never be reached"),
            ({"name": "../x"}, "a name has letters, digits"),
            ({"freeze": 2, "weights": "x", "unfreeze_after": 10}, "unfreeze_after = 10 of 10 epochs"),
        ],
    )
    def test_settings_that_contradict_each_other(self, values: dict[str, Any], said: str) -> None:
        from manifests.recipe import checked

        with pytest.raises(UserError, match=said):
            checked(Train, values, "file.toml")


class TestKey:
    """What decides nothing makes no other run; what decides something does."""

    @pytest.mark.parametrize(
        "more",
        [
            {"gamma": 0.9},
            {"step_epochs": 3},
            {"momentum": 0.5},
            {"semantics": "keras"},
            {"licence": "MIT"},
            {"pool": "flatten"},
        ],
    )
    def test_a_setting_without_a_part(self, more: dict[str, Any]) -> None:
        assert key_settings(Train()) == key_settings(Train.model_validate(more))

    @pytest.mark.parametrize(
        ("others", "more"),
        [
            ({"schedule": "exponential"}, {"gamma": 0.9}),
            ({"optimizer": "sgd"}, {"momentum": 0.5}),
            ({"patience": 3}, {"semantics": "keras"}),
            ({}, {"widths": (4,)}),
            ({}, {"pool": "average"}),
            ({}, {"ema": 0.9}),
            ({}, {"precision": "bf16"}),
        ],
    )
    def test_a_setting_with_a_part(self, others: dict[str, Any], more: dict[str, Any]) -> None:
        assert key_settings(Train.model_validate(others)) != key_settings(Train.model_validate(others | more))


class TestRefusedEarly:
    """What can be known before the work is said before the work."""

    def test_a_weight_for_a_class_that_is_not_there(self, tmp_path: Path, weights: str) -> None:
        store, key = dataset(tmp_path, rows=ROWS, size=24)
        with pytest.raises(UserError, match="class_weights: no class 'nope'"):
            train(store, key, tuned(weights, freeze="backbone", class_weights={"nope": 2.0}))
        assert not (store.root / "features").exists()
        assert not (store.root / "runs").exists()
