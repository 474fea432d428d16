from pathlib import Path

import pytest

from etl.decisions import DUPLICATE, NOT_DUPLICATE, Decision, change, read_decisions
from etl.review.ledger import Ledger, Wish, checked
from manifests.errors import UserError
from manifests.store import beside
from tests.makers import digits

ONE, TWO = digits(1), digits(2)
SHAS = {"a.png": ONE, "b.png": TWO}
REJECT = {"decision": "reject", "reason": "blurred"}


def ledger(root: Path, *others: Path) -> Ledger:
    return Ledger(root / "d.csv", others, SHAS)


def wish(to: dict[str, str] | None, what: str = "stays", **more: object) -> Wish:
    return Wish(ONE, "a.png", what, to=to)._replace(**more)


def lines(file: Path) -> list[tuple[str, str, str, str]]:
    return [(d.path, d.decision, d.class_name, d.reason) for d in read_decisions([file])]


class TestGranting:
    """What is wished is in the file when `grant` returns, and what stood there before is told."""

    def test_a_decision_is_written_with_its_time(self, tmp_path: Path):
        told = ledger(tmp_path).grant([wish(REJECT)])[0]
        (line,) = read_decisions([tmp_path / "d.csv"])
        assert (line.sha256, line.path, line.decision, line.reason) == (ONE, "a.png", "reject", "blurred")
        assert line.when.endswith("Z")
        assert len(line.when) == 20
        assert (told.before, told.now) == (None, {**REJECT, "class": "", "when": line.when})

    def test_an_undo_puts_back_what_stood_there_with_its_time(self, tmp_path: Path):
        book = ledger(tmp_path)
        book.grant([wish({**REJECT, "when": "2020-01-02T03:04:05Z"})])
        text = (tmp_path / "d.csv").read_text()
        told = book.grant([wish({"decision": "pin"})])[0]
        assert lines(tmp_path / "d.csv") == [("a.png", "pin", "", "")]
        undone = book.grant([wish(told.before, expects=told.now, is_undo=True)])[0]
        assert (undone.refused, (tmp_path / "d.csv").read_text()) == (False, text)

    def test_an_undo_of_the_first_decision_leaves_no_line(self, tmp_path: Path):
        book = ledger(tmp_path)
        told = book.grant([wish(REJECT)])[0]
        book.grant([wish(None, expects=told.now, is_undo=True)])
        assert lines(tmp_path / "d.csv") == []

    def test_an_undo_leaves_alone_what_somebody_else_decided_since(self, tmp_path: Path):
        book = ledger(tmp_path)
        told = book.grant([wish(REJECT)])[0]
        ledger(tmp_path).grant([wish({"decision": "pin"})])
        undone = book.grant([wish(None, expects=told.now, is_undo=True)])[0]
        assert (undone.refused, lines(tmp_path / "d.csv")) == (True, [("a.png", "pin", "", "")])

    def test_an_undo_that_comes_twice_is_no_refusal(self, tmp_path: Path):
        book = ledger(tmp_path)
        told = book.grant([wish(REJECT)])[0]
        again = [book.grant([wish(None, expects=told.now, is_undo=True)])[0].refused for _ in range(2)]
        assert again == [False, False]

    def test_class_and_staying_are_slots_of_their_own(self, tmp_path: Path):
        ledger(tmp_path).grant([wish(REJECT), wish({"decision": "relabel", "class": "hat"}, "class")])
        assert lines(tmp_path / "d.csv") == [("a.png", "relabel", "hat", ""), ("a.png", "reject", "", "blurred")]

    def test_a_pair_is_one_slot_from_either_side(self, tmp_path: Path):
        book = ledger(tmp_path)
        book.grant([wish({"decision": DUPLICATE}, "pair", other=TWO, other_path="b.png")])
        book.grant([Wish(TWO, "b.png", "pair", ONE, "a.png", {"decision": NOT_DUPLICATE})])
        assert lines(tmp_path / "d.csv") == [("b.png", NOT_DUPLICATE, "", f"{ONE} a.png")]

    def test_an_undo_knows_a_reason_again_after_a_restart(self, tmp_path: Path):
        told = ledger(tmp_path).grant([wish({"decision": "reject", "reason": " very   dark "})])[0]
        undone = ledger(tmp_path).grant([wish(None, expects=told.now, is_undo=True)])[0]
        assert (undone.refused, lines(tmp_path / "d.csv")) == (False, [])

    def test_a_line_that_names_only_the_path_is_the_same_slot(self, tmp_path: Path):
        (tmp_path / "d.csv").write_text("path,decision,reason\na.png,reject,dark\n")
        told = ledger(tmp_path).grant([wish({"decision": "pin"})])[0]
        assert told.before == {"decision": "reject", "class": "", "reason": "dark", "when": ""}
        assert lines(tmp_path / "d.csv") == [("a.png", "pin", "", "")]


