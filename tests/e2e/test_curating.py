"""The curator's commands, from outside: the page, what would be rejected, what changed, what holds, decisions."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.runner import CLI, alacena, done
from tests.makers import class_folders, write


@pytest.fixture(scope="module")
def cups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("cups")
    class_folders(here / "photos", {"cup": 12, "jar": 10})
    done("extract", "photos", cwd=here)
    done("curate", cwd=here)
    return here


class TestEvidence:
    """What a curator is shown: the page, what would be rejected, what changed, what holds, and that nothing leaks."""

    def test_the_page_lies_beside_the_table(self, cups: Path):
        said = json.loads(done("curate", "--json", cwd=cups))
        page = (cups / said["page"]).read_text("utf-8")
        assert "22" in page
        assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")

    def test_explain_changes_nothing(self, cups: Path):
        before = sorted(cups.joinpath("store").rglob("*"))
        said = json.loads(done("curate", "--faults", "blurred:1e9", "--explain", "--json", cwd=cups))
        faults = {each["fault"]: each for each in said["faults"]}
        assert (faults["blurred"]["asked"], faults["blurred"]["limit"], faults["blurred"]["rejects"]) == (True, 1e9, 22)
        assert said["refused"].startswith("curate: nothing is left of 22 files: 22 blurred.")
        assert "none is looked for unless asked" in done("curate", "--explain", cwd=cups)
        assert sorted(cups.joinpath("store").rglob("*")) == before

    def test_diff_says_what_changed_and_ends_in_1(self, cups: Path):
        done("curate", "--max-per-class", "4", cwd=cups)
        ended = alacena("diff", "--json", cwd=cups)
        assert ended.returncode == 1
        assert "Newly rejected: 14" in alacena("diff", cwd=cups).stdout
        assert alacena("diff", "current", "current", cwd=cups).returncode == 0
        done("curate", cwd=cups)

    def test_decisions_by_hand_outlive_the_settings(self, cups: Path):
        write(cups, {"mine.csv": b"path,reason\ncup/000.png,blurred\n"})
        done("curate", "--reject", "mine.csv", cwd=cups)
        later = alacena("curate", "--seed", "1", "--json", cwd=cups)
        assert json.loads(later.stdout)["rejected"] == {"by hand": 1}
        assert "decisions by hand: " in later.stderr
        assert json.loads(done("curate", "--reject", "", "--json", cwd=cups))["rejected"] == {}

    def test_a_lock_holds_until_something_changes(self, cups: Path):
        done("transform", "--size", "8", cwd=cups)
        done("lock", cwd=cups)
        assert "every stage is what it says" in alacena("run", "--locked", cwd=cups).stderr
        write(cups, {"photos/cup/000.png": (cups / "photos/cup/001.png").read_bytes()})
        ended = alacena("run", "--locked", cwd=cups)
        assert ended.returncode == 5
        assert "cups" not in ended.stderr.split("photos.lock")[0]
        assert "extract" in ended.stderr
        write(cups, {"photos/cup/000.png": b""})
        class_folders(cups / "photos", {"cup": 12, "jar": 10})

    def test_audit_finds_the_copy_that_another_rule_left_in(self, tmp_path: Path):
        class_folders(tmp_path / "photos/train", {"cup": 6, "jar": 6})
        class_folders(tmp_path / "photos/val", {"cup": 3, "jar": 3}, first=100)
        done("extract", "photos", cwd=tmp_path)
        done("transform", "--size", "8", cwd=tmp_path)
        assert alacena("audit", cwd=tmp_path).returncode == 0
        with Image.open(tmp_path / "photos/train/cup/000.png") as picture:
            picture.save(tmp_path / "photos/val/cup/copy.bmp")
        assert "near duplicate 1" in " ".join(done("curate", cwd=tmp_path).split())
        assert alacena("audit", cwd=tmp_path).returncode == 0
        done("curate", "--dedupe", "exact", cwd=tmp_path)
        found = alacena("audit", cwd=tmp_path)
        assert found.returncode == 4
        assert "val/cup/copy.bmp (val, cup): 0 of 512 bits from train/cup/000.png (train, cup)" in found.stdout


class TestReview:
    """The page that the command serves: what is decided there holds in the next curate."""

    def test_a_decision_is_written_at_once_and_curate_takes_it(self, tmp_path: Path):
        class_folders(tmp_path / "photos", {"cup": 6, "jar": 6})
        done("extract", "photos", cwd=tmp_path)
        environment = os.environ | {"ALACENA_STORE": "store", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, str(CLI), "review"]
        server = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32,}/", address)
            with urllib.request.urlopen(address) as page:
                number = re.search(r'data-id="(\d+)"', page.read().decode())
            assert number is not None
        finally:
            server.send_signal(signal.SIGINT)
            said = server.communicate(timeout=60)
        assert (server.returncode, "Traceback" in said[1]) == (0, False)
        file = tmp_path / "photos.decisions.csv"
        assert file.read_text() == "sha256,path,decision,class,reason,when\n"
        file.write_text(file.read_text() + ",cup/000.png,reject,,blurred,\n,cup/001.png,relabel,jar,,\n")
        counts = json.loads(done("curate", "--json", cwd=tmp_path))
        assert counts["rejected"] == {"by hand": 1}
        assert {row["class"]: sum(row[s] for s in ("train", "val")) for row in counts["per_class"]} == {
            "cup": 4, "jar": 7,
        }  # fmt: skip

    def test_a_plain_list_is_not_written_to(self, cups: Path):
        write(cups, {"plain.csv": b"# by Ana\ncup/000.png,blurred\n"})
        ended = alacena("review", "--decisions", "plain.csv", cwd=cups)
        assert ended.returncode == 2
        assert "plain.csv: a list of a person's own" in ended.stderr
        assert (cups / "plain.csv").read_bytes() == b"# by Ana\ncup/000.png,blurred\n"
