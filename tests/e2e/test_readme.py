"""The README's commands, run as they stand on a small set of photographs in place of the large one."""

import re
import shlex
from pathlib import Path

import pytest
import safetensors.torch
from torchvision import models

from tests.e2e.runner import CLI, alacena
from tests.makers import class_folders

README = CLI.parent / "README.md"
WEIGHTS = "../shared/weights/mobilenet_v2.safetensors"  # what it trains with
SOURCE = "../shared/data/clothing"  # what the README extracts
STAND_IN = {"hat": 12, "pants": 14, "shoes": 12}
ELSEWHERE = {"demo", "review"}  # `make demo` has a test of its own, and review waits for a person


def commands() -> list[list[str]]:
    """The lines `python cli.py …` of the README's console blocks, without their comments, as words."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text("utf-8"), flags=re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("python cli.py")]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few photographs and weights that know nothing."""
    place = tmp_path_factory.mktemp("readme")
    class_folders(place / "photos", STAND_IN)
    safetensors.torch.save_file(models.get_model("mobilenet_v2").state_dict(), place / "random.safetensors")
    return place


class TestReadme:
    """What the README tells a new user to type works, in the order in which it stands: each needs those before it."""

    def test_it_shows_the_way_from_a_source_to_the_evidence(self):
        wanted = "extract curate augment transform train evaluate status review audit compare predict export"
        assert set(wanted.split()) <= {words[0] for words in commands()}

    @pytest.mark.parametrize(
        "words", [pytest.param(words, id=" ".join(words)) for words in commands() if words[0] not in ELSEWHERE]
    )
    def test_it_works(self, words: list[str], here: Path):
        stand_ins = {f"{SOURCE}/test": "photos", SOURCE: "photos", WEIGHTS: "random.safetensors"}
        for real, stand_in in stand_ins.items():
            words = [word.replace(real, stand_in) for word in words]
        ended = alacena(*words, cwd=here)
        assert ended.returncode in {0, int(words[0] == "diff")}, f"{ended.stdout}\n{ended.stderr}"
