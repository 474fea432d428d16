import os
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from etl.images import facts
from etl.pipeline import plan
from manifests.errors import Exit, UserError
from manifests.recipe import Recipe
from manifests.store import DatasetStore, Stage
from manifests.table import EXTRACTED
from tests.makers import brought, class_folders, encoded, folder, image, made, png_bytes, recipe, write


def extracted(asked: Recipe, root: Path, *, workers: int = 0) -> tuple[Stage, pl.DataFrame]:
    stage = brought(asked, root, until="extract", workers=workers)["extract"]
    return stage, pl.read_parquet(folder(root, stage) / "images.parquet")


def column(table: pl.DataFrame, name: str) -> dict[str, Any]:
    return dict(table.select("path", name).iter_rows())


def zipped(source: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(source.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(source).as_posix())
    return target


class TestRows:
    """Every file found has one row: what it is, or why it cannot be used."""

    def test_every_file_is_one_row_with_the_facts_of_its_bytes(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 3, "dog": 2})
        _, table = extracted(recipe(source), tmp_path)
        assert table.schema == EXTRACTED
        files = sorted(file.relative_to(source).as_posix() for file in source.rglob("*.png"))
        assert table["path"].to_list() == files
        for row in table.iter_rows(named=True):
            data = (source / row["path"]).read_bytes()
            seen = facts(data, max_pixels=10**8, background="#ffffff")
            assert (row["label"], row["bytes"], row["sampled"]) == (row["path"][:3], len(data), True)
            assert {name: row[name] for name in seen._fields} == pytest.approx(seen._asdict())

    def test_what_cannot_be_used_has_a_reason(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 2})
        whole = encoded(image(100, 80), "JPEG")
        (source / "cat/gone.jpg").symlink_to("nowhere")
        write(
            source,
            {
                "cat/empty.jpg": b"",
                "cat/text.png": b"hello",
                "cat/cut.jpg": whole[: len(whole) // 2],
                "cat/large.png": png_bytes(200, 200),
            },
        )
        stage, table = extracted(recipe(source, extract={"max_pixels": 10_000}), tmp_path)
        assert column(table, "problem") == {
            "cat/000.png": None,
            "cat/001.png": None,
            "cat/cut.jpg": "truncated",
            "cat/empty.jpg": "empty",
            "cat/gone.jpg": "unreadable: No such file or directory",
            "cat/large.png": "too many pixels: 200×200 is over 10,000",
            "cat/text.png": "not an image",
        }
        assert stage.counts["problems"] == {
            "empty": 1, "not an image": 1, "too many pixels": 1, "truncated": 1, "unreadable": 1,
        }  # fmt: skip
        assert (stage.counts["found"], stage.counts["usable"], stage.counts["opened"]) == (7, 2, 7)

    def test_a_label_without_a_file_and_a_file_without_a_label_have_rows(self, tmp_path: Path):
        source = write(tmp_path / "s", {f"{n}.png": png_bytes(seed=n) for n in range(3)})
        write(source, {"labels.csv": b"image,label\n0.png,cat\n1.png,dog\n9.png,cat\n"})
        stage, table = extracted(recipe(source), tmp_path)
        assert column(table, "problem") == {
            "0.png": None, "1.png": None, "2.png": "file without a label", "9.png": "label without a file",
        }  # fmt: skip
        assert column(table, "bytes")["9.png"] is None
        assert stage.counts["opened"] == 3

    def test_a_bad_file_without_a_label_has_the_reason_of_its_bytes(self, tmp_path: Path):
        source = write(tmp_path / "s", {"0.png": png_bytes(), "1.png": b"", "labels.csv": b"image,label\n0.png,cat\n"})
        assert column(extracted(recipe(source), tmp_path)[1], "problem") == {"0.png": None, "1.png": "empty"}

    def test_a_folder_without_files_is_refused(self, tmp_path: Path):
        (tmp_path / "s").mkdir()
        with pytest.raises(UserError):
            extracted(recipe(tmp_path / "s"), tmp_path)

    def test_hidden_files_are_counted_apart(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 2})
        write(source, {"cat/.DS_Store": b"x", "cat/Thumbs.db": b"x"})
        stage, table = extracted(recipe(source), tmp_path)
        assert (table.height, stage.counts["system_files"]) == (2, 2)

    def test_a_zip_and_a_folder_give_the_same_table(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 3, "dog": 2})
        packed = zipped(source, tmp_path / "s.zip")
        one, other = (extracted(recipe(s), tmp_path / n)[0] for n, s in (("1", source), ("2", packed)))
        assert one.digest == other.digest
        assert one.key != other.key

    def test_workers_give_the_same_table(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 20, "dog": 20})
        one, other = (extracted(recipe(source), tmp_path / str(n), workers=n)[0] for n in (0, 2))
        assert one.digest == other.digest


