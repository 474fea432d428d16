import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.audit import KINDS, Audit, audit_table, audit_views, shown
from etl.decisions import NOTHING, Decided
from manifests.table import CURATED, EXTRACTED, read_table
from tests.makers import brought, class_folders, digits, folder, recipe, rows


def flipped(base: str, bits: int) -> str:
    """The same hash, but for so many of its bits."""
    return f"{int(base, 16) ^ (((1 << bits) - 1) << 100):064x}"


def curated(**columns: list[Any]) -> pl.DataFrame:
    """Kept rows of class `a` in train, each file a group by itself, unless said otherwise."""
    own = ("class", "rejected", "split", "group")
    table = rows(**{name: values for name, values in columns.items() if name not in own})
    count = table.height
    return table.with_columns(
        pl.Series("class", columns.get("class", table["label"]), pl.String),
        pl.Series("rejected", columns.get("rejected", [None] * count), pl.String),
        pl.Series("split", columns.get("split", ["train"] * count), pl.String),
        pl.Series("group", columns.get("group", table["path"]), pl.String),
        decided=pl.lit(None, pl.String),
        cluster="sha256",
        bits=pl.lit(0, pl.Int16),
        like=pl.lit(None, pl.String),
        like_bits=pl.lit(None, pl.Int16),
    ).select(*EXTRACTED, *CURATED)


def near(bits: int, **columns: list[Any]) -> pl.DataFrame:
    """Two images that differ in so many of 512 bits, the second in val."""
    base = digits("near")
    wanted: dict[str, list[Any]] = {"path": ["a", "b"], "split": ["train", "val"]}
    return curated(phash256=[base, flipped(base, bits)], dhash256=[base, base], **wanted | columns)


def said(audit: Audit) -> dict[str, list[str]]:
    return {kind: table["said"].to_list() for kind, table in audit.findings.items()}


class TestLeaks:
    """An image of one split that another one has."""

    def test_nothing_is_found_where_nothing_is(self):
        audit = audit_table(curated(path=["a", "b", "c"], split=["train", "val", "test"]))
        assert (said(audit), audit.is_refused) == ({}, False)
        assert audit.compared == "3 kept images, each with all others, within 64 of 512 bits"

    @pytest.mark.parametrize(("bits", "kind"), [(0, "leak"), (1, "leak"), (64, "leak"), (65, "alike"), (96, "alike")])
    def test_near_images_in_two_splits(self, bits: int, kind: str):
        audit = audit_table(near(bits))
        assert said(audit) == {kind: [f"b (val, a): {bits} of 512 bits from a (train, a)"]}
        assert audit.is_refused == (kind == "leak")

    def test_97_bits_are_another_image(self):
        assert said(audit_table(near(97))) == {}

    def test_the_radius_is_what_is_asked_for(self):
        assert set(said(audit_table(near(40), 30))) == {"alike"}
        assert set(said(audit_table(near(40), 20))) == set()

    def test_identical_files(self):
        audit = audit_table(curated(path=["a", "b"], sha256=[digits(1)] * 2, split=["test", "val"]))
        assert said(audit) == {"leak": ["a (test, a): identical to b (val, a)"]}

    def test_one_split_is_no_leak_and_neither_is_what_was_rejected(self):
        assert said(audit_table(near(9, split=["train", "train"]))) == {}
        assert said(audit_table(near(9, rejected=[None, "blurred: x"], split=["train", None]))) == {}

    def test_the_image_that_judges_comes_first_with_the_nearest_of_each_other_split(self):
        base = digits("near")
        audit = audit_table(
            curated(
                path=["t1", "t2", "v", "e"],
                phash256=[base, flipped(base, 9), flipped(base, 20), flipped(base, 12)],
                dhash256=[base] * 4,
                split=["train", "train", "val", "test"],
            )
        )
        assert said(audit)["leak"] == [
            "e (test, a): 3 of 512 bits from t2 (train, a)",
            "e (test, a): 8 of 512 bits from v (val, a)",
            "v (val, a): 11 of 512 bits from t2 (train, a)",
        ]

    def test_images_that_say_nothing_match_only_by_their_pixels(self):
        blank: dict[str, list[Any]] = {
            "path": ["a", "b", "c"], "phash256": [digits(0)] * 3, "dhash256": [digits(0)] * 3, "luma_std": [1.0] * 3,
            "split": ["train", "val", "test"],
        }  # fmt: skip
        assert said(audit_table(curated(**blank))) == {}
        found = audit_table(curated(**blank, pixels=[digits(1), digits(2), digits(1)]))
        assert said(found) == {"leak": ["c (test, a): 0 of 512 bits from a (train, a)"]}

    def test_every_image_is_named_however_often_it_is_there(self):
        count = 50
        audit = audit_table(
            curated(
                path=[f"{n:03}" for n in range(2 * count)],
                phash256=[digits(1)] * 2 * count,
                dhash256=[digits(2)] * 2 * count,
                split=["train"] * count + ["val"] * count,
            )
        )
        expected = [f"{n:03} (val, a): 0 of 512 bits from 000 (train, a)" for n in range(count, 2 * count)]
        assert said(audit)["leak"] == expected

    @given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["train", "val", "test"])), min_size=1, max_size=12))
    def test_exactly_the_images_are_named_that_another_split_has(self, images: list[tuple[int, str]]):
        paths = [f"{n:02}" for n in range(len(images))]
        shas = [digits(number) for number, _ in images]
        table = curated(path=paths, sha256=shas, split=[split for _, split in images])
        leaks = audit_table(table).findings.get("leak")
        found = set() if leaks is None else set(leaks.select("place", "split_other").iter_rows())
        judges = {"test": 0, "val": 1, "train": 2}
        assert found == {
            (path, split)
            for path, (number, own) in zip(paths, images, strict=True)
            for other, split in images
            if other == number and judges[own] < judges[split]
        }


