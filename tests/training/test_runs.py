import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.recipe import Train
from manifests.shards import open_rows
from manifests.store import DatasetStore, read_stage
from tests.training.makers import contract, dataset
from tests.training.sittings import CALLS, Heard, asked, rows, same, stop_at
from training.checkpoints import load_classifier
from training.folders import key_settings
from training.loop import Record
from training.runs import Interrupted, describe, find_run, read_facts, train


@pytest.fixture
def made(tmp_path: Path) -> tuple[DatasetStore, str]:
    return dataset(tmp_path)


class TestTrain:
    """A run leaves everything that its evidence needs, and stage.json last."""

    def test_a_finished_run(self, made: tuple[DatasetStore, str]) -> None:
        heard = Heard()
        run = train(*made, asked(), listen=heard)
        assert sorted(file.name for file in run.iterdir()) == [
            ".lock", "best.safetensors", "environment.json", "last.safetensors", "metrics.csv", "run.json",
            "stage.json",
        ]  # fmt: skip
        stage, facts = read_stage(run), read_facts(run)
        assert stage is not None
        best = max(record.epoch for record in heard.records if record.best)
        assert (stage.counts["epochs"], stage.counts["best_epoch"]) == (3, best)
        assert stage.counts["stopped"] == "epochs"
        assert (facts["rows"], facts["normalise"]) == ({"train": 30, "val": 11}, "imagenet")
        assert facts == json.loads(json.dumps(heard.info))
        assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]
        assert heard.steps == [("training", step, 12) for step in range(13)]
        assert load_classifier(run / "best.safetensors").classes == tuple(facts["classes"])

    def test_a_finished_run_is_fresh(self, made: tuple[DatasetStore, str]) -> None:
        run = train(*made, asked())
        before = {file.name: file.stat().st_mtime_ns for file in run.iterdir()}
        heard = Heard()
        assert train(*made, asked(), listen=heard, resume=True) == run
        assert {file.name: file.stat().st_mtime_ns for file in run.iterdir()} == before
        assert "is fresh" in heard.lines[0]

    def test_the_same_run_gives_the_same_bytes(self, made: tuple[DatasetStore, str]) -> None:
        first = train(*made, asked())
        kept = (first / "best.safetensors").read_bytes()
        assert (train(*made, asked(), restart=True) / "best.safetensors").read_bytes() == kept

    def test_the_callers_random_generator_is_left_alone(self, made: tuple[DatasetStore, str]) -> None:
        state = torch.get_rng_state()
        train(*made, asked())
        assert torch.equal(state, torch.get_rng_state())

    def test_without_a_validation_split(self, tmp_path: Path) -> None:
        made = dataset(tmp_path, rows={"train": (9, 8), "val": (0,)})
        run = train(*made, asked(patience=1))
        stage = read_stage(run)
        assert stage is not None
        assert stage.counts["monitored"] == "train_loss"
        assert {row["val_loss"] for row in rows(run)} == {""}

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_float_shards(self, tmp_path: Path, dtype: str) -> None:
        run = train(*dataset(tmp_path, dtype=dtype), asked())
        assert read_facts(run)["mean"] == [0.485, 0.456, 0.406]

    @pytest.mark.parametrize("device", ["quantum", "mps", "xpu:0", "meta", "cpu:x"])
    def test_a_device_that_batches_cannot_go_to(self, made: tuple[DatasetStore, str], device: str) -> None:
        with pytest.raises(UserError, match=f"device = '{device}': .*use auto, cpu or cuda") as caught:
            train(*made, asked(), device=device)
        assert caught.value.code == Exit.USAGE

    @pytest.mark.parametrize("more", [{}, {"resume": True}, {"restart": True}])
    def test_a_run_is_trained_by_one_at_a_time(self, made: tuple[DatasetStore, str], more: dict[str, Any]) -> None:
        class Second(Heard):
            """Wants to train what is being trained."""

            def epoch(self, record: Record, eta_seconds: float) -> None:
                super().epoch(record, eta_seconds)
                with pytest.raises(UserError, match="run a is being trained by another process") as caught:
                    train(*made, asked(run="a"), **more)
                assert caught.value.code == Exit.USAGE

        second = Second()
        train(*made, asked(run="a"), restart=True)
        run = train(*made, asked(run="a"), restart=True, listen=second)
        assert len(second.records) == len(rows(run)) == 3


class TestSplits:
    """The test split is none of the trainer's business."""

    def test_it_is_never_opened(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path, rows={"train": (9,), "val": (4,), "test": (5,)})
        (store.folder("transform", key) / "test-00000.safetensors").unlink()
        assert len(rows(train(store, key, asked()))) == 3


