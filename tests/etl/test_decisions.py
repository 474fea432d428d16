import threading
from pathlib import Path

import pytest

from etl.decisions import (
    DUPLICATE,
    NOT_DUPLICATE,
    NOTHING,
    PIN,
    REJECT,
    RELABEL,
    Decision,
    change,
    laid_over,
    read_decisions,
)
from manifests.errors import Exit, UserError
from tests.makers import digits, rows

TABLE = rows(path=["cat/1.png", "cat/2.png", "dog/1.png"], sha256=[digits(1), digits(2), digits(1)])


def rejected(image: str, reason: str, place: str = "") -> Decision:
    return Decision("", image, REJECT, reason=reason, place=place)


def listed(folder: Path, text: str, name: str = "out.csv") -> list[Decision]:
    (folder / name).write_text(text, "utf-8")
    return [found._replace(place=Path(found.place).name) for found in read_decisions([folder / name])]


class TestPlainLists:
    """A list says which image, and why; with a header or without."""

    def test_without_a_header_the_image_comes_first(self, tmp_path: Path):
        assert listed(tmp_path, "cat/1.png,blurred\ncat/2.png\n") == [
            rejected("cat/1.png", "blurred", "out.csv:1"),
            rejected("cat/2.png", "no reason given", "out.csv:2"),
        ]

    @pytest.mark.parametrize("head", ["path,reason", "Path , Reason", "reason,path"])
    def test_a_header_names_the_columns_in_any_order(self, tmp_path: Path, head: str):
        line = "blurred,cat/1.png" if head.startswith("reason") else "cat/1.png,blurred"
        assert listed(tmp_path, f"{head}\n{line}\n") == [rejected("cat/1.png", "blurred", "out.csv:2")]

    def test_where_both_are_named_the_digest_is_taken_and_the_path_where_there_is_none(self, tmp_path: Path):
        found = listed(tmp_path, f"path,sha256,reason\ncat/1.png,{digits(1)},a\ncat/2.png,,b\n")
        assert [each.image for each in found] == [digits(1), "cat/2.png"]

    def test_a_mark_before_the_text_quotes_commas_comments_and_empty_lines_are_understood(self, tmp_path: Path):
        found = listed(tmp_path, '\ufeffpath,reason\n\n# by Ana\n"a, b.png","no, not this"\n')
        assert found == [rejected("a, b.png", "no, not this", "out.csv:4")]

    def test_an_empty_list_rejects_nothing(self, tmp_path: Path):
        assert listed(tmp_path, "") == []

    def test_several_lists_are_read_in_order(self, tmp_path: Path):
        for name in ("one", "two"):
            (tmp_path / name).write_text(f"{name}.png,{name}\n")
        found = read_decisions([tmp_path / "two", tmp_path / "one"])
        assert [each.image for each in found] == ["two.png", "one.png"]

    def test_a_list_that_is_not_there_is_named(self, tmp_path: Path):
        with pytest.raises(UserError) as raised:
            read_decisions([tmp_path / "no.csv"])
        expected = (
            f"{tmp_path}/no.csv: no such list of decisions; put it back, or name others with curate --reject FILE, "
        )
        expected += "none with --reject ''."
        assert (str(raised.value), raised.value.code) == (expected, Exit.USAGE)

    def test_bytes_that_are_no_text_are_named(self, tmp_path: Path):
        (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00a")
        with pytest.raises(UserError, match=r"bad\.csv: not readable as CSV in UTF-8") as raised:
            read_decisions([tmp_path / "bad.csv"])
        assert raised.value.code == Exit.USAGE


class TestDecisions:
    """A line says what was decided; what cannot be understood is named, so that no decision is lost unnoticed."""

    HEAD = "sha256,path,decision,class,reason,when\n"

    def test_every_kind_is_read(self, tmp_path: Path):
        one, two = digits(1), digits(2)
        text = f"{one},a.png,reject,,blurred,2026-01-02T03:04:05Z\n{one},a.png,relabel,dog,,\n{one},a.png,pin,,,\n"
        text += f"{one},a.png,duplicate,,{two} b.png,\n{one},a.png,not duplicate,,b.png,\n"
        found = listed(tmp_path, self.HEAD + text)
        assert [each.decision for each in found] == [REJECT, RELABEL, PIN, DUPLICATE, NOT_DUPLICATE]
        assert [each.other for each in found] == ["", "", "", two, "b.png"]
        assert found[0].when == "2026-01-02T03:04:05Z"

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("x,a.png,rejct,,,", r"out\.csv:2: unknown decision 'rejct'\. .*Did you mean 'reject'\?"),
            ("x,a.png,relabel,,,", r"out\.csv:2: relabel needs a class"),
            ("x,a.png,duplicate,,,", r"out\.csv:2: duplicate needs the other image"),
            ("x,a.png,,dog,,", r"out\.csv:2: a class, and no decision"),
        ],
    )
    def test_what_cannot_be_understood_is_named(self, tmp_path: Path, line: str, words: str):
        with pytest.raises(UserError, match=words) as raised:
            listed(tmp_path, self.HEAD + line)
        assert raised.value.code == Exit.USAGE

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("path,decison,class\na.png,reject,\n", r"unknown column 'decison'.*Did you mean 'decision'\?"),
            ("path;decision\na.png;reject\n", "not separated by commas"),
            ("a.png,relabel,dog\n", "decisions without a header"),
        ],
    )
    def test_a_header_that_is_nearly_one_is_refused(self, tmp_path: Path, text: str, words: str):
        with pytest.raises(UserError, match=words) as raised:
            listed(tmp_path, text)
        assert raised.value.code == Exit.USAGE

    def test_a_comment_is_none_of_it_wherever_it_stands(self, tmp_path: Path):
        text = "# by Ana\npath,decision\n# Ana, looked twice\na.png,pin\n"
        assert listed(tmp_path, text) == [Decision("", "a.png", PIN, place="out.csv:4")]

    def test_odd_characters_in_a_path_are_kept(self, tmp_path: Path):
        assert [each.path for each in listed(tmp_path, "a\u2028b.png,x\n")] == ["a\u2028b.png"]


