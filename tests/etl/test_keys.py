from pathlib import Path

import pytest
from PIL import Image

from etl.keys import (
    CODECS,
    PIXELS_VERSION,
    RULES_VERSION,
    augment_inputs,
    curate_inputs,
    decoder,
    extract_inputs,
    listings,
    transform_inputs,
)
from manifests.errors import Exit, UserError
from manifests.recipe import Curate, Extract
from tests.makers import class_folders, write


def inputs(source: Path | list[Path], spool: Path, **asked: object) -> dict[str, str]:
    names = [str(each) for each in (source if isinstance(source, list) else [source])]
    settings = Extract.model_validate({"source": names, **asked})
    return extract_inputs(settings, listings(settings, spool))


class TestExtractInputs:
    """What an extract reads: names, sizes and times of the files, lists outside, decoder and hashes."""

    def test_they_are_the_same_while_nothing_changes(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 2})
        assert inputs(source, tmp_path) == inputs(source, tmp_path)

    def test_another_file_size_or_time_is_another_input(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 2})
        seen = [inputs(source, tmp_path)["files"]]
        write(source, {"a/new.png": b"1"})
        seen.append(inputs(source, tmp_path)["files"])
        write(source, {"a/new.png": b"12"})
        seen.append(inputs(source, tmp_path)["files"])
        (source / "a/new.png").touch()
        seen.append(inputs(source, tmp_path)["files"])
        (source / "a/new.png").rename(source / "a/newer.png")
        seen.append(inputs(source, tmp_path)["files"])
        assert len(set(seen)) == 5

    def test_a_list_outside_the_source_counts_by_its_content(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 2})
        labels = tmp_path / "labels.csv"
        labels.write_text("image,label\n000,b\n")
        before = inputs(source, tmp_path, labels=str(labels))
        labels.touch()
        assert inputs(source, tmp_path, labels=str(labels)) == before
        labels.write_text("image,label\n000,c\n")
        after = inputs(source, tmp_path, labels=str(labels))
        assert [name for name in after if after[name] != before[name]] == ["lists"]

    def test_what_decides_the_facts_is_said_by_the_reader(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 1})
        one = inputs(source, tmp_path)
        for asked in ({"max_pixels": 5}, {"background": "#000000"}):
            assert [name for name, value in inputs(source, tmp_path, **asked).items() if value != one[name]] == [
                "reader"
            ]

    def test_no_source_is_an_error_of_use(self, tmp_path: Path):
        with pytest.raises(UserError, match=r"^extract: no source named; give a folder or an archive") as raised:
            listings(Extract(), tmp_path)
        assert raised.value.code == Exit.USAGE


class TestPrefixes:
    """Several sources have a first folder each: class or own name, with a number where two are equal."""

    def test_one_source_has_none(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 1})
        settings = Extract.model_validate({"source": str(source)})
        assert [each.prefix for each in listings(settings, tmp_path)] == [""]

    def test_several_have_their_class_or_name(self, tmp_path: Path):
        for name in ("one/pics", "two/pics", "text"):
            class_folders(tmp_path / name, {"a": 1})
        sources = [
            str(tmp_path / "one/pics"),
            str(tmp_path / "two/pics"),
            {"path": str(tmp_path / "text"), "class": "t"},
        ]
        settings = Extract.model_validate({"source": sources})
        assert [each.prefix for each in listings(settings, tmp_path)] == ["pics-1/", "pics-2/", "t/"]


class TestOtherInputs:
    """A stage's key is made of the content of the stage before."""

    def test_rejections_count_by_image_and_reason_not_by_place(self, tmp_path: Path):
        write(tmp_path, {"a.csv": b"1.png,bad\n", "b.csv": b"# a comment\n1.png,bad\n", "c.csv": b"1.png,worse\n"})
        one, same, other = (
            curate_inputs(Curate(reject=(str(tmp_path / f"{name}.csv"),)), "images") for name in ("a", "b", "c")
        )
        assert one == same != other
        assert one["images"] == "images"

    def test_views_and_shards_name_what_they_read(self):
        assert augment_inputs("x") == {"curated": "x", "rules": RULES_VERSION}
        assert transform_inputs("y", "#ffffff") == {"views": "y", "background": "#ffffff", "decoder": decoder()}

    def test_the_decoder_is_named_with_its_versions(self):
        said = decoder()
        assert said.startswith(f"pixels {PIXELS_VERSION}, pillow {Image.__version__}, libjpeg_turbo ")
        assert [name in said for name in CODECS] == [True] * len(CODECS)
