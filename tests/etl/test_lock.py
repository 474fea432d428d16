import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.lock import Held, Lock, compare, compare_settings, lock_file, lock_of, lock_text, locked, read_lock, toml
from etl.pipeline import bring
from manifests.errors import Exit, UserError
from manifests.recipe import Recipe
from manifests.store import Stage
from tests.makers import class_folders, made, png_bytes, recipe, site, write

DIGEST = "0123456789abcdef" * 4


def stage(name: str, **changes: Any) -> Stage:
    """A stage as it is published, with the settings of a recipe over /data/photos."""
    asked = recipe("/data/photos").asked()
    counts: dict[str, dict[str, Any]] = {
        "extract": {"found": 9, "usable": 8, "problems": {"truncated": 1}, "opened": 3, "notes": ["n"]},
        "curate": {
            "found": 9, "kept": 7, "rejected": {"unusable": 1, "duplicate": 1}, "classes": ["b", "a"],
            "per_class": [{"class": name, "found": 4, "train": 3, "val": 1, "test": 0} for name in "ba"],
            "unmatched": ["x (/home/me/x.csv:3)"], "conflicts": ["c"],
        },
        "augment": {"views": 7, "augmented": 0, "per_class": [{"class": "a", "train": 3, "val": 1, "test": 0}]},
        "transform": {"rows": {"train": 6, "val": 1}, "shards": 2, "bytes": 4096, "decoded": 7, "copied": 0},
    }  # fmt: skip
    inputs = {
        "extract": {"files": "stamps", "lists": "paths", "reader": "pillow 12.0, webp 1.5; hashes 2"},
        "curate": {"images": DIGEST, "rules": "1", "decisions": DIGEST},
        "augment": {"curated": DIGEST, "rules": "1"},
        "transform": {"views": DIGEST, "background": "#ffffff", "decoder": "pillow 12.0, webp 1.5"},
    }
    begun = Stage(name, "key", asked[name], inputs[name], DIGEST, counts[name], 3.0, {"python": "3.11.7"})
    return replace(begun, **changes)


ALL = ["extract", "curate", "augment", "transform"]


def lock() -> Lock:
    return lock_of("photos", map(stage, ALL))


class TestText:
    """The file is what a person can read and compare line by line."""

    def test_it_is_this_text(self):
        few = [
            replace(stage("extract"), settings={"source": [{"path": "/data/photos"}], "seed": 0, "sample": None}),
            replace(stage("curate"), settings={"rename": {"gatto nero": "b"}, "reject": ["/home/me/out.csv"]}),
            replace(stage("transform"), settings={"size": [16, 16]}),
        ]
        assert (
            lock_text(lock_of("photos", few))
            == f"""\
# What a rebuild of this data set must come to: written by `alacena lock`, held by `alacena run --locked`.
dataset = "photos"
format = 1

[curate]
digest = "{DIGEST}"

[curate.counts]
classes = ["b", "a"]
found = 9
kept = 7
rejected = {{duplicate = 1, unusable = 1}}

[curate.counts.per_class]
a = {{found = 4, test = 0, train = 3, val = 1}}
b = {{found = 4, test = 0, train = 3, val = 1}}

[curate.inputs]
decisions = "{DIGEST}"
rules = "1"

[curate.settings]
reject = ["out.csv"]
rename = {{"gatto nero" = "b"}}

[extract]
digest = "{DIGEST}"

[extract.counts]
found = 9
problems = {{truncated = 1}}
usable = 8

[extract.inputs]
reader = "pillow 12.0, webp 1.5; hashes 2"

[extract.settings]
seed = 0
source = [{{path = "photos"}}]

[[transform]]
digest = "{DIGEST}"

[transform.counts]
bytes = 4096
rows = {{train = 6, val = 1}}
shards = 2

[transform.inputs]
background = "#ffffff"
decoder = "pillow 12.0, webp 1.5"

[transform.settings]
size = [16, 16]
"""
        )

    def test_read_is_what_was_written(self, tmp_path: Path):
        two = [stage("transform"), stage("transform", settings=stage("transform").settings | {"size": [8, 8]})]
        for held in (lock(), lock_of("photos", two), lock_of("photos", [])):
            write(tmp_path, {"x.lock": lock_text(held).encode()})
            assert read_lock(tmp_path / "x.lock") == held

    def test_no_place_and_no_time_of_this_machine_is_in_it(self, tmp_path: Path):
        text = lock_text(lock())
        for word in ("/data", "/home", "stamps", "paths", "python", "seconds", "opened", "decoded"):
            assert word not in text

    def test_the_order_of_the_stages_says_nothing(self):
        two = [stage("transform"), stage("transform", settings={"size": [8, 8]}), stage("extract")]
        assert lock_text(lock_of("p", two)) == lock_text(lock_of("p", reversed(two)))

    def test_names_that_are_no_utf_8_are_written_as_codes(self):
        odd = stage("extract", counts={"problems": {"\udcff": 1}})
        assert tomllib.loads(lock_text(lock_of("p", [odd])))["extract"]["counts"] == {"problems": {"\\udcff": 1}}


