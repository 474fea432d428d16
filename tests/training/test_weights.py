import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torchvision import models

from manifests.errors import Exit, UserError
from manifests.pixels import normalisation
from manifests.recipe import Train
from tests.training.makers import CLASSES, contract
from training.models import Classifier, build
from training.weights import fetched, licence, read_tensors, timm_address


def net() -> torch.nn.Module:
    torch.manual_seed(3)
    return models.get_model("squeezenet1_1", weights=None)


def built(file: Path) -> Classifier:
    settings = Train(model="torchvision/squeezenet1_1", weights=str(file))
    return build(settings, classes=CLASSES, contract=contract(32), statistics=normalisation("imagenet", 3))


class TestFiles:
    """Plain tensors, as safetensors or as torch saves them; nothing that a file says is run."""

    @pytest.mark.parametrize("wrapped", [None, "state_dict", "model", "model_state_dict"])
    def test_torch_files_give_what_safetensors_give(self, tmp_path: Path, wrapped: str | None) -> None:
        tensors: Any = net().state_dict()
        safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
        torch.save({wrapped: tensors, "epoch": 3} if wrapped else tensors, tmp_path / "a.pth")
        ours, theirs = built(tmp_path / "a.pth").state_dict(), built(tmp_path / "a.safetensors").state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith("backbone"))

    def test_names_of_a_parallel_model(self, tmp_path: Path) -> None:
        torch.save({f"module.{name}": value for name, value in net().state_dict().items()}, tmp_path / "a.pt")
        assert read_tensors(tmp_path / "a.pt", "it").keys() == net().state_dict().keys()

    def test_a_whole_pickled_model_is_refused(self, tmp_path: Path) -> None:
        torch.save(net(), tmp_path / "a.pth")
        with pytest.raises(UserError, match="not a file of plain tensors") as caught:
            built(tmp_path / "a.pth")
        assert caught.value.code == Exit.RECIPE
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("data", [b"", b"no tensors here", b"\x80\x04N."])
    @pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
    def test_damaged_files_are_refused(self, tmp_path: Path, name: str, data: bytes) -> None:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="not a file of plain tensors"):
            built(tmp_path / name)

    def test_a_file_with_something_else_in_it(self, tmp_path: Path) -> None:
        torch.save({"weight": torch.zeros(1), "note": "hello"}, tmp_path / "a.pth")
        with pytest.raises(UserError, match="something else than tensors by name"):
            read_tensors(tmp_path / "a.pth", "it")


class TestDownload:
    """What a library says while it fetches is no result, and where it cannot, the file is named."""

    def test_a_library_that_talks_does_so_on_stderr(self, capsys: pytest.CaptureFixture[str]) -> None:
        def talking() -> int:
            sys.stdout.write("fetching\n")
            return 3

        assert fetched(talking, Train(), "there") == 3
        assert capsys.readouterr() == ("", "fetching\n")

    def test_it_names_the_file(self) -> None:
        def broken() -> None:
            raise OSError("no network")

        where = timm_address("resnet18.a1_in1k")
        with pytest.raises(
            UserError, match=r"\(no network\).*fetch https://huggingface.co/timm/resnet18.a1_in1k/resolve"
        ):
            fetched(broken, Train(model="timm/resnet18"), where)


class TestLicence:
    """Of the weights: as the settings, the library or the file state it, in this order."""

    def test_random_weights_have_none(self) -> None:
        assert licence(Train(model="torchvision/resnet18")) is None

    def test_the_file_states_it(self, tmp_path: Path) -> None:
        file = tmp_path / "a.safetensors"
        safetensors.torch.save_file(net().state_dict(), file, {"license": "Apache-2.0"})
        assert licence(Train(model="torchvision/squeezenet1_1", weights=str(file))) == "Apache-2.0"

    def test_the_settings_go_before_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "a.safetensors"
        safetensors.torch.save_file(net().state_dict(), file, {"license": "Apache-2.0"})
        asked = Train(model="torchvision/squeezenet1_1", weights=str(file), licence="MIT")
        assert licence(asked) == "MIT"

    def test_a_file_that_is_silent(self, tmp_path: Path) -> None:
        torch.save(net().state_dict(), tmp_path / "a.pth")
        found = licence(Train(model="torchvision/squeezenet1_1", weights=str(tmp_path / "a.pth")))
        assert found == "not stated in the file (name it with --licence)"

    def test_timms_own(self) -> None:
        assert licence(Train(model="timm/mobilevit_s", weights="default")) not in {None, ""}

    def test_torchvision_states_one_for_some(self) -> None:
        assert "LICENSE" in str(licence(Train(model="torchvision/vit_h_14", weights="default")))
        assert "not stated" in str(licence(Train(model="torchvision/resnet18", weights="default")))