class TestLaidOver:
    """What the decisions say of the rows of a table, and those that name none."""

    def test_a_path_names_one_row_and_a_digest_every_copy(self):
        entries = [rejected("cat/2.png", "a"), Decision(digits(1), "", REJECT, reason="b")]
        found = laid_over(TABLE, entries)
        assert (found.rejected, found.unmatched) == ({"cat/2.png": "a", "cat/1.png": "b", "dog/1.png": "b"}, [])

    def test_what_names_nothing_is_given_back(self):
        entries = [rejected("cat/9.png", "a"), Decision(digits(9), "cat/2.png", REJECT)]
        entries += [Decision(digits(1), "", DUPLICATE, reason=digits(9))]
        assert laid_over(TABLE, entries) == NOTHING._replace(unmatched=entries)

    def test_the_last_word_on_an_image_stands_however_it_is_named(self):
        entries = [rejected("cat/2.png", "first"), Decision(digits(2), "cat/2.png", PIN)]
        assert laid_over(TABLE, entries) == NOTHING._replace(pinned=frozenset(["cat/2.png"]))
        assert laid_over(TABLE, entries[::-1]) == NOTHING._replace(rejected={"cat/2.png": "first"})

    def test_an_unreadable_file_takes_nobodys_decision(self):
        table = rows(path=["a.png", "gone.png"], sha256=[digits(1), None], problem=[None, "unreadable: gone"])
        entries = [rejected("a.png", "dark"), rejected("b.png", "dark"), Decision("", "gone.png", NOT_DUPLICATE)]
        found = laid_over(table, entries)
        assert (found.rejected, found.unmatched) == ({"a.png": "dark"}, entries[1:])

    def test_two_files_of_the_same_bytes_are_both_meant_where_both_are_named(self):
        found = laid_over(TABLE, [rejected("cat/1.png", "p"), rejected("dog/1.png", "q")])
        assert found.rejected == {"cat/1.png": "p", "dog/1.png": "q"}

    def test_the_last_word_on_a_pair_stands_from_either_side(self):
        one = Decision(digits(1), "", DUPLICATE, reason=digits(2))
        other = Decision(digits(2), "", NOT_DUPLICATE, reason=digits(1))
        assert laid_over(TABLE, [one, other]).same == frozenset()
        assert laid_over(TABLE, [other, one]).unlike == frozenset()

    def test_pairs_are_of_images_in_either_order(self):
        entries = [Decision(digits(2), "", DUPLICATE, reason="dog/1.png"), Decision(digits(2), "", NOT_DUPLICATE)]
        found = laid_over(TABLE, entries)
        one, two = sorted((digits(1), digits(2)))
        assert (found.same, found.unlike, found.like_none) == ({(one, two)}, set(), {digits(2)})