class TestToldApart:
    """What a person told apart is no copy."""

    def decided(self, **changes: Any) -> Decided:
        return NOTHING._replace(**changes)

    def test_a_pair(self):
        table = near(9)
        pair = tuple(sorted(table["sha256"]))
        assert said(audit_table(table, decided=self.decided(unlike=frozenset({pair})))) == {}

    def test_of_several_alike_the_others_still_are(self):
        base = digits("near")
        table = curated(path=["a", "b", "c"], phash256=[base] * 3, dhash256=[base] * 3, split=["train", "train", "val"])
        a, b, c = table["sha256"]
        found = audit_table(table, decided=self.decided(unlike=frozenset({tuple(sorted((a, c)))})))
        assert said(found) == {"leak": ["c (val, a): 0 of 512 bits from b (train, a)"]}
        both = frozenset({tuple(sorted((a, c))), tuple(sorted((b, c)))})
        assert said(audit_table(table, decided=self.decided(unlike=both))) == {}

    def test_an_image_that_is_a_copy_of_no_other_but_of_itself(self):
        table = near(9)
        alone = self.decided(like_none=frozenset({table["sha256"][0]}))
        assert said(audit_table(table, decided=alone)) == {}
        same = curated(path=["a", "b"], sha256=[digits(1)] * 2, split=["train", "val"])
        found = audit_table(same, decided=self.decided(like_none=frozenset({digits(1)})))
        assert said(found) == {"leak": ["b (val, a): identical to a (train, a)"]}


class TestClasses:
    """The same image under two classes, and classes that a split lacks."""

    def test_a_conflict_within_a_split(self):
        table = near(9, split=["train", "train"], **{"class": ["hat", "cat"]})
        assert said(audit_table(table)) == {"conflict": ["b (train, cat): 9 of 512 bits from a (train, hat)"]}

    def test_a_class_that_is_not_trained_is_refused_and_one_that_is_not_judged_is_not(self):
        table = curated(path=["1", "2", "3"], label=["a", "b", "a"], split=["train", "train", "val"])
        audit = audit_table(table)
        assert (said(audit), audit.is_refused) == ({"unjudged": ["b has none in val"]}, False)
        audit = audit_table(curated(path=["1", "2"], label=["a", "b"], split=["train", "val"]))
        assert said(audit) == {"untrained": ["b has none in train"], "unjudged": ["a has none in val"]}
        assert audit.is_refused


class TestGroups:
    """Images that belong together share a split."""

    def test_a_group_astride(self):
        table = curated(path=["a", "b", "c"], group=["g", "g", "h"], split=["train", "val", "val"])
        audit = audit_table(table)
        assert (said(audit), audit.is_refused) == ({"group": ["a (train), b (val) of 2 images"]}, True)

    def test_in_given_splits_it_is_a_remark(self):
        table = curated(path=["a", "b", "c"], group=["g", "g", "h"], split=["train", "val", "val"])
        audit = audit_table(table, is_given=True)
        assert (said(audit), audit.is_refused) == ({"touching": ["a (train), b (val) of 2 images"]}, False)