class TestOthers:
    """Other processes write too; what they wrote is seen, and never overwritten."""

    def test_what_another_process_wrote_is_read_again(self, tmp_path: Path):
        book = ledger(tmp_path)
        before = book.revision
        change(tmp_path / "d.csv", [Decision(TWO, "b.png", "pin")])
        assert (book.refresh(), book.refresh()) == (True, False)
        assert (book.revision, [each.path for each in book.decisions]) == (before + 1, ["b.png"])

    def test_two_ledgers_keep_each_others_decisions(self, tmp_path: Path):
        one, two = ledger(tmp_path), ledger(tmp_path)
        one.grant([wish(REJECT)])
        two.grant([Wish(TWO, "b.png", "stays", to={"decision": "pin"})])
        assert [line[:2] for line in lines(tmp_path / "d.csv")] == [("a.png", "reject"), ("b.png", "pin")]

    def test_other_lists_come_first_and_are_not_its_own(self, tmp_path: Path):
        (tmp_path / "other.csv").write_text("path,reason\nb.png,dark\n")
        book = ledger(tmp_path, tmp_path / "other.csv")
        book.grant([wish(REJECT)])
        assert [each.path for each in book.decisions] == ["b.png", "a.png"]
        assert book.owned() == {(ONE, "stays")}

    def test_a_file_that_was_damaged_is_named_and_what_was_read_before_holds(self, tmp_path: Path):
        book = ledger(tmp_path)
        book.grant([wish(REJECT)])
        (tmp_path / "d.csv").write_text("sha256,path,decision\nx,a.png,rejcet\n")
        assert book.refresh()
        assert "unknown decision 'rejcet'" in book.trouble
        assert [each.decision for each in book.decisions] == ["reject"]

    def test_a_file_that_is_gone_is_named_until_it_is_there_again(self, tmp_path: Path):
        book, file = ledger(tmp_path), tmp_path / "d.csv"
        assert book.trouble == ""
        book.grant([wish(REJECT)])
        text = file.read_text()
        file.unlink()
        gone = f"{file}: gone; 1 decision was in it: put it back, or go on without."
        assert (book.refresh(), book.trouble, book.decisions) == (True, gone, [])
        file.write_text(text)
        assert (book.refresh(), book.trouble, len(book.decisions)) == (True, "", 1)

    def test_where_it_cannot_be_written_nothing_changes_and_the_place_is_named(self, tmp_path: Path):
        (tmp_path / "file").write_text("in the way")
        book = Ledger(tmp_path / "file" / "d.csv", [], SHAS)
        with pytest.raises(UserError, match=r"file/d\.csv: cannot be written"):
            book.grant([wish(REJECT)])
        assert (book.decisions, book.revision) == ([], 0)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
    def test_a_full_disk_leaves_the_file_as_it_was(self, tmp_path: Path):
        book = ledger(tmp_path)
        book.grant([wish(REJECT)])
        text = (tmp_path / "d.csv").read_text()
        beside(tmp_path / "d.csv").symlink_to("/dev/full")  # what is written beside it goes to a full disk
        with pytest.raises(UserError, match="cannot be written"):
            book.grant([wish({"decision": "pin"})])
        assert (tmp_path / "d.csv").read_text() == text


class TestChecked:
    """What the page sends comes from outside."""

    @pytest.mark.parametrize(
        ("to", "what"),
        [
            (5, "stays"),
            ({"decision": "reject"}, "class"),
            ({"decision": "relabel", "class": "unheard of"}, "class"),
            ({"decision": "reject", "reason": "x" * 301}, "stays"),
            ({"decision": "reject", "when": "yesterday"}, "stays"),
            ({"decision": "reject", "path": "/etc/passwd"}, "stays"),
            ({"decision": "reject", "reason": 5}, "stays"),
            ({"decision": "reject", "reason": "\ud800"}, "stays"),
            ({"decision": "reject", "reason": "a\x00b"}, "stays"),
            ({"decision": "reject", "reason": "\x1b[31m"}, "stays"),
            ({"decision": "reject", "when": "２０26-11-21T10:42:00Z"}, "stays"),
        ],
    )
    def test_what_is_no_decision_is_refused(self, to: object, what: str):
        with pytest.raises(UserError):
            checked(to, what, ["hat"])

    def test_what_is_one_passes(self):
        assert checked({"decision": "relabel", "class": "hat"}, "class", ["hat"]) == {
            "decision": "relabel", "class": "hat",
        }  # fmt: skip
