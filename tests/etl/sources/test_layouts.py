from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.sources.containers import open_container
from etl.sources.layouts import NO_FILE, Options, layout_names, listed, number, read_layout
from manifests.errors import Exit, UserError
from tests.etl.sources.making import Memory, Tree, images, reading

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="shared/data is not beside the project")

names = st.sampled_from(["cat", "dog", "train", "Test", ".git", "__MACOSX", "1"])
files = st.sampled_from(["1.jpg", "2.PNG", ".DS_Store", "notes.txt", "labels.csv", "train.txt", "wnids.txt"])
paths = st.tuples(st.lists(names, max_size=3), files).map(lambda parts: "/".join([*parts[0], parts[1]]))
lists = st.sampled_from(
    ["id,label\n1,cat\n2,dog\n3,cat\n", "1.jpg\tcat\n", "x", "", "cat/1.jpg,a\ncat/1.jpg,b\n", "é;ñ\n"]
)
trees = st.dictionaries(paths, lists, min_size=1, max_size=12)


class TestReadLayout:
    """The first layout that fits is read, and every file is accounted for."""

    @given(trees, st.randoms())
    def test_every_file_is_in_one_place_and_order_does_not_matter(self, tree: Tree, random: Random):
        source = Memory(tree)
        entries = source.entries()
        try:
            found = read_layout(source, entries, Options())
        except UserError as error:
            assert str(error)  # noqa: PT017 (a refusal is one of two good ends)
            return
        there = [row.path for row in found.found if row.problem != NO_FILE]
        assert sorted([*there, *found.metadata, *found.system]) == sorted(tree)
        every = [row.path for row in found.found]
        assert every == sorted(set(every))
        random.shuffle(entries)
        assert read_layout(source, entries, Options()) == found

    @given(trees)
    def test_one_class_for_all_takes_every_file(self, tree: Tree):
        source = Memory(tree | {"1.jpg": ""})
        found = read_layout(source, source.entries(), Options(class_name="text"))
        assert {row.label for row in found.found} == {"text"}
        assert sorted([row.path for row in found.found] + found.system) == sorted(source.tree)

    def test_layouts_are_asked_from_the_particular_to_the_general(self):
        assert layout_names() == [
            *("single-class", "tiny-imagenet", "sketches", "label-list", "split-folders", "class-folders")
        ]

    def test_a_flat_folder_without_a_list_is_refused_with_what_was_seen(self):
        with pytest.raises(UserError) as refused:
            reading({**images("1.jpg", "2.jpg"), "README.md": ""})
        message = str(refused.value)
        assert message.startswith(
            "SOURCE: no layout fits; found 2 images directly in it and 1 other file. Expected one of:"
        )
        assert "class-folders: a folder for each class (cat/1.jpg)" in message
        assert "--labels FILE" in message
        assert "--layout NAME" in message

    def test_a_source_without_images_is_refused(self):
        with pytest.raises(UserError, match="no layout fits; found no images and 1 other file"):
            reading({"cat/README.md": ""})

    def test_images_straight_in_split_folders_are_no_classes(self):
        with pytest.raises(UserError, match=r"found 2 images in 2 folders \(test and train\)"):
            reading(images("train/1.jpg", "test/1.jpg"))

    def test_a_forced_layout_that_does_not_fit_says_why(self):
        with pytest.raises(
            UserError, match=r"not laid out as sketches, which needs train.txt and test.txt .*; found 1"
        ) as no:
            reading(images("cat/1.jpg"), Options(layout="sketches"))
        assert no.value.code == Exit.USAGE

    def test_a_forced_layout_is_read_where_another_would_be_first(self):
        tree = images("train/cat/1.jpg", "test/cat/1.jpg")
        assert reading(tree).layout == "split-folders"
        assert reading(tree, Options(layout="class-folders")).because == "2 class folders"

    def test_an_unknown_layout_is_named_with_the_nearest(self):
        with pytest.raises(UserError, match=r"unknown layout 'clas-folders'.*Did you mean 'class-folders'") as refused:
            reading(images("cat/1.jpg"), Options(layout="clas-folders"))
        assert refused.value.code == Exit.USAGE

    def test_options_that_no_layout_understands_together_are_refused(self):
        with pytest.raises(UserError, match="--class-name and --labels: given, but no layout does understand them all"):
            reading(images("cat/1.jpg"), Options(class_name="cat", labels="labels.csv"))
        with pytest.raises(UserError, match="--labels: given, but layout 'class-folders' does not understand it"):
            reading(images("cat/1.jpg"), Options(layout="class-folders", labels="labels.csv"))


class TestWords:
    """Messages read as sentences."""

    def test_words_are_listed_and_counted(self):
        assert listed(["a"]) == "a"
        assert listed("abc") == "a, b and c"
        assert listed("abcdefghijkl") == "a, b, c, d, e, f, g, h, i, j and 2 more"
        assert [number(1, "class"), number(2, "class"), number(1200, "image")] == [
            "1 class",
            "2 classes",
            "1,200 images",
        ]


class TestRealData:
    """Photographs beside the project."""

    @needs_data
    def test_clothing_is_split_folders(self, tmp_path: Path):
        container = open_container(DATA / "clothing", tmp_path)
        found = read_layout(container, container.entries(), Options())
        assert (found.layout, found.because) == ("split-folders", "10 class folders under train, validation and test")
        assert len(found.found) == 3781
        assert len({row.label for row in found.found}) == 10
        assert {row.split for row in found.found} == {"train", "val", "test"}
        assert {row.problem for row in found.found} == {None}
        assert (found.metadata, found.system, found.notes) == ([], [], [])

    @needs_data
    def test_signs_is_class_folders_in_a_wrapper(self, tmp_path: Path):
        container = open_container(DATA / "signs", tmp_path)
        found = read_layout(container, container.entries(), Options())
        assert (found.layout, found.because) == ("class-folders", "10 class folders under Dataset")
        assert len(found.found) == 2062
        assert sorted({str(row.label) for row in found.found}) == [str(digit) for digit in range(10)]
        assert {row.split for row in found.found} == {None}