class TestResume:
    """Interrupted anywhere, any number of times, or not at all: the same bits."""

    @pytest.mark.parametrize("more", [
        {"schedule": "cosine"},
        {"schedule": "plateau", "plateau_epochs": 0, "optimizer": "sgd", "patience": 1},
    ])  # fmt: skip
    def test_once_at_any_step(self, tmp_path: Path, more: dict[str, Any]) -> None:
        made = dataset(tmp_path)
        whole = train(*made, asked(run="whole", **more))
        for call in range(1, CALLS + 1):
            named = asked(run=f"cut-{call}", **more)
            with pytest.raises(Interrupted, match=f"--resume --run cut-{call}") as caught:
                train(*made, named, stop=stop_at(call))
            assert caught.value.code == Exit.INTERRUPTED
            assert same(whole, train(*made, named, resume=True))

    def test_at_every_step(self, made: tuple[DatasetStore, str]) -> None:
        whole = train(*made, asked(run="whole", schedule="exponential"))
        named = asked(run="cut", schedule="exponential")
        for _ in range(3 * 4):  # each sitting does one step: it is asked before and after
            with pytest.raises(Interrupted):
                train(*made, named, stop=stop_at(2), resume=True)
        assert same(whole, train(*made, named, resume=True))

    def test_a_crash_between_best_and_last_only_repeats_the_epoch(self, made: tuple[DatasetStore, str]) -> None:
        whole = train(*made, asked(run="whole"))
        with pytest.raises(Interrupted):
            train(*made, asked(run="cut"), stop=stop_at(7))
        run = find_run(made[0], "cut")
        last = (run / "last.safetensors").read_bytes()
        with pytest.raises(Interrupted):
            train(*made, asked(run="cut"), stop=stop_at(7), resume=True)
        (run / "last.safetensors").write_bytes(last)
        assert same(whole, train(*made, asked(run="cut"), resume=True))

    def test_what_is_kept_is_neither_lost_nor_continued_unasked(self, made: tuple[DatasetStore, str]) -> None:
        with pytest.raises(Interrupted):
            train(*made, asked(), stop=stop_at(8))
        with pytest.raises(UserError, match=r"1 epoch and step 1 of the next kept; --resume .* --restart") as caught:
            train(*made, asked())
        assert caught.value.code == Exit.USAGE
        assert len(rows(train(*made, asked(), restart=True))) == 3

    def test_a_run_with_nothing_kept_simply_begins(self, made: tuple[DatasetStore, str]) -> None:
        heard = Heard()
        assert len(rows(train(*made, asked(), resume=True, listen=heard))) == 3
        assert "nothing is kept yet" in heard.lines[0]

    def test_resuming_with_other_settings_says_which(self, made: tuple[DatasetStore, str]) -> None:
        with pytest.raises(Interrupted):
            train(*made, asked(run="a"), stop=stop_at(8))
        with pytest.raises(UserError, match=r"dropout: 0\.4 kept, 0\.5 asked"):
            train(*made, asked(run="a", dropout=0.5), resume=True)

    def test_divergence_keeps_the_last_good_checkpoint(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path, dtype="float32")
        with pytest.raises(Interrupted):
            train(store, key, asked(), stop=stop_at(7))
        last = find_run(store) / "last.safetensors"
        before = last.read_bytes()
        for file in store.folder("transform", key).glob("train-*.safetensors"):
            open_rows(file, writable=True).images[:] = float("nan")
        with pytest.raises(UserError, match="epoch 2, batch 1: the loss is nan") as caught:
            train(store, key, asked(), resume=True)
        assert caught.value.code == Exit.DIVERGED
        assert last.read_bytes() == before


class TestNames:
    """A run is found by its name, and named after model and settings where nobody named it."""

    def test_default_names(self, tmp_path: Path) -> None:
        file = tmp_path / "weights.safetensors"
        file.write_bytes(b"some")
        frozen = Train(model="torchvision/mobilenet_v2", weights=str(file), freeze="backbone")
        assert describe(asked()).rpartition("-")[0] == "simple"
        assert describe(frozen).rpartition("-")[0] == "mobilenet_v2-frozen"
        assert describe(Train(model="timm/a.b", weights="default")).rpartition("-")[0] == "a.b-tuned"
        before = describe(frozen)
        file.write_bytes(b"other")
        assert describe(frozen) != before
        assert describe(asked(seed=1)) != describe(asked(seed=2))

    def test_what_normalises_alike_has_one_key(self) -> None:
        assert describe(asked()) == describe(asked(normalise="imagenet")) != describe(asked(normalise="half"))
        half = contract(dtype="float32").model_copy(update={"normalise": "half"})
        assert key_settings(asked(), half)["normalise"] == "half"

    def test_a_weights_file_is_read_once_while_it_stays_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "weights.safetensors"
        file.write_bytes(b"some")
        settings, at = Train(model="torchvision/resnet18", weights=str(file)), file.stat().st_mtime_ns
        first = key_settings(settings)["weights"]
        assert first == f"sha256:{file_digest(file)}"
        file.write_bytes(b"else")
        os.utime(file, ns=(at, at))  # as if nobody had touched it
        assert key_settings(settings)["weights"] == first
        os.utime(file, ns=(at, at + 1))
        assert key_settings(settings)["weights"] == f"sha256:{file_digest(file)}"

    def test_a_weights_file_that_is_not_there(self) -> None:
        with pytest.raises(UserError, match="cannot be read"):
            describe(Train(model="torchvision/resnet18", weights="gone.safetensors"))

    def test_what_a_run_was_asked_is_missing_or_damaged(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no run here \(run\.json is missing\)") as caught:
            read_facts(tmp_path)
        assert caught.value.code == Exit.STALE
        (tmp_path / "run.json").write_text("{")
        with pytest.raises(UserError, match=r"run\.json: damaged; train again with --restart"):
            read_facts(tmp_path)

    def test_the_newest_is_found_finished_or_not(self, made: tuple[DatasetStore, str]) -> None:
        with pytest.raises(UserError, match="no run here yet"):
            find_run(made[0], None)
        first = train(*made, asked(run="first"))
        with pytest.raises(Interrupted):
            train(*made, asked(run="second"), stop=stop_at(3))
        assert find_run(made[0], None).parent.name == "second"
        assert find_run(made[0], "first") == first
        with pytest.raises(UserError, match=r"Known: first, second\. Did you mean 'second'"):
            find_run(made[0], "secnd")