def views(**columns: list[Any]) -> pl.DataFrame:
    """Rows of train shards, one a path, as they are."""
    count = len(columns["path"])
    usual: dict[str, list[Any]] = {
        "split": ["train"] * count, "shard": ["s"] * count, "row": list(range(count)), "view": [0] * count,
        "sha256": [digits(path) for path in columns["path"]], "class": ["a"] * count,
    }  # fmt: skip
    return pl.DataFrame(usual | columns)


class TestViews:
    """The rows of a shard set are what the curation says."""

    def test_all_is_well(self):
        table = curated(path=["a", "b"], split=["train", "val"])
        found = audit_views(views(path=["a", "a", "b"], view=[0, 1, 0], split=["train", "train", "val"]), table)
        assert (said(found), found.is_refused) == ({}, False)

    def test_an_augmented_view_outside_train(self):
        table = curated(path=["a", "b"], split=["train", "val"])
        found = audit_views(views(path=["a", "b", "b"], view=[0, 0, 1], split=["train", "val", "val"]), table)
        assert said(found) == {"augmented": ["s row 2 (b, view 1) in val"]}

    def test_views_of_an_image_in_two_splits(self):
        table = curated(path=["a"])
        found = audit_views(views(path=["a", "a"], view=[0, 1], split=["train", "test"]), table)
        assert said(found) == {
            "astride": ["s row 0 (a, view 0) in train, s row 1 (a, view 1) in test"],
            "augmented": ["s row 1 (a, view 1) in test"],
            "disagrees": ["s row 1 (a, view 1): in test, curated for train"],
        }

    def test_rows_that_disagree_and_images_without_a_row(self):
        table = curated(path=["a", "b", "c"], rejected=[None, None, "blurred"], split=["train", "train", None])
        found = audit_views(views(**{"path": ["a", "c"], "class": ["x", "a"]}), table)
        assert said(found) == {
            "disagrees": ["s row 0 (a, view 0): is x, curated as a", "s row 1 (c, view 0): its image is not kept"],
            "absent": ["b (train)"],
        }
        assert found.is_refused

    def test_an_image_of_which_only_a_copy_has_a_row(self):
        found = audit_views(views(path=["a", "b"], view=[0, 1]), curated(path=["a", "b"]))
        assert said(found) == {"absent": ["b (train)"]}

    def test_what_the_pipeline_makes_is_well(self, tmp_path: Path):
        asked = recipe(class_folders(tmp_path / "s", {"a": 6, "b": 6}), augment={"copies": 2})
        done = brought(asked, tmp_path)
        table = read_table(folder(tmp_path, done["curate"]) / "images.parquet")
        rows_ = read_table(folder(tmp_path, done["transform"]) / "rows.parquet")
        assert rows_.filter(pl.col("view") > 0).height > 0
        assert said(audit_views(rows_, table)) == {}
        assert said(audit_table(table)) == {}


class TestShown:
    """What a person reads, and what a script gets."""

    def test_findings_with_examples_and_the_limits(self):
        base = digits(1)
        table = curated(path=[f"{n:02}" for n in range(15)], phash256=[base] * 15, dhash256=[base] * 15,
                        split=["train"] + ["val"] * 14)  # fmt: skip
        lines = list(shown(audit_table(table)))
        assert lines[0] == "Compared 15 kept images, each with all others, within 64 of 512 bits"
        assert lines[1] == "\n[bold]The same image in two splits: 14[/bold]"
        assert lines[2] == "  01 (val, a): 0 of 512 bits from 00 (train, a)"
        assert lines[14] == "  … and 2 more"
        assert lines[15].startswith("What this cannot find: copies that differ in more than 96 bits, ")

    def test_nothing_found_is_said(self):
        assert list(shown(audit_table(curated(path=["a"]))))[1] == "Nothing found."

    def test_names_are_no_markup(self):
        lines = list(shown(audit_table(near(1, path=["[red]a", "b\x1b"]))))
        assert lines[2] == "  b\\x1b (val, a): 1 of 512 bits from \\[red]a (train, a)"

    def test_json_has_all_of_it(self):
        told = json.loads(json.dumps(audit_table(near(9)).as_json()))
        assert (told["refused"], set(told["findings"])) == (True, {"leak"})
        assert set(told["findings"]) <= set(KINDS)
        assert told["findings"]["leak"][0]["place_other"] == "a"
