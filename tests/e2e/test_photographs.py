"""The main job on real photographs and real weights, which lie beside the project: skipped where they are missing."""

import json
from pathlib import Path

import pytest

from tests.e2e.runner import CLI, done

SHARED = CLI.parents[1] / "shared"
CLOTHING = SHARED / "data" / "clothing"
WEIGHTS = SHARED / "weights" / "mobilenet_v2.safetensors"

pytestmark = pytest.mark.skipif(not CLOTHING.is_dir(), reason="the photographs of shared/data are not here")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    done("extract", str(CLOTHING), "--dataset", "clothing", cwd=folder)
    return folder


class TestClothing:
    """3,781 photographs in given splits: nothing is rejected that is no copy, and a frozen backbone does its work."""

    def test_the_default_rejects_the_one_true_pair_and_nothing_else(self, here: Path):
        counts = json.loads(done("curate", "--json", cwd=here))
        assert (counts["found"], counts["kept"], counts["rejected"]) == (3781, 3779, {"label conflict": 2})
        assert [line.split(" (")[0] for line in counts["conflicts"]] == [
            "train/shorts/6075b4a5-5b1a-4ce0-aea0-9dbfbca7c35c.jpg",
            "train/skirt/637a56e4-7fa6-4f75-8859-0f8902461554.jpg",
        ]

    def test_a_cap_leaves_the_given_val_and_test_alone(self, here: Path):
        counts = json.loads(done("curate", "--max-per-class", "400", "--json", cwd=here))
        shirts = next(row for row in counts["per_class"] if row["class"] == "t-shirt")
        assert shirts == {"class": "t-shirt", "found": 928, "train": 400, "val": 81, "test": 52}

    @pytest.mark.skipif(not WEIGHTS.is_file(), reason="the weights of shared/weights are not here")
    def test_a_frozen_backbone_learns_from_few_photographs(self, here: Path):
        done("curate", "--max-per-class", "40", cwd=here)
        done("transform", "--size", "224", cwd=here)
        model = ("--model", "torchvision/mobilenet_v2", "--weights", str(WEIGHTS), "--freeze", "backbone")
        done("train", *model, "--epochs", "10", "--run", "frozen", cwd=here)
        figures = json.loads(done("evaluate", "--run", "frozen", "--split", "val", "--json", cwd=here))
        assert figures["accuracy"] > 0.6  # 40 images a class; with all of them it is 0.85, by chance 0.1
