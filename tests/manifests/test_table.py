from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.table import EXTRACTED, kept, read_table, reject, table_digest, write_table
from tests.makers import rows


def marked(rejected: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        {"n": range(len(rejected)), "rejected": rejected}, schema={"n": pl.Int64, "rejected": pl.String}
    )


class TestReject:
    """Rows are marked, never dropped, and the first reason stands."""

    def test_rows_that_hold_are_marked(self):
        assert reject(marked([None] * 3), pl.col("n") > 0, "big")["rejected"].to_list() == [None, "big", "big"]

    def test_the_first_reason_stands(self):
        assert reject(marked(["first", None]), pl.lit(value=True), "second")["rejected"].to_list() == [
            "first",
            "second",
        ]

    def test_an_unknown_condition_does_not_hold(self):
        unknown = pl.Series([None, True], dtype=pl.Boolean)
        assert reject(marked([None] * 2), unknown, "why")["rejected"].to_list() == [None, "why"]

    def test_a_reason_may_be_of_the_row(self):
        assert reject(marked([None]), pl.col("n") == 0, pl.format("row {}", "n"))["rejected"].to_list() == ["row 0"]

    def test_kept_are_those_without_a_reason(self):
        assert kept(marked(["x", None, None]))["n"].to_list() == [1, 2]


TABLES = st.lists(st.tuples(st.one_of(st.none(), st.text(max_size=4)), st.one_of(st.none(), st.integers(0, 9))))


def table(values: list[tuple[str | None, int | None]]) -> pl.DataFrame:
    return pl.DataFrame(values, schema={"a": pl.String, "b": pl.Int64}, orient="row")


class TestTableDigest:
    """Of names, types and values alone."""

    @settings(max_examples=200, deadline=None)
    @given(TABLES, TABLES)
    def test_digests_are_equal_where_the_tables_are(
        self, one: list[tuple[str | None, int | None]], other: list[tuple[str | None, int | None]]
    ):
        same = table_digest(table(one)) == table_digest(table(other))
        assert same == table(one).equals(table(other))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([("", 1)], [(None, 1)]),
            ([("a,1\nb", 2)], [("a", 1), ("b", 2)]),
            ([('"', 1)], [('""', 1)]),
            ([("a", None)], [("a", 0)]),
        ],
    )
    def test_values_that_look_alike_differ(self, one: list[Any], other: list[Any]):
        assert table_digest(table(one)) != table_digest(table(other))

    def test_names_types_and_order_count(self):
        base = table([("a", 1), ("b", 2)])
        others = [base.rename({"a": "c"}), base.cast({"b": pl.Int32}), base.reverse(), base.select("b", "a")]
        assert len({table_digest(each) for each in [base, *others]}) == 5

    def test_how_it_lies_in_memory_does_not(self):
        base = table([("a", 1), ("b", 2)])
        assert table_digest(pl.concat([base[:1], base[1:]], rechunk=False)) == table_digest(base)

    def test_tables_longer_than_a_block_are_read_whole(self):
        long = pl.DataFrame({"n": range(250_000)})
        assert table_digest(long) != table_digest(long.with_columns(pl.when(pl.col("n") < 249_999).then("n")))


class TestFile:
    """What is written is read again."""

    def test_read_of_write_is_the_table(self, tmp_path: Path):
        images = rows(path=["a", "ñ/b"], problem=["truncated", None], phash=[2**64 - 1, None])
        write_table(images, tmp_path / "t.parquet")
        again = read_table(tmp_path / "t.parquet")
        assert again.equals(images)
        assert again.schema == EXTRACTED
