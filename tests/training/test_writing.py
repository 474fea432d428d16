import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manifests.errors import Exit, UserError
from manifests.store import beside
from training.writing import LOCK, clear, held, replacing

HOLD = """
import pathlib, sys
from training.writing import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class TestHeld:
    """A run's folder belongs to one process, for as long as that lives."""

    def test_a_second_one_is_refused_until_the_first_is_done(self, tmp_path: Path) -> None:
        run = tmp_path / "name" / "key"
        with (
            held(run),
            pytest.raises(UserError, match="run name is being trained by another process") as caught,
            held(run),
        ):
            pass
        assert caught.value.code == Exit.USAGE
        with held(run):
            assert (run / LOCK).is_file()

    def test_clearing_keeps_the_lock(self, tmp_path: Path) -> None:
        with held(tmp_path):
            (tmp_path / "evaluation" / "val").mkdir(parents=True)
            (tmp_path / "run.json").touch()
            clear(tmp_path)
            assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]
            with pytest.raises(UserError), held(tmp_path):
                pass

    def test_a_killed_process_holds_nothing_and_what_it_began_is_removed(self, tmp_path: Path) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)], cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(UserError, match="another process"), held(tmp_path):
                pass
            process.send_signal(signal.SIGKILL)
        left = beside(tmp_path / "last.safetensors")
        left = left.with_name(left.name.replace(f"-{os.getpid()}.", f"-{process.pid}."))
        left.touch()
        with held(tmp_path):
            assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]


class TestReplacing:
    """What is written takes the place of what was there, or nothing changes."""

    @pytest.mark.parametrize("is_folder", [True, False])
    def test_it_takes_the_place_whole(self, tmp_path: Path, is_folder: bool) -> None:
        target = tmp_path / "deep" / "target"
        for text in ("first", "second"):
            with replacing(target, "") as new:
                assert new.parent == target.parent
                assert not new.exists()
                if is_folder:
                    new.mkdir()
                (new / "file" if is_folder else new).write_text(text)
            assert (target / "file" if is_folder else target).read_text() == text
        assert list(target.parent.iterdir()) == [target]

    @pytest.mark.parametrize(("error", "raised"), [(OSError(28, "No space left"), UserError), (KeyError(), KeyError)])
    def test_what_was_there_stays_when_it_fails(
        self, tmp_path: Path, error: Exception, raised: type[Exception]
    ) -> None:
        target = tmp_path / "target"
        target.write_text("first")

        def fail() -> None:
            with replacing(target, "Free some space.") as new:
                new.write_text("half")
                raise error

        with pytest.raises(raised) as caught:
            fail()
        if raised is UserError:
            wanted = f"{target}: cannot be written (No space left); what was there before is kept. Free some space."
            assert str(caught.value) == wanted
        assert target.read_text() == "first"
        assert list(tmp_path.iterdir()) == [target]
