import pytest

from etl.sources.layouts import NO_FILE, NO_LABEL
from manifests.errors import UserError
from tests.etl.sources.making import Tree, images, labels, reading, rows

MAPPING = "airplane\t0\nalarm clock\t1\n"


def sketches(train: str, test: str, *paths: str, folder: str = "") -> Tree:
    lists = {"train.txt": train, "test.txt": test, "mapping.txt": MAPPING}
    return {**images(*paths), **{folder + name: text for name, text in lists.items()}}


class TestSketches:
    """train.txt, test.txt and mapping.txt."""

    def test_indices_are_named_and_paths_may_have_spaces(self):
        found = reading(sketches("airplane/1.png\t0\nalarm clock/2.png\t1\n", "airplane/3.png\t0\n", *PATHS))
        assert found.because == "2 sketches in train.txt and 1 in test.txt, named by mapping.txt"
        assert rows(found) == [
            ("airplane/1.png", "airplane", "train", None),
            ("airplane/3.png", "airplane", "test", None),
            ("alarm clock/2.png", "alarm clock", "train", None),
        ]
        assert found.metadata == ["mapping.txt", "test.txt", "train.txt"]
        assert found.notes == []

    def test_names_stand_for_themselves(self):
        found = reading(
            sketches("airplane/1.png\tairplane\nalarm clock/2.png\talarm clock\n", "airplane/3.png\t0", *PATHS)
        )
        assert set(labels(found).values()) == {"airplane", "alarm clock"}

    @pytest.mark.parametrize("folder", ["", "set/", "set/lists/"])
    @pytest.mark.parametrize("wrapper", ["", "set/", "set/png/"])
    def test_paths_may_start_at_the_list_or_in_a_wrapper(self, folder: str, wrapper: str):
        paths = [wrapper + path for path in PATHS]
        found = reading(
            sketches("airplane/1.png\t0\nalarm clock/2.png\t1\n", "airplane/3.png\t0\n", *paths, folder=folder)
        )
        assert found.layout == "sketches"
        assert labels(found) == dict(zip(sorted(paths), ["airplane", "airplane", "alarm clock"], strict=True))

    def test_what_is_listed_twice_absent_or_not_listed_is_said(self):
        found = reading(sketches("airplane/1.png\t0\ngone.png\t1\n", "airplane/1.png\t0\n", *PATHS))
        assert rows(found) == [
            ("airplane/1.png", None, None, "two splits in train.txt and test.txt: test, train"),
            ("airplane/3.png", None, None, NO_LABEL),
            ("alarm clock/2.png", None, None, NO_LABEL),
            ("gone.png", "alarm clock", "train", NO_FILE),
        ]

    def test_an_index_without_a_name_is_noted(self):
        found = reading(sketches("airplane/1.png\t17\n", "airplane/3.png\t0\n", *PATHS))
        assert labels(found)["airplane/1.png"] == "17"
        assert found.notes[0] == "label 17 has no name in mapping.txt"

    def test_a_line_without_a_tab_is_named(self):
        with pytest.raises(
            UserError, match=r"train.txt, line 2: 'alarm clock/2.png 1' has no tab; expected path TAB label"
        ):
            reading(sketches("airplane/1.png\t0\nalarm clock/2.png 1\n", "airplane/3.png\t0\n", *PATHS))


PATHS = ["airplane/1.png", "alarm clock/2.png", "airplane/3.png"]