SCALARS = st.one_of(
    st.text(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.just("\x7f\r\n\t\"\\'''#"),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3))
)


class TestToml:
    """What is written in TOML is what Python reads of it."""

    @given(st.dictionaries(st.text(), VALUES, max_size=4))
    def test_read_is_what_was_written(self, values: dict[str, Any]):
        assert tomllib.loads("\n".join(toml(values))) == values

    @given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(), VALUES, max_size=2), max_size=4))
    def test_the_order_of_keys_says_nothing(self, values: dict[str, Any]):
        assert list(toml(values)) == list(toml(dict(reversed(values.items()))))


def held_of(**changes: Any) -> list[str]:
    """What is said of a stage that changed since it was locked."""
    return compare(lock(), stage(**changes))


class TestCompare:
    """What differs is said in a sentence each."""

    @pytest.mark.parametrize("name", ALL)
    def test_what_is_the_same_says_nothing(self, name: str):
        assert held_of(name=name) == []

    @pytest.mark.parametrize("name", ALL)
    def test_how_the_work_was_done_says_nothing(self, name: str):
        other = {"opened": 0, "decoded": 1, "copied": 6, "unmatched": []}
        inputs = stage(name).inputs | {"files": "others", "lists": "others"}
        said = held_of(name=name, counts=stage(name).counts | other, inputs=inputs, seconds=9.0, versions={})
        assert said == []

    def test_counts_by_class(self):
        rows = [{"class": name, "found": 4, "train": 2, "val": 1, "test": 0} for name in "ac"]
        counts = stage("curate").counts | {"per_class": rows, "kept": 6, "rejected": {"unusable": 1}}
        assert held_of(name="curate", counts=counts) == [
            "curate: kept: 7 locked, 6 now",
            "curate: per_class, a, train: 3 locked, 2 now",
            "curate: per_class, b, found: 4 locked, 0 now",
            "curate: per_class, b, train: 3 locked, 0 now",
            "curate: per_class, b, val: 1 locked, 0 now",
            "curate: per_class, c, found: 0 locked, 4 now",
            "curate: per_class, c, train: 0 locked, 2 now",
            "curate: per_class, c, val: 0 locked, 1 now",
            "curate: rejected, duplicate: 1 locked, 0 now",
        ]

    def test_the_order_of_classes(self):
        counts = stage("curate").counts | {"classes": ["a", "b"]}
        assert held_of(name="curate", counts=counts) == ["curate: classes: ['b', 'a'] locked, ['a', 'b'] now"]

    def test_another_decoder_is_named_as_the_cause(self):
        inputs = {"reader": "pillow 12.1, webp 1.5; hashes 2"}
        assert held_of(name="extract", inputs=inputs, digest="f" * 64) == [
            "extract: reader: pillow 12.0 locked, pillow 12.1 now",
            "extract: content 0123456789ab locked, ffffffffffff now",
        ]

    def test_other_decisions(self):
        inputs = stage("curate").inputs | {"decisions": "f" * 64}
        assert held_of(name="curate", inputs=inputs) == ["curate: decisions: 0123456789ab locked, ffffffffffff now"]

    def test_other_content_without_another_reason(self):
        assert held_of(name="transform", digest="f" * 64) == [
            "transform: content 0123456789ab locked, ffffffffffff now: "
            "the same views give other pixels here: the decoder is built otherwise"
        ]

    def test_a_shard_set_that_is_not_locked(self):
        said = held_of(name="transform", settings=stage("transform").settings | {"size": [8, 8]})
        assert len(said) == 1
        assert said[0].startswith("transform: {channels = ")
        assert said[0].endswith(" is not locked")

    def test_a_stage_that_is_not_in_the_lock_is_not_held(self):
        assert compare(lock_of("p", [stage("extract")]), stage("curate", digest="f" * 64)) == []


