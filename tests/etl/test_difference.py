import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from etl.difference import KINDS, Difference, Side, compared, difference, found, shown
from etl.pipeline import remember
from manifests.errors import Exit, UserError
from manifests.recipe import Recipe
from manifests.store import DatasetStore, Stage
from manifests.table import write_table
from tests.makers import brought, class_folders, digits, folder, png_bytes, recipe, rows, write


def curated(**columns: list[Any]) -> pl.DataFrame:
    """Kept rows of class `a` in train, unless said otherwise."""
    own = ("class", "rejected", "split")
    table = rows(**{name: values for name, values in columns.items() if name not in own})
    empty = [None] * table.height
    rejected = columns.get("rejected", empty)
    train = [None if reason else "train" for reason in rejected]
    return table.with_columns(
        pl.Series("class", columns.get("class", table["label"]), pl.String),
        pl.Series("rejected", rejected, pl.String),
        pl.Series("split", columns.get("split", train), pl.String),
    )


def changes(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    """kind → (path, before, after), without the kinds in which nothing changed."""
    return {kind: table.rows() for kind, table in difference(before, after).changes.items() if table.height}


def counts(before: pl.DataFrame, after: pl.DataFrame) -> list[tuple[Any, ...]]:
    return difference(before, after).counts.rows()


class TestSources:
    """Files are told apart by their bytes and their places."""

    def test_nothing_changed_in_any_order(self):
        table = rows(path=["a", "b", "c"], label=["x", "y", None], sha256=[digits(1), None, digits(2)])
        assert difference(table, table.reverse()).is_same

    def test_added_and_removed_say_their_class(self):
        before = rows(path=["a", "b"], label=["x", None], source_split=["train", None])
        after = rows(path=["c", "d"], label=["y", "z"], problem=[None, "truncated"])
        assert changes(before, after) == {
            "added": [("c", None, "y"), ("d", None, "truncated")],
            "removed": [("a", "x, train", None), ("b", "(no class)", None)],
        }

    def test_the_same_bytes_elsewhere_were_renamed(self):
        assert changes(rows(path=["a"], sha256=[digits(1)]), rows(path=["b"], sha256=[digits(1)])) == {
            "renamed": [("b", "a", "b")]
        }

    def test_other_bytes_at_the_same_path_are_a_changed_file(self):
        assert changes(rows(path=["a"], sha256=[digits(1)]), rows(path=["a"], sha256=[digits(2)])) == {
            "changed": [("a", digits(1), digits(2))]
        }

    def test_two_files_that_changed_places_were_renamed_both(self):
        before = rows(path=["a", "b"], sha256=[digits(1), digits(2)])
        after = rows(path=["a", "b"], sha256=[digits(2), digits(1)])
        assert changes(before, after) == {"renamed": [("a", "b", "a"), ("b", "a", "b")]}

    def test_a_file_that_was_replaced_and_moved_away(self):
        before = rows(path=["a"], sha256=[digits(1)])
        after = rows(path=["a", "b"], sha256=[digits(2), digits(1)])
        assert changes(before, after) == {"added": [("a", None, "a")], "renamed": [("b", "a", "b")]}

    def test_one_more_and_one_fewer_of_the_same_bytes(self):
        one = rows(path=["a", "b"], sha256=[digits(1)] * 2)
        more = rows(path=["a", "b", "c"], sha256=[digits(1)] * 3)
        assert changes(one, more) == {"added": [("c", None, "a")]}
        assert changes(more, one) == {"removed": [("c", "a", None)]}

    def test_one_of_several_of_the_same_bytes_was_renamed(self):
        before = rows(path=["a", "b", "c"], sha256=[digits(1)] * 3)
        after = rows(path=["a", "c", "z"], sha256=[digits(1)] * 3)
        assert changes(before, after) == {"renamed": [("z", "b", "z")]}

    def test_files_that_could_not_be_read_are_told_apart_by_path_alone(self):
        before = rows(path=["a", "b"], sha256=[None, None], problem=["unreadable", "unreadable"])
        after = rows(path=["a", "c"], sha256=[None, None], problem=["unreadable", "unreadable"])
        assert changes(before, after) == {
            "added": [("c", None, "unreadable")],
            "removed": [("b", "unreadable", None)],
        }

    def test_a_file_that_can_be_read_now(self):
        before = rows(path=["a"], sha256=[None], problem=["unreadable"])
        after = rows(path=["a"], sha256=[digits(1)])
        assert changes(before, after) == {
            "changed": [("a", None, digits(1))],
            "problem": [("a", "unreadable", None)],
        }

    def test_what_the_source_states_otherwise(self):
        before = rows(path=["a", "b"], label=["x", None], source_split=["train", "val"])
        after = rows(path=["a", "b"], label=["y", "x"], source_split=["test", "val"])
        assert changes(before, after) == {
            "label": [("a", "x", "y"), ("b", None, "x")],
            "source_split": [("a", "train", "test")],
        }

    def test_the_same_bytes_read_otherwise(self):
        before = rows(path=["a", "b"], width=[64, 64], mode=["RGB", "RGB"])
        after = rows(path=["a", "b"], width=[64, 48], mode=["RGB", None])
        assert changes(before, after) == {"read": [("b", "width 64, mode RGB", "width 48, mode none")]}

    def test_tables_without_facts_are_compared_by_what_they_have(self):
        table = rows(path=["a"]).select("path", "sha256", "label", "source_split", "problem")
        assert difference(table, rows(path=["a"])).is_same

    def test_empty_tables(self):
        empty = rows(path=["a"]).clear()
        assert difference(empty, empty).is_same
        assert changes(empty, rows(path=["a"])) == {"added": [("a", None, "a")]}


class TestDecisions:
    """What was decided otherwise."""

    def test_rejected_kept_and_another_reason(self):
        before = curated(path=["a", "b", "c", "d"], rejected=[None, "too small: 3", "blurred: 1", "same"])
        after = curated(path=["a", "b", "c", "d"], rejected=["by hand: ugly", None, "blurred: 2", "same"])
        assert changes(before, after) == {
            "rejected": [("a", "a, train", "by hand: ugly")],
            "kept": [("b", "too small: 3", "a, train")],
            "reason": [("c", "blurred: 1", "blurred: 2")],
        }

    def test_class_and_split(self):
        before = curated(**{"path": ["a", "b"], "class": ["x", None], "split": ["train", "val"]})
        after = curated(**{"path": ["a", "b"], "class": ["y", "x"], "split": ["train", "test"]})
        assert changes(before, after) == {
            "class": [("a", "x", "y"), ("b", None, "x")],
            "split": [("b", "val", "test")],
        }

    def test_decisions_follow_a_renamed_file(self):
        before = curated(path=["a"], sha256=[digits(1)], split=["train"])
        after = curated(path=["b"], sha256=[digits(1)], split=["val"])
        assert changes(before, after) == {"renamed": [("b", "a", "b")], "split": [("b", "train", "val")]}

    def test_where_one_side_is_not_curated_only_sources_are_compared(self):
        before, after = rows(path=["a"]), curated(path=["a"], rejected=["blurred"])
        for one, other in ((before, after), (after, before)):
            what = difference(one, other)
            assert (what.is_curated, what.is_same) == (False, True)
            assert "rejected" not in what.changes

    def test_another_order_of_classes_is_a_difference(self):
        table = curated(path=["a", "b"], label=["x", "y"])
        what = difference(table, table, (["x", "y"], ["y", "x"]))
        assert what.changes["order"].rows() == [("", "x, y", "y, x")]
        assert not what.is_same
        assert difference(table, table, (["x", "y"], ("x", "y"))).is_same


class TestCounts:
    """Files by class and split, before and after."""

    def test_of_curations(self):
        before = curated(path=["1", "2", "3"], label=["b", "a", "b"], split=["val", "train", "train"])
        after = curated(path=["1", "3"], label=["b", "b"], rejected=["blurred", None], split=[None, "train"])
        assert counts(before, after) == [
            ("a", "train", 1, 0),
            ("b", "train", 1, 1),
            ("b", "val", 1, 0),
            ("b", "rejected", 0, 1),
        ]

    def test_of_sources(self):
        before = rows(path=["1", "2", "3"], label=["a", None, "a"], source_split=["test", None, "extra"])
        after = rows(path=["1", "2"], label=["a", "a"], problem=["truncated", None])
        expected = [
            ("(no class)", "no split", 1, 0), ("a", "test", 1, 0), ("a", "extra", 1, 0), ("a", "no split", 0, 1),
            ("a", "unusable", 0, 1),
        ]  # fmt: skip
        assert counts(before, after) == expected


SIDE = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),  # path
        st.sampled_from(["1", "2", "3", None]),  # sha256
        st.sampled_from(["x", "y"]),
        st.sampled_from([None, "small", "blurred"]),
        st.sampled_from(["train", "val"]),
    ),
    unique_by=lambda row: row[0],
)