class TestChange:
    """The file is replaced whole, one writer at a time, in an order that version control likes."""

    BAD = "sha256,path,decision,class,reason,when\nx,a.png,rejct,,,\n"

    def test_what_is_written_is_read_back_sorted_by_path(self, tmp_path: Path):
        file = tmp_path / "new" / "decisions.csv"
        put = [Decision(digits(2), "b, c.png", RELABEL, "dog", "odd\nname", "now"), Decision(digits(1), "a.png", PIN)]
        kept = change(file, put)
        assert file.read_text().splitlines()[0] == "sha256,path,decision,class,reason,when"
        assert [each.path for each in kept] == ["a.png", "b, c.png"]
        assert [each._replace(place="") for each in read_decisions([file])] == [
            put[1],
            put[0]._replace(reason="odd name"),
        ]

    def test_a_later_decision_takes_the_place_of_an_earlier_one_and_dropping_leaves_no_trace(self, tmp_path: Path):
        file, image = tmp_path / "d.csv", digits(1)
        change(file, [Decision(image, "a.png", REJECT, reason="dark"), Decision(image, "a.png", RELABEL, "dog")])
        change(file, [Decision(image, "a.png", PIN)])
        assert {each.decision for each in read_decisions([file])} == {RELABEL, PIN}
        change(file, [], [Decision(image, "a.png", PIN), Decision(image, "a.png", RELABEL)])
        assert read_decisions([file]) == []

    def test_a_change_leaves_the_meaning_of_older_lines_and_the_comments_alone(self, tmp_path: Path):
        file, image = tmp_path / "d.csv", digits(1)
        head = "# looked at in May\nsha256,path,decision,class,reason,when\n"
        file.write_text(f"{head},z.png,reject,,dark,\n{image},z.png,pin,,,\n")
        table = rows(path=["y.png", "z.png"], sha256=[digits(2), image])
        before = laid_over(table, read_decisions([file]))
        change(file, [Decision(digits(2), "y.png", PIN)])
        after = laid_over(table, read_decisions([file]))
        assert (before.pinned, after.pinned) == ({"z.png"}, {"y.png", "z.png"})
        assert file.read_text().startswith(head)

    @pytest.mark.parametrize("odd", ["a\u2028b", "a\x85b", "a\nb", "a\rb", "a\x1cb", 'a"b', "a,b", " ab ", "#ab", "ab"])
    def test_whatever_a_path_or_a_class_holds_is_read_back(self, tmp_path: Path, odd: str):
        put = [Decision(digits(1), odd, RELABEL, f"c{odd}", "why", "now"), Decision(digits(2), odd, PIN)]
        change(tmp_path / "d.csv", put)
        assert {each._replace(place="") for each in read_decisions([tmp_path / "d.csv"])} == set(put)

    def test_of_a_link_what_it_points_to_is_written(self, tmp_path: Path):
        (tmp_path / "kept").mkdir()
        (tmp_path / "d.csv").symlink_to(tmp_path / "kept" / "d.csv")
        change(tmp_path / "d.csv", [Decision(digits(1), "a.png", PIN)])
        assert (tmp_path / "d.csv").is_symlink()
        assert len(read_decisions([tmp_path / "kept" / "d.csv"])) == 1

    @pytest.mark.parametrize("text", ["a.png,blurred\n", "path,decision,who\na.png,pin,Ana\n"])
    def test_a_list_that_would_lose_something_is_not_written_to(self, tmp_path: Path, text: str):
        (tmp_path / "d.csv").write_text(text)
        with pytest.raises(UserError, match="a list of a person's own"):
            change(tmp_path / "d.csv", [Decision(digits(1), "b.png", PIN)])
        assert (tmp_path / "d.csv").read_text() == text

    def test_many_writers_at_once_lose_nothing(self, tmp_path: Path):
        file = tmp_path / "d.csv"
        writers = [
            threading.Thread(target=change, args=(file, [Decision(digits(n), f"{n}.png", REJECT)])) for n in range(24)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert len(read_decisions([file])) == 24

    def test_a_file_that_cannot_be_understood_is_left_as_it_is(self, tmp_path: Path):
        (tmp_path / "d.csv").write_text(self.BAD)
        with pytest.raises(UserError, match="unknown decision"):
            change(tmp_path / "d.csv", [Decision(digits(1), "b.png", PIN)])
        assert (tmp_path / "d.csv").read_text() == self.BAD
