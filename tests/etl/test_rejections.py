from pathlib import Path

import pytest

from etl.rejections import Rejection, matched, read_rejections
from manifests.errors import Exit, UserError
from tests.makers import digits, rows

TABLE = rows(path=["cat/1.png", "cat/2.png", "dog/1.png"], sha256=[digits(1), digits(2), digits(1)])


def listed(folder: Path, text: str, name: str = "out.csv") -> list[Rejection]:
    (folder / name).write_text(text, "utf-8")
    return [found._replace(place=Path(found.place).name) for found in read_rejections((str(folder / name),))]


class TestReadRejections:
    """A list says which image, and why; with a header or without."""

    def test_without_a_header_the_image_comes_first(self, tmp_path: Path):
        assert listed(tmp_path, "cat/1.png,blurred\ncat/2.png\n") == [
            Rejection("cat/1.png", "blurred", "out.csv:1"),
            Rejection("cat/2.png", "no reason given", "out.csv:2"),
        ]

    @pytest.mark.parametrize("head", ["path,reason", "Path , Reason", "reason,path"])
    def test_a_header_names_the_columns_in_any_order(self, tmp_path: Path, head: str):
        line = "blurred,cat/1.png" if head.startswith("reason") else "cat/1.png,blurred"
        assert listed(tmp_path, f"{head}\n{line}\n") == [Rejection("cat/1.png", "blurred", "out.csv:2")]

    def test_where_both_are_named_the_digest_is_taken_and_the_path_where_there_is_none(self, tmp_path: Path):
        found = listed(tmp_path, f"path,sha256,reason\ncat/1.png,{digits(1)},a\ncat/2.png,,b\n")
        assert [each.image for each in found] == [digits(1), "cat/2.png"]

    def test_a_mark_before_the_text_quotes_commas_comments_and_empty_lines_are_understood(self, tmp_path: Path):
        found = listed(tmp_path, '\ufeffpath,reason\n\n# by Ana\n"a, b.png","no, not this"\n')
        assert found == [Rejection("a, b.png", "no, not this", "out.csv:4")]

    def test_an_empty_list_rejects_nothing(self, tmp_path: Path):
        assert listed(tmp_path, "") == []

    def test_several_lists_are_read_in_order(self, tmp_path: Path):
        for name in ("one", "two"):
            (tmp_path / name).write_text(f"{name}.png,{name}\n")
        found = read_rejections((str(tmp_path / "two"), str(tmp_path / "one")))
        assert [each.image for each in found] == ["two.png", "one.png"]

    def test_a_list_that_is_not_there_is_named(self, tmp_path: Path):
        with pytest.raises(UserError) as raised:
            read_rejections((f"{tmp_path}/no.csv",))
        expected = f"{tmp_path}/no.csv: no such list of rejections; expected a CSV of path or sha256, reason."
        assert (str(raised.value), raised.value.code) == (expected, Exit.USAGE)

    def test_bytes_that_are_no_text_are_named(self, tmp_path: Path):
        (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00a")
        with pytest.raises(UserError, match=r"bad\.csv: not readable as CSV in UTF-8") as raised:
            read_rejections((f"{tmp_path}/bad.csv",))
        assert raised.value.code == Exit.USAGE


class TestMatched:
    """Every row that a list names, and the entries that name none."""

    def test_a_path_names_one_row_and_a_digest_every_copy(self):
        entries = [Rejection("cat/2.png", "a", "x:1"), Rejection(digits(1).upper(), "b", "x:2")]
        assert matched(TABLE, entries) == ({"cat/2.png": "a", "cat/1.png": "b", "dog/1.png": "b"}, [])

    def test_what_names_nothing_is_given_back(self):
        entries = [Rejection("cat/9.png", "a", "x:1"), Rejection(digits(9), "b", "x:2")]
        assert matched(TABLE, entries) == ({}, entries)

    def test_the_first_reason_stands(self):
        entries = [Rejection("cat/2.png", "first", "x:1"), Rejection("cat/2.png", "second", "x:2")]
        assert matched(TABLE, entries) == ({"cat/2.png": "first"}, [])