def table_of(side: list[tuple[Any, ...]]) -> pl.DataFrame:
    if not side:
        return curated(path=["a"]).clear()
    path, sha256, name, rejected, split = map(list, zip(*side, strict=True))
    splits = [None if why else part for why, part in zip(rejected, split, strict=True)]
    return curated(path=path, sha256=sha256, label=name, rejected=rejected, split=splits)


def kept(table: pl.DataFrame) -> int:
    return table.filter(pl.col("rejected").is_null()).height


class TestLaws:
    """Whatever the tables, nothing is lost and nothing told twice."""

    @given(SIDE, SIDE)
    def test_sums_agree(self, one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]):
        before, after = table_of(one), table_of(other)
        what = difference(before, after)
        size = {kind: table.height for kind, table in what.changes.items()}
        assert before.height + size["added"] - size["removed"] == after.height
        gone = kept(before.join(what.changes["removed"], on="path", how="semi"))
        come = kept(after.join(what.changes["added"], on="path", how="semi"))
        assert kept(before) - gone - size["rejected"] + size["kept"] + come == kept(after)
        assert what.counts["before"].sum() == before.height
        assert what.counts["after"].sum() == after.height

    @given(SIDE, SIDE)
    def test_the_images_gone_and_come_are_those_of_the_bytes(
        self, one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]
    ):
        """Bytes that stand more often than before were added or are what a file changed into."""
        before, after = table_of(one), table_of(other)
        what = difference(before, after)
        for sha256 in "123":
            come = after.join(what.changes["added"], on="path", how="semi").filter(pl.col("sha256") == sha256).height
            come += what.changes["changed"].filter(pl.col("after") == sha256).height
            grown = after.filter(pl.col("sha256") == sha256).height - before.filter(pl.col("sha256") == sha256).height
            assert come == max(0, grown)

    @given(SIDE, SIDE)
    def test_backwards_is_the_mirror(self, one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]):
        forth, back = (difference(table_of(a), table_of(b)) for a, b in ((one, other), (other, one)))
        mirror = {"added": "removed", "removed": "added", "rejected": "kept", "kept": "rejected"}
        assert {kind: rows.height for kind, rows in forth.changes.items()} == {
            mirror.get(kind, kind): rows.height for kind, rows in back.changes.items()
        }

    @given(SIDE, st.randoms(use_true_random=False))
    def test_the_order_of_rows_says_nothing(self, one: list[tuple[Any, ...]], order: Any):
        shuffled = order.sample(one, len(one))
        assert difference(table_of(one), table_of(shuffled)).is_same