class TestAgain:
    """A file whose size and time are those of an earlier extract is not opened again."""

    def test_an_unchanged_source_is_fresh(self, tmp_path: Path):
        asked = recipe(class_folders(tmp_path / "s", {"cat": 3}))
        assert made(asked, tmp_path, "extract") == ["extract"]
        assert made(asked, tmp_path, "extract") == []

    def test_another_reading_of_the_same_files_opens_none(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 3})
        first, table = extracted(recipe(source), tmp_path)
        second, again = extracted(recipe(source, extract={"seed": 1}), tmp_path)
        assert (first.counts["opened"], second.counts["opened"]) == (3, 0)
        assert again.equals(table)
        assert first.digest == second.digest

    def test_touching_one_file_opens_one(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 3})
        first, _ = extracted(recipe(source), tmp_path)
        os.utime(source / "cat/001.png", (1, 1))
        second, _ = extracted(recipe(source), tmp_path)
        assert second.counts["opened"] == 1
        assert second.digest == first.digest

    def test_adding_changing_and_removing_open_what_is_new(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 4})
        extracted(recipe(source), tmp_path)
        write(source, {"cat/new.png": png_bytes(seed=77), "cat/001.png": png_bytes(50, seed=78)})
        (source / "cat/003.png").unlink()
        stage, table = extracted(recipe(source), tmp_path)
        assert stage.counts["opened"] == 2
        assert extracted(recipe(source), tmp_path / "other")[1].equals(table)
        assert table["path"].to_list() == ["cat/000.png", "cat/001.png", "cat/002.png", "cat/new.png"]

    def test_another_reader_opens_all(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 3})
        extracted(recipe(source), tmp_path)
        assert extracted(recipe(source, extract={"background": "#000000"}), tmp_path)[0].counts["opened"] == 3

    def test_a_label_that_was_missing_and_is_there_now_counts(self, tmp_path: Path):
        source = write(tmp_path / "s", {f"{n}.png": png_bytes(seed=n) for n in range(2)})
        write(source, {"labels.csv": b"image,label\n0.png,cat\n"})
        assert column(extracted(recipe(source), tmp_path)[1], "problem")["1.png"] == "file without a label"
        write(source, {"labels.csv": b"image,label\n0.png,cat\n1.png,dog\n"})
        stage, table = extracted(recipe(source), tmp_path)
        assert column(table, "problem") == {"0.png": None, "1.png": None}
        assert stage.counts["opened"] == 0

    def test_a_reason_of_the_bytes_is_remembered(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 2})
        write(source, {"cat/bad.png": b"text"})
        _, table = extracted(recipe(source), tmp_path)
        stage, again = extracted(recipe(source, extract={"seed": 1}), tmp_path)
        assert again.equals(table)
        assert stage.counts["opened"] == 0

    def test_a_file_that_could_not_be_read_is_tried_again(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 2})
        (source / "cat/gone.png").symlink_to("nowhere")
        extracted(recipe(source), tmp_path)
        assert extracted(recipe(source, extract={"seed": 1}), tmp_path)[0].counts["opened"] == 1


