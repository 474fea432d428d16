"""The demo: everything planted is found, a model learns from it, and the report is there."""

import json
from pathlib import Path

from tests.e2e.runner import alacena


def test_the_demo_finds_what_it_planted_and_learns(tmp_path: Path):
    ended = alacena("demo", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    assert [finding["agrees"] for finding in said["findings"]] == [True] * 9
    assert said["runs"][0]["accuracy"] > 0.6  # six classes: chance is 0.17, the largest class 0.21
    assert Path(tmp_path / said["report"]).stat().st_size > 10_000
