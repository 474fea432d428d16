import pytest

from etl.sources.mappings import names_of, pairs
from manifests.errors import UserError


class TestPairs:
    """A mapping has two columns, parted by whatever is usual."""

    @pytest.mark.parametrize(
        "text", ["0,hot dog\n1,cat", "0\thot dog\n1\tcat\n", "0 hot dog\n1 cat\n\n", "0;hot dog\r\n1;cat\r\n"]
    )
    def test_any_usual_delimiter_is_found(self, text: str):
        assert pairs(text, "mapping.txt") == [("0", "hot dog"), ("1", "cat")]

    @pytest.mark.parametrize("text", ["a,b,c\n", "", "cat\n"])
    def test_anything_but_two_columns_is_refused(self, text: str):
        with pytest.raises(UserError, match=r"mapping.txt: found .*; a mapping has two columns, id and class name"):
            pairs(text, "mapping.txt")


class TestNames:
    """Ids are in the column that knows the labels."""

    @pytest.mark.parametrize("mapping", [[("id", "name"), ("0", "cat"), ("1", "dog")], [("cat", "0"), ("dog", "1")]])
    def test_either_order_will_do(self, mapping: list[tuple[str, str]]):
        assert names_of({"0", "1"}, mapping, "m.csv") == ({"0": "cat", "1": "dog"}, [])

    def test_a_label_without_a_name_is_noted(self):
        assert names_of({"0", "17"}, [("0", "cat")], "m.csv") == ({"0": "cat"}, ["label 17 has no name in m.csv"])

    def test_labels_that_share_a_name_are_noted(self):
        names, notes = names_of({"0", "1"}, [("0", "cat"), ("1", "cat")], "m.csv")
        assert names == {"0": "cat", "1": "cat"}
        assert notes == ["labels 0 and 1 have the same name in m.csv, 'cat', and are one class"]

    def test_a_label_with_two_names_is_refused(self):
        with pytest.raises(UserError, match=r"m.csv: label '0' has two names, 'cat' and 'dog'. Keep one"):
            names_of({"0"}, [("0", "cat"), ("0", "dog")], "m.csv")

    def test_a_mapping_of_other_labels_is_refused(self):
        with pytest.raises(UserError, match=r"m.csv: knows none of the source's labels"):
            names_of({"x"}, [("0", "cat")], "m.csv")
