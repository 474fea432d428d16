"""The README's commands, run as they stand on a small set of photographs in place of the large one."""

import re
import shlex
from pathlib import Path

import safetensors.torch
from torchvision import models

from tests.e2e.runner import CLI, alacena
from tests.makers import class_folders

README = CLI.parent / "README.md"
WEIGHTS = "../shared/weights/mobilenet_v2.safetensors"  # what it trains with
SOURCE = "../shared/data/clothing"  # what the README extracts
STAND_IN = {"hat": 12, "pants": 14, "shoes": 12}


def commands() -> list[str]:
    """The lines `python cli.py …` of the README's console blocks, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text("utf-8"), flags=re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("python cli.py")]


class TestReadme:
    """What the README tells a new user to type works in the order in which it stands."""

    def test_it_shows_the_way_from_a_source_to_the_evidence(self):
        shown = [line.split()[2] for line in commands()]
        for command in (
            "extract",
            "curate",
            "augment",
            "transform",
            "train",
            "evaluate",
            "status",
            "review",
            "audit",
            "compare",
            "predict",
        ):
            assert command in shown

    def test_every_command_succeeds(self, tmp_path: Path):
        class_folders(tmp_path / "photos", STAND_IN)
        weights = tmp_path / "random.safetensors"
        safetensors.torch.save_file(models.get_model("mobilenet_v2").state_dict(), weights)
        for line in commands():
            line = line.replace(f"{SOURCE}/test", "photos").replace(SOURCE, "photos").replace(WEIGHTS, str(weights))
            arguments = shlex.split(line)[2:]
            if arguments[0] in {"demo", "review"}:  # `make demo` has a test of its own, and review waits for a person
                continue
            ended = alacena(*arguments, cwd=tmp_path)
            assert ended.returncode in {0, int(arguments[0] == "diff")}, f"{line}\n{ended.stdout}\n{ended.stderr}"
