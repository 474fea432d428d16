import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from etl.pipeline import bring, plan, read_asked, remember
from manifests.errors import Exit, UserError
from manifests.recipe import Recipe
from manifests.store import DatasetStore
from tests.makers import brought, class_folders, encoded, folder, image, made, png_bytes, recipe, site, write

ALL = ["extract", "curate", "augment", "transform"]


def planned(asked: Recipe, root: Path) -> list[tuple[str, str]]:
    """Each stage and why it is stale, as `status` sees them."""
    return [(step.stage, step.why) for step in plan(asked, DatasetStore(root / "made"))]


def refusal(asked: Recipe, root: Path) -> UserError:
    with pytest.raises(UserError) as raised:
        brought(asked, root)
    return raised.value


class TestFreshness:
    """Only what is stale is made, and why is said."""

    def test_everything_is_made_once(self, tmp_path: Path):
        asked = recipe(class_folders(tmp_path / "s", {"a": 3, "b": 3}))
        assert made(asked, tmp_path) == ALL
        assert made(asked, tmp_path) == []

    @pytest.mark.parametrize("until", ALL)
    def test_until_a_stage_makes_none_after_it(self, tmp_path: Path, until: str):
        asked = recipe(class_folders(tmp_path / "s", {"a": 3, "b": 3}))
        assert made(asked, tmp_path, until) == ALL[: ALL.index(until) + 1]
        assert list(brought(asked, tmp_path, until=until)) == ALL[: ALL.index(until) + 1]

    def test_nothing_is_made_yet(self, tmp_path: Path):
        asked = recipe(class_folders(tmp_path / "s", {"a": 3}))
        waits = "waits for the stage before"
        expected = [("extract", "not made yet"), ("curate", waits), ("augment", waits), ("transform", waits)]
        assert planned(asked, tmp_path) == expected

    @pytest.mark.parametrize(
        ("change", "why", "stale"),
        [
            ({"extract": {"seed": 3}}, "seed: 0 → 3", ["extract"]),
            ({"curate": {"seed": 3}}, "seed: 0 → 3", ["curate", "augment", "transform"]),
            ({"curate": {"min_side": 8}}, "min_side: none → 8", ["curate"]),
            ({"augment": {"copies": 1, "seed": 2}}, "copies: 0 → 1; seed: 0 → 2", ["augment", "transform"]),
            ({"transform": {"size": 9}}, "size: [16, 16] → [9, 9]", ["transform"]),
        ],
    )
    def test_a_changed_setting_is_named_and_makes_what_it_changes(
        self, tmp_path: Path, change: dict[str, Any], why: str, stale: list[str]
    ):
        source = class_folders(tmp_path / "s", {"a": 6, "b": 6})
        brought(recipe(source), tmp_path)
        asked = recipe(source, **change)
        assert (stale[0], why) in planned(asked, tmp_path)
        assert made(asked, tmp_path) == stale  # what comes out the same leaves the rest fresh

    def test_added_files_are_said(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3, "b": 3})
        brought(recipe(source), tmp_path)
        write(source, {"a/new.png": png_bytes(seed=50)})
        assert planned(recipe(source), tmp_path)[0] == ("extract", "files were added, removed or changed")
        assert made(recipe(source), tmp_path) == ALL

    def test_a_list_of_rejections_that_changed_is_said(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3, "b": 3})
        write(tmp_path, {"out.csv": b"a/000.png,bad\n"})
        asked = recipe(source, curate={"reject": [str(tmp_path / "out.csv")]})
        brought(asked, tmp_path)
        write(tmp_path, {"out.csv": b"a/001.png,bad\n"})
        assert planned(asked, tmp_path)[1] == ("curate", "the decisions by hand changed")
        assert made(asked, tmp_path) == ["curate", "augment", "transform"]

    def test_another_background_is_said_where_it_changes_pixels(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3, "b": 3})
        brought(recipe(source), tmp_path)
        asked = recipe(source, extract={"background": "#000000"})
        assert made(asked, tmp_path) == ["extract", "transform"]

    def test_touching_files_leaves_all_after_extract_fresh(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3, "b": 3})
        brought(recipe(source), tmp_path)
        for file in source.rglob("*.png"):
            os.utime(file, (5, 5))
        assert made(recipe(source), tmp_path) == ["extract"]

    def test_going_back_to_an_earlier_setting_makes_nothing(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 6, "b": 6})
        one, other = recipe(source), recipe(source, curate={"seed": 5}, transform={"size": 9})
        brought(one, tmp_path)
        brought(other, tmp_path)
        assert [made(asked, tmp_path) for asked in (one, other, one)] == [[], [], []]

    def test_each_run_that_asks_for_pixels_of_its_own_has_a_transform(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3, "b": 3})
        runs = [{"name": "one"}, {"name": "two", "transform": {"size": 9}}]
        asked = Recipe.model_validate(recipe(source).asked() | {"runs": runs})
        assert made(asked, tmp_path) == [*ALL, "transform"]
        assert brought(asked, tmp_path)["transform"].settings["size"] == [9, 9]

    def test_planning_writes_nothing(self, tmp_path: Path):
        asked = recipe(class_folders(tmp_path / "s", {"a": 3}))
        planned(asked, tmp_path)
        assert not (tmp_path / "made").exists()


