import json
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.augment import augment
from etl.augmentations import PRESETS, drawn
from etl.curate import curate
from manifests.digests import rank
from manifests.errors import Exit, UserError
from manifests.recipe import Augment, ClassAugment, Curate
from manifests.table import VIEWS
from tests.makers import brought, class_folders, recipe, rows


def curated(**classes: int) -> pl.DataFrame:
    labels = [name for name, count in classes.items() for _ in range(count)]
    return curate(rows(label=labels), Curate(split="0.6,0.2,0.2"))


def views(table: pl.DataFrame, **asked: Any) -> pl.DataFrame:
    return augment(table, Augment.model_validate(asked))


def per_class(found: pl.DataFrame, split: str = "train") -> dict[str, int]:
    return dict(found.filter(pl.col("split") == split).group_by("class").len().sort("class").iter_rows())


class TestAugment:
    """View 0 of every kept image; more of train images only."""

    def test_without_copies_there_is_one_view_of_every_kept_image(self):
        table = curated(a=10)
        found = views(table)
        assert found.schema == VIEWS
        assert found["path"].to_list() == table["path"].to_list()
        assert set(found["view"]) == {0}
        assert set(found["parameters"]) == {"[]"}

    def test_copies_are_of_train_only(self):
        found = views(curated(a=10), copies=2)
        assert dict(found.group_by("split").len().iter_rows()) == {"train": 18, "val": 2, "test": 2}
        assert set(found.filter(pl.col("view") > 0)["split"]) == {"train"}

    def test_rejected_images_have_no_view(self):
        table = curate(rows(problem=["truncated", None, None]), Curate())
        assert sorted(views(table, copies=1)["path"].unique()) == ["0001.png", "0002.png"]

    def test_parameters_are_drawn_from_seed_image_and_view(self):
        found = views(curated(a=5), copies=3, policy="strong", seed=7)
        drew = found.filter(pl.col("view") > 0)
        assert drew.height == 9
        for row in drew.iter_rows(named=True):
            expected = drawn(PRESETS["strong"], Random(rank(7, row["sha256"], row["view"])))
            assert json.loads(row["parameters"]) == expected
        assert drew["parameters"].is_unique().all()

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 3))
    def test_parameters_are_the_same_whatever_stands_beside(self, count: int, others: int, copies: int):
        alone, beside = (views(table, copies=copies) for table in (curated(a=count), curated(a=count, b=others)))
        joined = alone.join(beside, on=["sha256", "view"], suffix="_beside")
        assert joined.height == alone.height
        assert joined["parameters"].equals(joined["parameters_beside"].alias("parameters"))

    def test_more_copies_leave_the_first_as_they_were(self):
        two, three = (views(curated(a=9), copies=copies) for copies in (2, 3))
        assert three.filter(pl.col("view") <= 2).equals(two)

    def test_the_order_of_rows_does_not_matter(self):
        table = curated(a=9, b=5)
        shuffled = table.sample(fraction=1, shuffle=True, seed=3)
        asked = {"copies": 1, "balance_to": 17}
        assert views(shuffled, **asked).equals(views(table, **asked))

    def test_the_seed_changes_the_parameters(self):
        assert not views(curated(a=9), copies=1).equals(views(curated(a=9), copies=1, seed=1))


class TestClasses:
    """A class may have its own copies and its own policy."""

    def test_own_copies_and_policy(self):
        own = {"b": ClassAugment(copies=3, policy="flip:vertical"), "c": ClassAugment(copies=0)}
        found = views(curated(a=5, b=5, c=5), copies=1, policy="rotate", classes=own)
        assert per_class(found) == {"a": 6, "b": 12, "c": 3}
        names = found.filter(pl.col("view") > 0).group_by("class").agg(pl.col("parameters").str.slice(2, 7).unique())
        assert dict(names.sort("class").iter_rows()) == {"a": ['"rotate'], "b": ['"flip",']}

    def test_a_class_that_is_not_kept_is_refused_with_the_nearest(self):
        with pytest.raises(UserError) as raised:
            views(curated(cat=5), classes={"cta": ClassAugment(copies=1)})
        assert str(raised.value) == "augment.classes: no class 'cta' is kept. Known: cat. Did you mean 'cat'?"
        assert raised.value.code == Exit.RECIPE


class TestBalance:
    """Smaller classes get so many copies that they have the views asked for."""

    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2), st.integers(1, 60))
    def test_it_is_exact(self, one: int, other: int, copies: int, target: int):
        table = curated(a=one, b=other)
        found = views(table, copies=copies, balance_to=target)
        images = per_class(views(table))
        assert per_class(found) == {name: max(count * (1 + copies), target) for name, count in images.items()}
        assert per_class(found, "val") == per_class(views(table), "val")

    def test_copies_are_spread_evenly(self):
        found = views(curated(a=10), balance_to=15)
        counts = found.filter(pl.col("split") == "train").group_by("sha256").len()["len"].value_counts().sort("len")
        assert counts.rows() == [(2, 3), (3, 3)]


class TestStage:
    """The published table and its counts."""

    def test_counts(self, tmp_path: Path):
        source = class_folders(tmp_path / "source", {"cat": 5, "dog": 10})
        done = brought(recipe(source, augment={"copies": 2}), tmp_path, until="augment")["augment"]
        assert done.counts == {
            "views": 39,
            "augmented": 24,
            "per_class": [
                {"class": "cat", "train": 12, "val": 1, "test": 0},
                {"class": "dog", "train": 24, "val": 2, "test": 0},
            ],
            "classes": ["cat", "dog"],
        }