def text(before: Side, after: Side, what: Difference) -> str:
    console = Console(width=100)
    with console.capture() as said:
        for part in shown(before, after, what):
            console.print(part)
    return said.get()


def lines(before: pl.DataFrame, after: pl.DataFrame) -> list[str]:
    said = text(Side("one", before), Side("other", after), difference(before, after))
    return [line.rstrip() for line in said.splitlines()]


class TestShown:
    """What a person reads."""

    def test_nothing_changed(self):
        table = rows(path=["a"])
        assert lines(table, table) == ["one → other", "Nothing changed."]

    def test_counts_and_examples(self):
        before = curated(path=["a", "b", "c"], label=["x", "x", "y"], split=["train", "val", "train"])
        after = curated(path=["a", "b", "d"], label=["x", "x", "y"], rejected=["small: 3 px", None, None])
        assert lines(before, after) == [
            "one → other",
            "class  train  val    rejected",
            "x      1      1 → 0  0 → 1",
            "y      1      0      0",
            "all    2      1 → 0  0 → 1",
            "",
            "Files added: 1",
            "  d (y, train)",
            "",
            "Files removed: 1",
            "  c (y, train)",
            "",
            "Newly rejected: 1",
            "  a: x, train → small: 3 px",
            "",
            "Moved between splits: 1",
            "  b: val → train",
        ]

    def test_a_dozen_examples_and_how_many_more(self):
        said = lines(rows(path=["z"]), rows(path=["z", *(f"{n:02}" for n in range(15))]))
        at = said.index("Files added: 15")
        assert said[at + 1 :] == [*(f"  {n:02} (a)" for n in range(12)), "  … and 3 more"]

    def test_of_many_classes_those_that_changed(self):
        names = [f"c{n:02}" for n in range(40)]
        before, after = rows(path=names, label=names), rows(path=names[1:], label=names[1:])
        said = lines(before, after)
        assert said[1:5] == [
            "class  no split",
            "c00    1 → 0",
            "all    40 → 39",
            "39 classes with the same counts are not listed",
        ]

    def test_sources_only_is_said(self):
        assert lines(rows(path=["a"]), curated(path=["a"]))[1] == "Sources only: one is not curated."
        assert lines(curated(path=["a"]), rows(path=["a"]))[1] == "Sources only: other is not curated."

    def test_names_from_outside_are_shown_as_they_are(self):
        said = lines(rows(path=["z"]), rows(path=["z", "[red]\x1b[31m.png"], label=["a", "[bold]x"]))
        assert "  [red]\\x1b[31m.png ([bold]x)" in said

    def test_json_has_all_of_it(self):
        before, after = rows(path=["z"]), rows(path=["z", *(f"{n:02}" for n in range(15))])
        told = json.loads(json.dumps(difference(before, after).as_json()))
        assert (told["same"], told["compared"]) == (False, "sources")
        assert told["counts"] == [{"class": "a", "split": "no split", "before": 1, "after": 16}]
        assert len(told["changes"]["added"]) == 15
        assert told["changes"]["added"][0] == {"path": "00", "before": None, "after": "a"}
        assert set(told["changes"]) <= set(KINDS)