class TestSourceAway:
    """What is known of a source can be curated while the source is away."""

    def test_curate_works_and_transform_says_what_is_missing(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 6, "b": 6})
        brought(recipe(source), tmp_path, until="curate")
        shutil.move(source, tmp_path / "away")
        again = recipe(source, curate={"seed": 8})
        assert made(again, tmp_path, "augment") == ["curate", "augment"]
        assert str(refusal(again, tmp_path)).startswith(f"{source}: there is no such folder or archive.")

    def test_a_source_that_was_never_here_is_an_error(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3})
        brought(recipe(source), tmp_path, until="extract")
        assert str(refusal(recipe(tmp_path / "t"), tmp_path)).startswith(f"{tmp_path}/t: there is no such folder")

    def test_shards_stay_fresh_without_the_source(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3, "b": 3})
        brought(recipe(source), tmp_path)
        shutil.move(source, tmp_path / "away")
        assert made(recipe(source), tmp_path) == []


class TestBadSettings:
    """What is asked is checked before any work."""

    @pytest.mark.parametrize(
        ("augment", "said"),
        [
            ({"policy": "rotat:3"}, "augment.policy: unknown augmentation 'rotat'."),
            ({"classes": {"a": {"policy": "flip:up"}}}, "augment.classes.a.policy: flip = 'up': expected horizontal,"),
        ],
    )
    def test_a_bad_policy_fails_before_anything_is_made(self, tmp_path: Path, augment: dict[str, Any], said: str):
        error = refusal(recipe(class_folders(tmp_path / "s", {"a": 3}), augment=augment), tmp_path)
        assert str(error).startswith(said)
        assert error.code == Exit.RECIPE
        assert not (tmp_path / "made").exists()


class TestDamage:
    """A damaged stage is one clear error that says what to remove."""

    def test_stage_json(self, tmp_path: Path):
        asked = recipe(class_folders(tmp_path / "s", {"a": 3, "b": 3}))
        at = folder(tmp_path, brought(asked, tmp_path)["curate"])
        (at / "stage.json").write_text("{")
        error = refusal(asked, tmp_path)
        expected = f"{at}/stage.json: damaged; remove {at} and run the stage again."
        assert (str(error), error.code) == (expected, Exit.STALE)
        shutil.rmtree(at)
        assert made(asked, tmp_path) == ["curate"]


class TestAsked:
    """What is in force is remembered as a recipe."""

    def test_what_is_remembered_is_read_again(self, tmp_path: Path):
        asked = recipe(tmp_path / "s", curate={"rename": {"a": "b"}}, augment={"policy": {"rotate": 3}})
        remember(DatasetStore(tmp_path / "made"), asked)
        assert read_asked(DatasetStore(tmp_path / "made")) == asked

    def test_settings_that_are_no_recipe_are_stale(self, tmp_path: Path):
        DatasetStore(tmp_path / "made").ask({"dataset": "x", "curat": {}})
        with pytest.raises(UserError, match=r"settings\.json: unknown key curat\.") as raised:
            read_asked(DatasetStore(tmp_path / "made"))
        assert raised.value.code == Exit.STALE


SCRIPT = """
import sys
from pathlib import Path
from etl import augment, curate, extract, transform
from etl.pipeline import bring
from manifests.recipe import Recipe
from tests.makers import site
if __name__ == "__main__":
    print("begun", flush=True)
    bring(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), site(Path(sys.argv[2]), workers=int(sys.argv[3])))
"""


class TestKilled:
    """A run killed at any moment ends, when it is run again, in the same bytes, and leaves nothing behind."""

    def test_at_several_moments(self, tmp_path: Path):
        source = class_folders(tmp_path / "source", {"a": 40, "b": 40}, width=160, height=120)
        write(source, {f"b/{n}.jpg": encoded(image(400, 300, seed=2000 + n), "JPEG") for n in range(10)})
        asked = recipe(source, augment={"copies": 2, "policy": "strong"}, transform={"size": 64, "shard_mb": 1})
        started = time.monotonic()
        expected = {name: stage.digest for name, stage in brought(asked, tmp_path / "whole").items()}
        undisturbed = time.monotonic() - started  # seconds
        (tmp_path / "run.py").write_text(SCRIPT)
        (tmp_path / "recipe.json").write_text(json.dumps(asked.asked()))
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        killed, root = 0, tmp_path / "killed"
        for moment, workers in ((0.03, 0), (0.3, 0), (0.6, 0), (0.8, 2)):  # the first is early on any machine
            command = [sys.executable, tmp_path / "run.py", tmp_path / "recipe.json", root, str(workers)]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moment * undisturbed)
            killed += process.poll() is None
            process.kill()
            process.communicate()
        assert killed > 0
        done = bring(asked, site(root))
        assert {name: stage.digest for name, stage in done.items()} == expected
        left = [file.relative_to(root).as_posix() for file in root.rglob("*") if ".tmp" in file.name]
        assert left == []
        assert made(asked, root) == []
