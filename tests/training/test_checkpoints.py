import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from manifests.errors import Exit, UserError
from manifests.recipe import Train
from tests.training.makers import CLASSES, contract, full_disk
from training.checkpoints import KEY, load_classifier, model_facts, model_tensors, read, save
from training.models import Classifier, build

STATISTICS = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def model(**asked: Any) -> tuple[Classifier, Train]:
    settings = Train.model_validate({"normalise": "dataset", "widths": "4,8"} | asked)
    return build(settings, classes=CLASSES, contract=contract(32), statistics=STATISTICS, load=False), settings


def written(place: Path, **asked: Any) -> tuple[Path, Classifier]:
    found, settings = model(**asked)
    save(place / "best.safetensors", model_tensors(found), model_facts(found, settings))
    return place / "best.safetensors", found.eval()


class TestCheckpoint:
    """What is saved comes back: tensors bit for bit, and a model from the file alone."""

    @pytest.mark.parametrize(
        "asked",
        [
            {},
            {"head": "6", "dropout": 0.5},
            {"model": "torchvision/mobilenet_v2", "weights": "default", "freeze": "backbone"},
            {"model": "torchvision/resnet18", "weights": "gone.safetensors"},
            {"model": "torchvision/mnasnet0_5"},
            {"model": "timm/mobilevit_xxs"},
        ],
    )
    def test_a_model_comes_back_without_its_weights_file_or_a_download(
        self, tmp_path: Path, asked: dict[str, Any]
    ) -> None:
        file, before = written(tmp_path, **asked)
        images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
        after = load_classifier(file)
        assert torch.equal(before(images), after(images))
        assert not after.training
        assert (after.classes, after.contract, after.normalise.name) == (CLASSES, contract(32), "dataset")

    def test_tensors_and_words_come_back(self, tmp_path: Path) -> None:
        tensors = {
            "step": torch.tensor(3.0),
            "last": torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last),
            "same": (shared := torch.ones(4, dtype=torch.int64)),
            "again": shared,
        }
        save(tmp_path / "a.safetensors", tensors, {"name": "piñata", "list": [1, 2.5, None]})
        found = read(tmp_path / "a.safetensors")
        assert all(torch.equal(value, found.tensors[name]) for name, value in tensors.items())
        assert found.said == {"name": "piñata", "list": [1, 2.5, None], "format": 1}

    def test_the_same_model_gives_the_same_bytes_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        found, settings = model()
        for name in ("a", "b"):
            save(tmp_path / name, model_tensors(found), model_facts(found, settings))
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]

    def test_on_a_full_disk_the_one_before_is_kept_and_the_remedy_named(self, tmp_path: Path) -> None:
        file = tmp_path / "last.safetensors"
        save(file, {"a": torch.zeros(9)}, {})
        before = file.read_bytes()
        with full_disk(65536), pytest.raises(UserError, match=r"last\.safetensors: cannot be written .* --resume"):
            save(file, {"a": torch.zeros(1 << 16)}, {})
        assert file.read_bytes() == before
        assert [each.name for each in tmp_path.iterdir()] == ["last.safetensors"]

    def test_loading_leaves_the_random_generator_alone(self, tmp_path: Path) -> None:
        file, _ = written(tmp_path)
        state = torch.get_rng_state()
        load_classifier(file)
        assert torch.equal(state, torch.get_rng_state())


class TestRefusal:
    """A file that is not what it should be is refused with exit 5, naming the place."""

    def refused(self, file: Path, words: str, **kind: Any) -> None:
        with pytest.raises(UserError, match=words) as caught:
            load_classifier(file, **kind)
        assert caught.value.code == Exit.STALE
        assert str(file) in str(caught.value)

    def test_no_file(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "best.safetensors", "no such file")

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04pickle", b"\xff" * 64])
    def test_no_safetensors(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "best.safetensors").write_bytes(content)
        self.refused(tmp_path / "best.safetensors", "not written by alacena")

    def test_another_programs_safetensors(self, tmp_path: Path) -> None:
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "best.safetensors")
        self.refused(tmp_path / "best.safetensors", "not written by alacena")

    def test_a_later_format(self, tmp_path: Path) -> None:
        metadata = {KEY: json.dumps({"format": 99})}
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "best.safetensors", metadata)
        self.refused(tmp_path / "best.safetensors", "format 99; this alacena reads 1")

    def test_other_pixels_show_both_sides(self, tmp_path: Path) -> None:
        file, _ = written(tmp_path)
        self.refused(file, "height: 32 here, 16 there", contract=contract(16))
        assert load_classifier(file, contract=contract(32)).contract == contract(32)

    def test_tensors_of_another_model(self, tmp_path: Path) -> None:
        found, _ = model()
        _, other = model(widths="4,9")
        save(tmp_path / "best.safetensors", model_tensors(found), model_facts(found, other))
        self.refused(tmp_path / "best.safetensors", r"backbone\.4\.weight: \(9, 4, 3, 3\) expected, \(8, 4, 3, 3\)")