def asked_for(asked: Recipe, root: Path, until: str = "curate") -> dict[str, Stage]:
    """Made and in force."""
    done = brought(asked, root, until=until)
    remember(DatasetStore(root / "made"), asked)
    return done


def name(stage: Stage) -> str:
    return f"made: {stage.stage} {stage.key}"


def refusal(what: str, root: Path, dataset: str | None = None) -> UserError:
    with pytest.raises(UserError) as raised:
        found(what, root, dataset)
    return raised.value


def made_at(root: Path, stage: Stage, seconds: int) -> None:
    """As if it had been published then."""
    os.utime(folder(root, stage) / "stage.json", (seconds, seconds))


class TestFound:
    """What a person may name."""

    def test_a_data_set_is_its_curation_or_where_it_has_none_its_extract(self, tmp_path: Path):
        asked = recipe(class_folders(tmp_path / "s", {"a": 3, "b": 3}))
        extracted = asked_for(asked, tmp_path, "extract")["extract"]
        assert found("made", tmp_path, None).name == name(extracted)
        assert found("current", tmp_path, None).classes is None
        stage = asked_for(asked, tmp_path)["curate"]
        for what in ("made", "current"):
            side = found(what, tmp_path, None)
            assert (side.name, side.classes) == (name(stage), ["a", "b"])
            assert "rejected" in side.table.columns

    def test_a_key_or_its_first_digits(self, tmp_path: Path):
        done = asked_for(recipe(class_folders(tmp_path / "s", {"a": 3, "b": 3})), tmp_path)
        for stage in done.values():
            for digits_ in (4, 9, 16):
                assert found(stage.key[:digits_], tmp_path, "made").name == name(stage)
        assert refusal(done["curate"].key[:3], tmp_path).code == Exit.USAGE

    def test_digits_of_several_keys_are_refused(self, tmp_path: Path):
        done = asked_for(recipe(class_folders(tmp_path / "s", {"a": 3, "b": 3})), tmp_path)
        at = folder(tmp_path, done["curate"])
        twin = done["curate"].key[:4] + "0" * 12
        (at.parent / twin).mkdir()
        (at.parent / twin / "stage.json").write_text((at / "stage.json").read_text().replace(at.name, twin))
        error = refusal(at.name[:4], tmp_path)
        assert str(error).startswith(f"{at.name[:4]}: the beginning of 2 keys: made curate ")
        assert error.code == Exit.USAGE

    def test_a_folder_or_a_parquet_file(self, tmp_path: Path):
        table = rows(path=["a", "b"])
        write(tmp_path / "at", {"x": b""})
        write_table(table, tmp_path / "at/images.parquet")
        for what in (tmp_path / "at", tmp_path / "at/images.parquet"):
            side = found(str(what), tmp_path / "store", None)
            assert (side.name, side.table.rows()) == (str(tmp_path / "at/images.parquet"), table.rows())

    def test_what_is_no_image_table_is_refused(self, tmp_path: Path):
        write(tmp_path, {"text.parquet": b"no parquet"})
        write_table(pl.DataFrame({"path": ["a"]}), tmp_path / "other.parquet")
        said = [refusal(str(tmp_path / each), tmp_path) for each in ("text.parquet", "other.parquet", "none")]
        assert [error.code for error in said] == [Exit.USAGE] * 3
        assert str(said[0]).startswith(f"{tmp_path}/text.parquet: not readable as parquet: ")
        assert str(said[1]) == f"{tmp_path}/other.parquet: no image table: it has no column 'sha256'."
        assert str(said[2]).startswith(f"{tmp_path}/none: nothing of this name; expected the key of a curation ")

    def test_previous_is_the_one_published_last_that_is_not_in_force(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 9, "b": 9})
        settings = [recipe(source, curate={"max_per_class": cap}) for cap in (3, 4, 5)]
        stages: list[Stage] = []
        for number, asked in enumerate(settings):
            stages.append(asked_for(asked, tmp_path)["curate"])
            made_at(tmp_path, stages[-1], 1000 + number)
        assert found("current", tmp_path, None).name == name(stages[2])
        assert found("previous", tmp_path, None).name == name(stages[1])
        asked_for(settings[0], tmp_path)  # back to the first: found, not made again
        assert found("current", tmp_path, None).name == name(stages[0])
        assert found("previous", tmp_path, None).name == name(stages[2])

    def test_the_only_curation_has_none_before_it(self, tmp_path: Path):
        asked_for(recipe(class_folders(tmp_path / "s", {"a": 3, "b": 3})), tmp_path)
        error = refusal("previous", tmp_path)
        assert str(error) == "made: there is no curation but the one in force; name two sides: alacena diff A B"
        assert error.code == Exit.USAGE

    def test_a_curation_that_is_stale_is_refused(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 3, "b": 3})
        asked_for(recipe(source), tmp_path)
        write(source, {"a/new.png": png_bytes(seed=77)})
        error = refusal("current", tmp_path)
        assert str(error) == (
            "made: what is in force is not made (files were added, removed or changed); "
            "run: alacena curate --dataset made"
        )
        assert error.code == Exit.STALE

    def test_unnamed_sides_are_the_curation_before_and_the_one_in_force(self, tmp_path: Path):
        source = class_folders(tmp_path / "s", {"a": 9, "b": 9})
        for number, cap in enumerate((5, 4)):
            made_at(tmp_path, asked_for(recipe(source, curate={"max_per_class": cap}), tmp_path)["curate"], number)
        before, after, what = compared(None, None, tmp_path, None)
        assert [kept(side.table) for side in (before, after)] == [10, 8]
        assert what.changes["rejected"].height == 2
        assert compared("current", None, tmp_path, None)[2].is_same
