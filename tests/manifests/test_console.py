import pytest

from manifests.console import Face, plain, printable


class TestRemarks:
    """A remark is a line on stderr, as it is."""

    @pytest.mark.parametrize("line", ["[bold]a[/bold].jpg", ":cat: [x", "train/[/w].png: unreadable"])
    def test_nothing_in_it_is_markup(self, capsys: pytest.CaptureFixture[str], line: str):
        Face().say(line)
        assert capsys.readouterr() == ("", f"{line}\n")

    def test_control_characters_are_codes(self, capsys: pytest.CaptureFixture[str]):
        Face().say("a\x1b[31m\nb")
        assert capsys.readouterr().err == "a\\x1b[31m\\nb\n"

    def test_quiet_says_none(self, capsys: pytest.CaptureFixture[str]):
        Face(quiet=True).say("a")
        assert capsys.readouterr() == ("", "")


class TestResults:
    """A result is on stdout, and what comes from outside stands in it as it is."""

    @pytest.mark.parametrize("name", ["[bold]a", ":cat:.jpg", "a[/]b"])
    def test_a_name_is_shown_as_it_is(self, capsys: pytest.CaptureFixture[str], name: str):
        Face().show(plain(name))
        assert capsys.readouterr() == (f"{name}\n", "")

    def test_json_is_all_there_is_on_stdout(self, capsys: pytest.CaptureFixture[str]):
        face = Face(json=True)
        face.show("a table")
        face.result({"a": 1})
        assert capsys.readouterr() == ('{\n "a": 1\n}\n', "")

    def test_what_is_printable_stays(self):
        assert printable("ñandú 🦤 [x]") == "ñandú 🦤 [x]"


class TestProgress:
    """Where there is no terminal, no bar is drawn."""

    def test_short_work_says_nothing(self, capsys: pytest.CaptureFixture[str]):
        face = Face()
        with face.progress():
            for done in range(3):
                face.tell("opening images", done, 2)
        assert capsys.readouterr() == ("", "")
        assert face.bars is None

    def test_on_a_terminal_a_bar_is_drawn_and_taken_away(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes what is captured for a terminal
        face = Face()
        with face.progress():
            face.tell("opening images", 0, 2)
            drawn = face.bars
            face.say("remark")
            face.tell("opening images", 1, 2)
        said = capsys.readouterr().err
        assert drawn is not None
        assert "opening images" in said
        assert "remark\n" in said
        assert face.bars is None