def settings(asked: Recipe) -> list[str]:
    return compare_settings(lock(), asked)


class TestSettings:
    """Settings are compared before any work."""

    def test_the_same_settings_elsewhere(self):
        assert settings(recipe("/data/photos")) == []
        assert settings(recipe("/home/me/other")) == []

    def test_lists_are_compared_by_their_content_not_their_place(self):
        asked = recipe("/data/photos", curate={"reject": ["/home/me/out.csv"]}, extract={"labels": "/home/me/x.csv"})
        assert settings(asked) == []

    def test_each_setting_that_differs(self):
        asked = recipe(
            [{"path": "/a", "class": "x"}], curate={"max_per_class": 3, "rename": {"u": "v"}}, transform={"size": 8}
        )
        assert settings(asked) == [
            'extract: setting source: [{path = "photos"}] locked, [{class_name = "x", path = "a"}] now',
            "curate: setting max_per_class: none locked, 3 now",
            'curate: setting rename: {} locked, {u = "v"} now',
            "transform: setting size: [16, 16] locked, [8, 8] now",
        ]

    def test_a_setting_that_was_not_known_then_is_compared_with_its_default(self):
        old = {key: value for key, value in stage("curate").settings.items() if key not in {"seed", "dedupe"}}
        held = lock_of("photos", [replace(stage("curate"), settings=old)])
        assert compare_settings(held, recipe("/data/photos")) == []
        assert compare_settings(held, recipe("/data/photos", curate={"seed": 1})) == [
            "curate: setting seed: 0 locked, 1 now"
        ]

    def test_shard_sets_that_came_or_went(self):
        runs = [{"name": "one"}, {"name": "two", "transform": {"size": 9}}]
        two = Recipe.model_validate(recipe("/data/photos").asked() | {"runs": runs})
        [new] = settings(two)
        assert new.startswith("transform: {channels = ")
        assert new.endswith("size = [9, 9]} is not locked")
        both = lock_of("p", [stage("transform"), stage("transform", settings=two.transforms[1].asked())])
        assert compare_settings(both, two) == []
        [gone] = compare_settings(both, recipe("/data/photos"))
        assert gone.startswith("transform: locked with {channels = ")
        assert gone.endswith("size = [9, 9]}, not asked for now")


class TestFile:
    """It lies beside the recipe; what is no lock is one clear error."""

    def test_where_it_lies(self, tmp_path: Path):
        write(tmp_path, {"food.toml": b""})
        assert lock_file("photos", tmp_path / "food.toml") == tmp_path / "food.lock"
        assert lock_file("photos", Path("food15")) == Path("photos.lock")
        assert lock_file("photos", None) == Path("photos.lock")

    @pytest.mark.parametrize(
        ("text", "said", "code"),
        [
            (None, "no such lock; write it with: alacena lock ", Exit.USAGE),
            ("<<<<<<< ours", "not readable as a lock: ", Exit.STALE),
            ("format = 2\ndataset = 'x'", "no lock of this version: format: input should be 1.", Exit.STALE),
            ("dataset = 'x'\n[extract]", "no lock of this version: extract.digest: field required.", Exit.STALE),
            ("dataset = 'x'\nother = 3", "no lock of this version: other: ", Exit.STALE),
        ],
    )
    def test_it_is_said(self, tmp_path: Path, text: str | None, said: str, code: Exit):
        file = tmp_path / "x.lock"
        if text is not None:
            file.write_text(text)
        with pytest.raises(UserError) as raised:
            read_lock(file)
        assert str(raised.value).startswith(f"{file}: {said}")
        assert raised.value.code == code


