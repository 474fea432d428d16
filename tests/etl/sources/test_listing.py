import pytest

from etl.sources.listing import base_of, decoded, is_system, listing_of, split_of, stem
from tests.etl.sources.making import Memory, images


class TestSystemFiles:
    """Hidden files and what operating systems leave behind are counted apart."""

    @pytest.mark.parametrize(
        "path",
        [
            ".DS_Store",
            "cat/Thumbs.db",
            "cat/thumbs.DB",
            "desktop.ini",
            "cat/._1.jpg",
            "__MACOSX/cat/1.jpg",
            ".git/a/b.jpg",
        ],
    )
    def test_a_system_file_is_one(self, path: str):
        assert is_system(path)

    @pytest.mark.parametrize("path", ["cat/1.jpg", "cat.d/1..jpg", "Thumbs.db/1.jpg", "macosx/1.jpg"])
    def test_any_other_file_is_none(self, path: str):
        assert not is_system(path)


class TestBase:
    """Wrapper folders are those that hold nothing but one folder of folders."""

    @pytest.mark.parametrize(
        ("paths", "base"),
        [
            (["signs/Dataset/0/1.jpg", "signs/Dataset/1/1.jpg"], "signs/Dataset/"),
            (["archive/train/cat/1.jpg", "archive/test/cat/1.jpg"], "archive/"),
            (["cat/1.jpg", "dog/1.jpg"], ""),
            (["cats/1.jpg", "cats/2.jpg"], ""),
            (["cats/1.jpg", "cats/2.jpg", "cats/thumbs/1.jpg"], ""),
            (["set/cover.jpg", "set/cat/1.jpg", "set/dog/1.jpg"], "set/"),
            (["cover.jpg", "set/cat/1.jpg", "set/dog/1.jpg"], "set/"),
            (["train/cat/1.jpg", "train/dog/1.jpg"], ""),
            (["test/test/cat/1.jpg", "test/train/cat/1.jpg"], "test/"),
            (["1.jpg"], ""),
            ([], ""),
        ],
    )
    def test_it_is_what_all_images_lie_under(self, paths: list[str], base: str):
        assert base_of(paths) == base


class TestListing:
    """Files in order, images by suffix."""

    def test_files_images_and_system_files_are_told_apart(self):
        source = Memory(images("b.JPG", "a.txt", ".DS_Store", "Jpg", "x.jpg/c.Webp"))
        found = listing_of(source, reversed(source.entries()))
        assert list(found.files) == ["Jpg", "a.txt", "b.JPG", "x.jpg/c.Webp"]
        assert found.images == ["b.JPG", "x.jpg/c.Webp"]
        assert found.system == [".DS_Store"]

    @pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    def test_text_is_decoded_by_what_it_holds(self, codec: str):
        assert decoded("café, ñandú".encode(codec)) == "café, ñandú"

    def test_split_names_are_known_in_any_case(self):
        assert [
            split_of(name) for name in ("Train", "TRAINING", "valid", "val", "Validation", "testing", "trains")
        ] == [
            *("train", "train", "val", "val", "val", "test"),
            None,
        ]

    def test_a_stem_is_the_name_without_its_suffix(self):
        assert [stem(path) for path in ("a/cat.1.jpg", "a.b/cat", "cat.jpg")] == ["cat.1", "cat", "cat"]
