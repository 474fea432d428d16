import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.sources.tables import cells

words = st.text(alphabet="abñ ,;\t|\"'\n", max_size=6).map(lambda text: f"x{text}x")


class TestCells:
    """Tables come apart as they were put together."""

    @given(st.lists(st.tuples(words, words), min_size=1), st.sampled_from(["a.csv", "a.tsv"]))
    def test_what_is_written_is_read(self, rows: list[tuple[str, str]], name: str):
        text = StringIO()
        csv.writer(text, delimiter="," if name == "a.csv" else "\t", quoting=csv.QUOTE_ALL).writerows(rows)
        assert cells(text.getvalue(), name) == [list(row) for row in rows]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
    def test_the_delimiter_is_found_whatever_the_name_says(self, delimiter: str, name: str):
        assert cells(f"id{delimiter}label\n1{delimiter}cat\n", name) == [["id", "label"], ["1", "cat"]]

    def test_blank_lines_and_spaces_are_no_content(self):
        assert cells("a , b\n\n ,\nc,d", "a.csv") == [["a", "b"], ["c", "d"]]

    def test_a_long_table_is_read_to_its_end(self):
        assert len(cells("name,label\n" * 30_000, "a.csv")) == 30_000
