"""A trained run leaves as a folder, whole or not at all, and says the same of real pictures as it did here."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.opened import find, opened
from etl.originals import Original, originals
from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.recipe import Train
from manifests.shards import read_index
from manifests.store import DatasetStore, read_stage, verify
from tests.makers import brought, class_folders, recipe, write
from training.checkpoints import load_classifier
from training.export import Check, export, export_folder, format_named, in_words, shown
from training.predict import predict
from training.runs import train

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed")

CLOTHING = Path(__file__).parents[3] / "shared" / "data" / "clothing"


class Done:
    """A run of one epoch over PNGs, in a store of its own."""

    def __init__(self, root: Path) -> None:
        source = class_folders(root / "source", {"cat": 16, "dog": 16}, width=60, height=50)
        stage = brought(recipe(source, curate={"split": "0.5,0.25,0.25"}, transform={"size": "16x20"}), root)[
            "transform"
        ]
        self.dataset = DatasetStore(root / "made")
        self.shards = self.dataset.folder("transform", stage.key)
        settings = Train(model="simple", widths=(4,), epochs=1, name="small")
        self.run = train(self.dataset, stage.key, settings, device="cpu")

    def check(self, images: int) -> Check:
        return Check(originals(self.dataset, self.shards, images), images)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return Done(tmp_path_factory.mktemp("export"))


class TestExport:
    """The model, its card and stage.json stand in one folder."""

    def test_graph_and_alacena_agree_on_the_pictures_of_the_data_set(self, done: Done):
        target = export_folder(done.dataset, done.run)
        left = export(done.run, done.shards, target, "both", done.check(8))
        assert target == done.dataset.root / "exports" / f"small-{done.run.name[:8]}"
        assert sorted(file.name for file in target.iterdir()) == sorted(left.files)
        assert sorted(left.files) == ["card.md", "model.onnx", "model.pt2", "stage.json"]
        found = left.agreement
        assert found is not None
        assert found.images == found.model.same == found.graph.same == found.whole.same == 8
        assert max(found.model.logits, found.graph.logits, found.whole.logits) < 1e-4  # of PNGs all pixels are decoded
        card = (target / "card.md").read_text("utf-8")
        assert in_words(found) in card
        assert "| cat | 8 | 4 | 4 |" in card

    def test_stage_json_says_what_it_was_made_of_and_holds_every_byte(self, done: Done, tmp_path: Path):
        export(done.run, done.shards, tmp_path / "out", "torch")
        stage = read_stage(tmp_path / "out")
        assert stage is not None
        assert verify(tmp_path / "out", stage) == []
        assert stage.inputs["weights"] == file_digest(done.run / "best.safetensors")
        assert stage.counts["classes"] == ["cat", "dog"]
        assert stage.counts["contract_digest"] == read_index(done.shards).contract.digest

    def test_a_later_export_takes_the_place_of_an_earlier_one(self, done: Done, tmp_path: Path):
        export(done.run, done.shards, tmp_path / "out", "torch")
        (tmp_path / "out" / "card.md").write_text("old")
        left = export(done.run, done.shards, tmp_path / "out", "onnx")
        assert left.files == ("card.md", "model.onnx", "stage.json")
        assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(left.files)
        assert [file.name for file in tmp_path.iterdir()] == ["out"]

    def test_it_is_shown_in_lines_and_as_json(self, done: Done, tmp_path: Path):
        left = export(done.run, done.shards, tmp_path / "out", "torch")
        assert [str(part) for part in shown(left)] == [f"{tmp_path}/out: card.md, model.pt2, stage.json"]
        assert json.loads(json.dumps(left.as_json()))["agreement"] is None


class TestRefused:
    """Nothing is overwritten that is no export, and nothing is left half."""

    @pytest.mark.parametrize("there", ["notes.txt", "stage.json"])
    def test_a_folder_with_other_things_is_left_alone(self, done: Done, tmp_path: Path, there: str):
        stage = (done.run / "stage.json").read_bytes()
        write(tmp_path, {there: stage})
        with pytest.raises(UserError, match="something that is no export lies there") as caught:
            export(done.run, done.shards, tmp_path, "torch")
        assert caught.value.code == Exit.USAGE
        assert (tmp_path / there).read_bytes() == stage

    def test_a_picture_that_cannot_be_read_leaves_nothing_behind(self, done: Done, tmp_path: Path):
        def broken() -> Iterator[Original]:
            yield from originals(done.dataset, done.shards, 1)
            raise UserError("cat/1.png: truncated", Exit.STALE)

        with pytest.raises(UserError, match="truncated"):
            export(done.run, done.shards, tmp_path / "out", "onnx", Check(broken(), 2))
        assert list(tmp_path.iterdir()) == []

    def test_the_graph_is_what_is_verified(self, done: Done, tmp_path: Path):
        with pytest.raises(UserError, match="--verify tries the ONNX graph") as caught:
            export(done.run, done.shards, tmp_path / "out", "torch", done.check(1))
        assert caught.value.code == Exit.USAGE

    def test_a_format_that_nobody_knows_is_named(self):
        assert format_named("onnx") == "onnx"
        with pytest.raises(UserError, match="Did you mean 'onnx'") as caught:
            format_named("onx")
        assert caught.value.code == Exit.USAGE


@pytest.mark.skipif(not CLOTHING.is_dir(), reason="the photographs of shared/data are not here")
class TestPhotographs:
    """Of real JPEGs the graph resizes to the same level; only what alacena decodes at a smaller scale differs."""

    @pytest.mark.parametrize("resize", ["crop", "pad"])
    def test_photographs_are_predicted_and_exported(self, tmp_path: Path, resize: str):
        photographs = [file for name in ("dress", "hat") for file in sorted((CLOTHING / "train" / name).iterdir())[:8]]
        assert len(photographs) == 16
        for file in photographs:
            (tmp_path / "source" / file.parent.name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "source" / file.parent.name / file.name).symlink_to(file)
        stage = brought(recipe(tmp_path / "source", transform={"size": 48, "resize": resize}), tmp_path)["transform"]
        dataset = DatasetStore(tmp_path / "made")
        shards = dataset.folder("transform", stage.key)
        settings = Train(model="simple", widths=(8, 16), epochs=1)
        run = train(dataset, stage.key, settings, device="cpu")
        left = export(run, shards, tmp_path / "out", "onnx", Check(originals(dataset, shards, 12), 12))
        assert left.agreement is not None
        assert left.agreement.model.logits < 1e-4
        assert left.agreement.graph.logits < 1e-4  # the same resize, to the level
        assert left.agreement.whole.logits > 1e-4  # these are decoded at a smaller scale, and so differ a little

        net, contract = load_classifier(run / "best.safetensors"), read_index(shards).contract
        found = find([tmp_path / "source"], tmp_path)
        rows = list(predict(net, opened(found.places, contract, workers=0)))
        assert [row.problem for row in rows] == [None] * 16
        assert {row.path for row in rows} == {
            f"{tmp_path}/source/{file.parent.name}/{file.name}" for file in photographs
        }
