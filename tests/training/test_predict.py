"""A checkpoint is asked about pictures: the same pixels and logits as its shards, a row each, whatever is wrong."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from etl.opened import find, opened
from manifests.errors import Exit, UserError
from manifests.pixels import NAMED, PixelContract
from manifests.recipe import Train
from manifests.shards import read_index
from tests.makers import PIXELS, brought, class_folders, folder, jpeg_bytes, recipe, write
from tests.training.makers import contract, full_disk
from training.batches import in_order
from training.evaluate import logits_in_order
from training.models import Classifier, build
from training.predict import (
    SHOWN,
    Guess,
    Read,
    Row,
    Tally,
    chosen_checkpoint,
    columns,
    logits,
    predict,
    refuse_output,
    save,
    write_csv,
    write_json,
)
from training.runs import run_statistics

CLASSES = ("red", "green", 'b"l,ue')


def model(pixels: PixelContract | None = None, classes: tuple[str, ...] = CLASSES, **settings: Any) -> Classifier:
    torch.manual_seed(0)
    asked = Train.model_validate({"model": "simple", "widths": (4,)} | settings)
    built = build(asked, classes=classes, contract=pixels or contract(), statistics=NAMED["imagenet"], load=False)
    return built.eval()


def pictures(count: int, *, broken: tuple[int, ...] = ()) -> list[Read]:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return [(f"{n}.jpg", None, "truncated") if n in broken else (f"{n}.jpg", images[n], None) for n in range(count)]


class TestSamePixels:
    """Predicting a source file gives the logits of its shard row."""

    @pytest.mark.parametrize("pixels", PIXELS)
    def test_logits_of_a_file_are_those_of_its_row(self, tmp_path: Path, pixels: dict[str, Any]):
        source = class_folders(tmp_path / "source", {"cat": 6, "dog": 6})
        write(source, {f"cat/{n}.jpg": jpeg_bytes(200 + n, 150, seed=900 + n) for n in range(4)})
        shards = folder(tmp_path, brought(recipe(source, transform=pixels), tmp_path)["transform"])
        index = read_index(shards)
        torch.manual_seed(0)
        settings = Train(model="simple", widths=(4,))
        statistics = run_statistics(settings, index)
        net = build(settings, classes=index.classes, contract=index.contract, statistics=statistics).eval()
        rows = pl.read_parquet(shards / "rows.parquet").filter(pl.col("split") == "train")
        assert rows.height > 5
        found = find([source / path for path in rows["path"]], tmp_path)
        read = list(opened(found.places, index.contract, workers=0))
        images = np.stack([one.pixels for one in read if one.pixels is not None])

        expected, _ = logits_in_order(net, in_order(shards, "train", rows.height, "cpu"), rows.height)
        assert np.array_equal(logits(net, images), expected)  # in the same batch, bit for bit
        alone = np.concatenate([logits(net, image[None]) for image in images])
        assert np.allclose(alone, expected, atol=1e-5)
        predicted = [row.top[0].name for row in predict(net, read, batch_size=3)]
        assert predicted == [index.classes[number] for number in expected.argmax(axis=1)]


class TestRows:
    """A row for each picture, in their order, with the likeliest classes or the reason."""

    @pytest.mark.parametrize("batch_size", [1, 3, 100])
    def test_they_are_in_order_whatever_the_batch(self, batch_size: int):
        asked = pictures(10, broken=(0, 4, 9))
        rows = list(predict(model(), asked, batch_size=batch_size))
        assert [row.path for row in rows] == [name for name, _, _ in asked]
        assert [row.problem for row in rows] == [why for _, _, why in asked]
        assert [len(row.top) for row in rows] == [0 if why else 3 for _, _, why in asked]

    def test_probabilities_are_the_softmax_from_the_highest_on(self):
        net, asked = model(), pictures(4)
        expected = torch.tensor(logits(net, np.stack([image for _, image, _ in asked if image is not None]))).softmax(1)
        for row, likely in zip(predict(net, asked), expected, strict=True):
            order = likely.argsort(descending=True).tolist()
            assert [guess.name for guess in row.top] == [CLASSES[number] for number in order]
            assert [guess.probability for guess in row.top] == pytest.approx(
                [likely[n].item() for n in order], abs=1e-6
            )

    def test_top_names_so_many_and_at_most_all(self):
        assert [len(row.top) for row in predict(model(), pictures(2), top=2)] == [2, 2]
        assert [len(row.top) for row in predict(model(), pictures(2), top=9)] == [3, 3]

    def test_pictures_are_taken_a_batch_at_a_time(self):
        taken = 0

        def counted() -> Iterator[Read]:
            nonlocal taken
            for picture in pictures(10):
                taken += 1
                yield picture

        rows = predict(model(), counted(), batch_size=4)
        assert next(rows).path == "0.jpg"
        assert taken == 4

    def test_where_nothing_could_be_read_the_model_is_not_asked(self):
        rows = list(predict(model(), pictures(3, broken=(0, 1, 2))))
        assert [row.problem for row in rows] == ["truncated"] * 3

    def test_of_a_model_that_diverged_no_class_is_named(self):
        net = model()
        torch.nn.init.constant_(next(net.head.parameters()), float("nan"))
        with pytest.raises(UserError, match="not finite") as caught:
            list(predict(net, pictures(1)))
        assert caught.value.code == Exit.DIVERGED


ROWS = [
    Row('a, "b"/1.jpg', (Guess("red", 0.75), Guess('b"l,ue', 0.25))),
    Row("2\n.jpg", (), "not an image: PDF"),
]


class TestTally:
    """What is said of the whole: how many, and which could not be read."""

    def test_it_counts_and_lets_every_row_through(self):
        said = list[str]()
        tally = Tally(said.append)
        assert list(tally.of(ROWS)) == ROWS
        assert (tally.predicted, tally.unreadable, said) == (1, 1, ["2\n.jpg: not an image: PDF"])

    def test_of_many_it_names_some_and_says_so(self):
        said, good = list[str](), Row("good.jpg", (Guess("red", 1.0),))
        list(Tally(said.append).of([good, *(Row(f"{n}.jpg", (), "empty") for n in range(SHOWN + 5))]))
        assert len(said) == SHOWN + 1
        assert said[-1].startswith("… and more")

    def test_where_none_could_be_read_it_refuses(self):
        with pytest.raises(UserError, match=r"none of 2 files could be read, the first being 'a' \(empty\)") as caught:
            list(Tally().of([Row("a", (), "empty"), Row("b", (), "truncated")]))
        assert caught.value.code == Exit.REFUSED


class TestWriting:
    """CSV and JSON hold every name exactly, and a file is there whole or not at all."""

    def test_csv_has_a_line_for_each(self):
        out = io.StringIO()
        write_csv(ROWS, out, 3)
        assert list(csv.reader(io.StringIO(out.getvalue()))) == [
            [
                "path",
                "predicted",
                "probability",
                "predicted_2",
                "probability_2",
                "predicted_3",
                "probability_3",
                "problem",
            ],
            ['a, "b"/1.jpg', "red", "0.75", 'b"l,ue', "0.25", "", "", ""],
            ["2\n.jpg", "", "", "", "", "", "", "not an image: PDF"],
        ]

    def test_a_terminal_is_given_no_control_characters(self):
        out = io.StringIO()
        write_csv([Row("\x1b[31m.jpg", (), "empty")], out, 1, shown=True)
        assert out.getvalue().splitlines()[1] == r"\x1b[31m.jpg,,,empty"

    @pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
    def test_json_is_a_list_of_objects(self, rows: list[Row]):
        out = io.StringIO()
        write_json(rows, out)
        top = [{"class": "red", "probability": 0.75}, {"class": 'b"l,ue', "probability": 0.25}]
        expected = [
            {"path": 'a, "b"/1.jpg', "predicted": "red", "probability": 0.75, "top": top},
            {"path": "2\n.jpg", "problem": "not an image: PDF"},
        ]
        assert json.loads(out.getvalue()) == expected[: len(rows)]

    @pytest.mark.parametrize("name", ["out.csv", "out.JSON"])
    def test_the_name_says_the_format(self, tmp_path: Path, name: str):
        save(ROWS, tmp_path / "new" / name, 2)
        text = (tmp_path / "new" / name).read_text("utf-8")
        assert text.startswith("path,predicted" if name.endswith("csv") else "[\n {")
        assert [file.name for file in (tmp_path / "new").iterdir()] == [name]

    @pytest.mark.parametrize("name", ["out.txt", "out", "folder.csv"])
    def test_another_name_is_refused(self, tmp_path: Path, name: str):
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(UserError, match="--output") as caught:
            refuse_output(tmp_path / name)
        assert caught.value.code == Exit.USAGE

    def test_where_it_ends_early_what_was_there_before_stays(self, tmp_path: Path):
        (tmp_path / "out.csv").write_text("before")
        with pytest.raises(UserError, match="none of 1 files"):
            save(Tally().of(ROWS[1:]), tmp_path / "out.csv", 2)
        assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]
        assert (tmp_path / "out.csv").read_text() == "before"

    def test_on_a_full_disk_too(self, tmp_path: Path):
        (tmp_path / "out.csv").write_text("before")
        many = [Row("x" * 200, (Guess("red", 1.0),))] * 1000
        with full_disk(8192), pytest.raises(UserError, match=r"out\.csv: cannot be written"):
            save(many, tmp_path / "out.csv", 1)
        assert (tmp_path / "out.csv").read_text() == "before"

    def test_columns_have_room_for_all_guesses(self):
        assert columns(1) == ["path", "predicted", "probability", "problem"]
        assert len(columns(5)) == 12


class TestCheckpoint:
    """The best one, else the last with a word, else none."""

    def test_best_comes_first(self, tmp_path: Path):
        run = tmp_path / "first" / "key"
        run.mkdir(parents=True)
        (run / "last.safetensors").touch()
        file, note = chosen_checkpoint(run)
        assert file.name == "last.safetensors"
        assert note is not None
        assert "first: there is no best checkpoint" in note
        (run / "best.safetensors").touch()
        assert chosen_checkpoint(run) == (run / "best.safetensors", None)

    def test_without_any_it_is_refused(self, tmp_path: Path):
        with pytest.raises(UserError, match=r"neither best\.safetensors nor last\.safetensors") as caught:
            chosen_checkpoint(tmp_path)
        assert caught.value.code == Exit.STALE