def bring_all(asked: Recipe, root: Path, tell: Any = None) -> list[Stage]:
    stages: list[Stage] = []

    def heard(step: Any, stage: Stage) -> None:
        stages.append(stage)
        if tell:
            tell(step, stage)

    bring(asked, site(root), "transform", heard)
    return stages


class TestHeld:
    """A rebuild is held to the lock stage by stage."""

    def test_the_same_source_elsewhere_comes_to_the_same(self, tmp_path: Path):
        runs = [{"name": "one"}, {"name": "two", "transform": {"size": 9}}]
        here, there = (class_folders(tmp_path / each, {"a": 4, "b": 4}) for each in ("here", "there"))
        asked = [Recipe.model_validate(recipe(each).asked() | {"runs": runs}) for each in (here, there)]
        file = tmp_path / "x.lock"
        file.write_text(lock_text(lock_of("made", bring_all(asked[0], tmp_path / "one"))), "utf-8")
        again = bring_all(asked[1], tmp_path / "other", Held(file, asked[1]).heard)
        assert [each.stage for each in again] == [*ALL, "transform"]
        assert file.read_text("utf-8") == lock_text(lock_of("made", again)).replace('"there"', '"here"')

    def test_another_source_stops_before_anything_is_made_of_it(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 4, "b": 4})
        file = tmp_path / "x.lock"
        file.write_text(lock_text(lock_of("made", bring_all(recipe(source), tmp_path / "one"))), "utf-8")
        write(source, {"a/new.png": png_bytes(seed=99)})
        with pytest.raises(UserError) as raised:
            bring_all(recipe(source), tmp_path / "two", Held(file, recipe(source)).heard)
        first, *lines = str(raised.value).splitlines()
        assert first == f"{file}: what comes out is not what was locked; where that is meant, run: alacena lock"
        assert lines[:2] == ["  extract: found: 8 locked, 9 now", "  extract: usable: 8 locked, 9 now"]
        assert lines[2].startswith("  extract: content ")
        assert lines[2].endswith(
            " now: files or label lists were added, removed or changed, or this machine reads them otherwise"
        )
        assert raised.value.code == Exit.STALE
        assert made(recipe(source), tmp_path / "two", "curate") == ["curate"]

    def test_another_setting_stops_before_any_work(self, tmp_path: Path):
        write(tmp_path, {"x.lock": lock_text(lock()).encode()})
        with pytest.raises(UserError) as raised:
            Held(tmp_path / "x.lock", recipe("/data/photos", curate={"seed": 1}))
        assert str(raised.value).splitlines()[1:] == ["  curate: setting seed: 0 locked, 1 now"]

    def test_names_from_outside_are_printed_as_codes(self, tmp_path: Path):
        held = lock_of("p", [stage("extract", counts={"problems": {}})])
        write(tmp_path, {"x.lock": lock_text(held).encode()})
        with pytest.raises(UserError) as raised:
            Held(tmp_path / "x.lock", recipe("/data/photos")).heard(
                None,  # pyright: ignore[reportArgumentType] - the step is not looked at
                stage("extract", counts={"problems": {"\x1b[31m\x9b": 1}}),
            )
        assert str(raised.value).splitlines()[1:] == ["  extract: problems, '\\x1b[31m\\x9b': 0 locked, 1 now"]

    def test_what_is_locked_is_plain_json(self):
        assert json.loads(json.dumps(locked(stage("curate")).model_dump())) == locked(stage("curate")).model_dump()