class TestSamples:
    """A random sample of a source is decided by seed and image, among the usable ones."""

    def sampled(self, source: Path, root: Path, **asked: Any) -> set[str]:
        _, table = extracted(recipe(source, extract=asked), root)
        return set(table.filter(pl.col("sampled"))["path"])

    def test_so_many_are_taken_and_the_seed_decides_which(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 12, "dog": 12})
        one, same, other = (self.sampled(source, tmp_path, sample=8, seed=seed) for seed in (0, 0, 1))
        assert len(one) == len(other) == 8
        assert one == same != other

    def test_the_unusable_are_not_taken(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 4})
        write(source, {f"cat/bad{n}.png": b"text" for n in range(10)})
        assert len(self.sampled(source, tmp_path, sample=4) & {f"cat/00{n}.png" for n in range(4)}) == 4

    def test_a_sample_larger_than_the_source_is_all(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 3})
        assert len(self.sampled(source, tmp_path, sample=99)) == 3

    def test_adding_one_image_changes_at_most_one_other(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 12})
        before = self.sampled(source, tmp_path, sample=6)
        write(source, {"cat/new.png": png_bytes(seed=99)})
        assert len(before - self.sampled(source, tmp_path, sample=6)) <= 1

    def test_the_name_of_the_file_does_not_decide(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"cat": 8})
        before = {path.split("/")[1] for path in self.sampled(source, tmp_path, sample=4)}
        (source / "cat").rename(source / "gatto")
        assert {path.split("/")[1] for path in self.sampled(source, tmp_path, sample=4)} == before


class TestSeveralSources:
    """Several sources are one data set, each with its class and its own sample."""

    def test_classes_prefixes_and_samples(self, tmp_path: Path):
        text = write(tmp_path / "a", {f"{n}.png": png_bytes(seed=n) for n in range(6)})
        none = write(tmp_path / "b", {f"{n}.png": png_bytes(seed=n + 50) for n in range(6)})
        sources = [
            {"path": str(text), "class": "text", "sample": 2},
            {"path": str(zipped(none, tmp_path / "b.zip")), "class": "no_text"},
        ]
        stage, table = extracted(recipe(sources), tmp_path)
        expected = sorted(f"{name}/{n}.png" for name in ("text", "no_text") for n in range(6))
        assert table["path"].to_list() == expected
        assert all(path.split("/")[0] == label for path, label in column(table, "label").items())
        taken = table.filter(pl.col("sampled")).group_by("label").len().sort("label").rows()
        assert taken == [("no_text", 6), ("text", 2)]
        assert stage.counts["classes"] == 2

    def test_a_source_that_is_not_there_is_named(self, tmp_path: Path):
        with pytest.raises(UserError) as raised:
            extracted(recipe(tmp_path / "no"), tmp_path)
        assert str(raised.value).startswith(f"{tmp_path}/no: there is no such folder or archive.")
        assert raised.value.code == Exit.USAGE


class TestElsewhere:
    """What is known of a file is used again only where it is the same file, and only if it could be read."""

    def test_the_same_names_sizes_and_times_elsewhere_are_opened(self, tmp_path: Path):
        one, other = (class_folders(tmp_path / name, {"a": 2}, first=first) for name, first in (("one", 0), ("two", 9)))
        for file in one.rglob("*.png"):
            twin = other / file.relative_to(one)
            size = max(file.stat().st_size, twin.stat().st_size)
            for each in (file, twin):
                each.write_bytes(each.read_bytes().ljust(size, b"\0"))
                os.utime(each, ns=(1, 1))
        brought(recipe(one), tmp_path, until="extract")
        done = brought(recipe(other), tmp_path, until="extract")["extract"]
        assert done.counts["opened"] == 2

    def test_what_could_not_be_read_is_tried_again_when_asked(self, tmp_path: Path):
        source = class_folders(tmp_path / "source", {"a": 2})
        (source / "a/away.png").symlink_to(tmp_path / "later.png")
        first = brought(recipe(source), tmp_path, until="extract")["extract"]
        assert (first.counts["usable"], first.counts["unread"]) == (2, 1)
        step = next(plan(recipe(source), DatasetStore(tmp_path / "made"), "extract", retry=True))
        assert (step.is_fresh, step.why) == (False, "1 files could not be read the last time")
        assert next(plan(recipe(source), DatasetStore(tmp_path / "made"), "extract")).is_fresh
