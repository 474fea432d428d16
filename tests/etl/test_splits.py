from collections import Counter
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import splits
from etl.splits import given_split, is_given, with_splits
from manifests.errors import UserError
from manifests.recipe import Curate
from tests.makers import digits, rows

THREE = {"train": 0.6, "val": 0.2, "test": 0.2}


def images(sizes: dict[str, list[int]]) -> pl.DataFrame:
    """Class → sizes of its groups, as divide sees them; a group named for its class and number."""
    found = [
        (f"{name}{number}-{copy}", name, digits(f"{name}{number}"))
        for name, groups in sizes.items()
        for number, size in enumerate(groups)
        for copy in range(size)
    ]
    return pl.DataFrame(found, schema=["path", "class", "group"], orient="row")


def divide(table: pl.DataFrame, shares: dict[str, float], seed: int) -> pl.DataFrame:
    """path → split."""
    return table.select("path", split=splits.divide(table.with_columns(sha256=pl.col("group")), shares, seed))


def curated(**columns: list[Any]) -> pl.DataFrame:
    table = rows(**columns)
    none = pl.lit(None, pl.String)
    return table.with_columns(group=pl.col("sha256"), cluster=pl.col("sha256"), rejected=none).with_columns(
        pl.col("label").alias("class")
    )


def placed(table: pl.DataFrame, settings: Curate | None = None) -> dict[str, str | None]:
    return dict(with_splits(table, settings or Curate()).select("path", "split").iter_rows())


def counts(found: pl.DataFrame, table: pl.DataFrame) -> dict[tuple[str, str], int]:
    joined = table.join(found, on="path")
    return {(name, split): size for name, split, size in joined.group_by("class", "split").len().iter_rows()}


SIZES = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(1, 4), min_size=1, max_size=12), min_size=1)
SHARES = st.sampled_from(
    [THREE, {"train": 0.8, "val": 0.2}, {"train": 0.1, "val": 0.9}, {"train": 0.1, "val": 0.1, "test": 0.8}]
)


class TestDivide:
    """Each class by its shares, whole groups only, decided by seed and image."""

    def test_shares_are_kept_to_the_image_where_no_image_has_copies(self):
        table = images({"a": [1] * 50, "b": [1] * 10})
        expected = {("a", "train"): 30, ("a", "val"): 10, ("a", "test"): 10}
        expected |= {("b", "train"): 6, ("b", "val"): 2, ("b", "test"): 2}
        assert counts(divide(table, THREE, 0), table) == expected

    @settings(max_examples=80, deadline=None)
    @given(SIZES, SHARES, st.integers(0, 5))
    def test_every_image_is_placed_once_and_no_group_is_astride(
        self, sizes: dict[str, list[int]], shares: dict[str, float], seed: int
    ):
        table = images(sizes)
        found = divide(table, shares, seed)
        assert sorted(found["path"]) == sorted(table["path"])
        assert set(found["split"]) <= set(shares)
        assert table.join(found, on="path").group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1

    @settings(max_examples=80, deadline=None)
    @given(SIZES, SHARES, st.integers(0, 5))
    def test_a_class_with_as_many_groups_as_splits_stands_in_each(
        self, sizes: dict[str, list[int]], shares: dict[str, float], seed: int
    ):
        table = images(sizes)
        there = counts(divide(table, shares, seed), table)
        enough = [name for name, groups in sizes.items() if len(groups) >= len(shares)]
        assert [(n, s) for n in enough for s in shares if (n, s) not in there] == []

    @settings(max_examples=40, deadline=None)
    @given(SIZES, SHARES, st.randoms(use_true_random=False))
    def test_the_order_of_rows_does_not_matter(
        self, sizes: dict[str, list[int]], shares: dict[str, float], random: Random
    ):
        table = images(sizes)
        shuffled = table.sample(fraction=1, shuffle=True, seed=random.randrange(1000))
        assert divide(table, shares, 1).sort("path").equals(divide(shuffled, shares, 1).sort("path"))

    def test_a_group_of_two_classes_stays_together(self):
        table = pl.DataFrame(
            {"path": ["1", "2", "3", "4"], "class": ["a", "a", "b", "b"], "group": ["g", "h", "g", "i"]}
        )
        for seed in range(10):
            found = dict(divide(table, {"train": 0.5, "val": 0.5}, seed).iter_rows())
            assert found["1"] == found["3"]

    def test_another_class_changes_nothing(self):
        alone, beside = images({"a": [1] * 20}), images({"a": [1] * 20, "b": [2] * 9})
        found = divide(beside, THREE, 3).filter(pl.col("path").str.starts_with("a"))
        assert found.sort("path").equals(divide(alone, THREE, 3).sort("path"))

    def test_another_seed_is_another_split(self):
        table = images({"a": [1] * 40})
        assert not divide(table, THREE, 0).equals(divide(table, THREE, 1))

    def test_a_new_image_moves_few_others(self):
        table, more = images({"a": [1] * 50}), images({"a": [1] * 51})
        before, after = dict(divide(table, THREE, 0).iter_rows()), dict(divide(more, THREE, 0).iter_rows())
        assert sum(before[path] != after[path] for path in before) <= 3

    def test_no_rows_have_no_splits(self):
        assert divide(images({"a": [1]}).clear(), THREE, 0).height == 0


class TestGivenSplits:
    """The source's own splits are kept; val is carved from train where there is none, and never from test."""

    def test_auto_takes_the_sources_where_it_states_any(self):
        table = curated(source_split=["train", "val", "test"])
        assert placed(table) == {"0000.png": "train", "0001.png": "val", "0002.png": "test"}
        assert is_given(table, Curate(split="0.8,0.2")) is False

    def test_auto_is_four_fifths_where_it_states_none(self):
        assert Counter(placed(curated(label=["a"] * 10)).values()) == {"train": 8, "val": 2}

    def test_a_missing_val_is_carved_from_train_alone(self):
        table = curated(source_split=["train"] * 20 + ["test"] * 10)
        found = placed(table, Curate(val_fraction=0.25))
        assert Counter(found.values()) == {"train": 15, "val": 5, "test": 10}
        assert {found[path] for path in table.filter(pl.col("source_split") == "test")["path"]} == {"test"}

    def test_a_given_val_is_not_added_to(self):
        table = curated(source_split=["train"] * 20 + ["val"])
        assert Counter(placed(table).values()) == {"train": 20, "val": 1}

    def test_a_split_may_be_used_as_another(self):
        table = curated(source_split=["train"] * 10 + ["val"] * 3)
        settings = Curate(given_as={"val": "test"})
        assert table.select(given_split(settings))["source_split"].to_list() == ["train"] * 10 + ["test"] * 3
        assert Counter(placed(table, settings).values()) == {"train": 8, "val": 2, "test": 3}

    def test_a_source_of_test_images_alone_has_no_train(self):
        assert set(placed(curated(source_split=["test"] * 3)).values()) == {"test"}

    def test_an_identical_image_in_two_splits_is_refused(self):
        table = curated(path=["t/1.png", "v/1.png"], sha256=[digits(1)] * 2, source_split=["train", "val"])
        with pytest.raises(UserError) as raised:
            placed(table)
        assert str(raised.value) == (
            "curate.split = given: an identical image stands in two splits, such as t/1.png (train) and v/1.png (val); "
            "use --dedupe exact or near."
        )

    def test_rejected_rows_have_no_split(self):
        table = curated(source_split=["train", "val"]).with_columns(rejected=pl.Series(["why", None]))
        assert placed(table) == {"0000.png": None, "0001.png": "val"}
