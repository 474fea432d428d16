import pytest

from etl.sources.layouts import NO_LABEL
from tests.etl.sources.making import images, labels, reading, rows


class TestSplitFolders:
    """Split folders over class folders."""

    @pytest.mark.parametrize(
        "names", [("train", "val", "test"), ("Training", "VALID", "testing"), ("TRAIN", "Validation", "Test")]
    )
    def test_split_names_are_known_in_any_case(self, names: tuple[str, str, str]):
        train, val, test = names
        found = reading(images(f"{train}/cat/1.jpg", f"{val}/cat/1.jpg", f"{test}/dog/deep/1.jpg"))
        assert (found.layout, found.because) == ("split-folders", f"2 class folders under {train}, {val} and {test}")
        assert {row.path: (row.label, row.split) for row in found.found} == {
            f"{train}/cat/1.jpg": ("cat", "train"),
            f"{val}/cat/1.jpg": ("cat", "val"),
            f"{test}/dog/deep/1.jpg": ("dog", "test"),
        }

    def test_wrappers_are_stripped(self):
        found = reading(images("archive/train/cat/1.jpg", "archive/test/cat/1.jpg"))
        assert [(row.label, row.split) for row in found.found] == [("cat", "test"), ("cat", "train")]

    def test_one_split_alone_is_enough(self):
        assert reading(images("train/cat/1.jpg", "train/dog/1.jpg")).because == "2 class folders under train"

    def test_images_straight_in_a_split_have_no_label(self):
        found = reading({**images("train/cat/1.jpg", "test/1.jpg"), "test/README": ""})
        assert rows(found) == [
            ("test/1.jpg", None, "test", NO_LABEL),
            ("test/README", None, "test", None),
            ("train/cat/1.jpg", "cat", "train", None),
        ]
        assert found.notes == ["1 file in a split but in no class folder, such as test/1.jpg"]

    def test_a_folder_beside_the_splits_is_outside_them(self):
        found = reading(images("train/cat/1.jpg", "test/cat/1.jpg", "pred/1.jpg", "pred/2.jpg"))
        assert rows(found)[:2] == [("pred/1.jpg", None, None, NO_LABEL), ("pred/2.jpg", None, None, NO_LABEL)]
        assert found.notes == ["2 files without a label, such as pred/1.jpg"]

    def test_a_class_called_train_is_a_class(self):
        found = reading(images("bus/a/1.jpg", "train/a/1.jpg"))
        assert labels(found) == {"bus/a/1.jpg": "bus", "train/a/1.jpg": "train"}
