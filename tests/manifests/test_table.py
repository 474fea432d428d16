from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.digests import rank
from manifests.table import (
    EXTRACTED,
    in_order,
    kept,
    numbered,
    places,
    read_table,
    reject,
    repeated,
    scan_table,
    spread,
    table_digest,
    write_table,
)
from tests.makers import digits, rows


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


class TestRows:
    """What is decided of some rows, laid over all of them; and which rows have the same value."""

    @given(st.lists(st.booleans(), max_size=30))
    def test_values_of_some_rows_are_laid_over_all(self, chosen: list[bool]):
        marked = pl.Series(chosen, dtype=pl.Boolean)
        values = pl.Series([f"value {n}" for n in range(len(chosen))], dtype=pl.String)
        expected = [f"value {n}" if is_chosen else None for n, is_chosen in enumerate(chosen)]
        assert spread(values.filter(marked), marked).to_list() == expected

    @given(st.lists(st.one_of(st.none(), st.sampled_from("abcdef")), max_size=30))
    def test_every_row_has_the_number_of_the_first_of_its_value(self, values: list[str | None]):
        expected = [n if value is None else values.index(value) for n, value in enumerate(values)]
        assert numbered(pl.Series(values, dtype=pl.String)).to_list() == expected

    @given(st.lists(st.sampled_from("abcdef"), max_size=30))
    def test_no_repeated_value_is_overlooked(self, values: list[str]):
        found = repeated(pl.Series(values, dtype=pl.String))
        assert [
            value for value, again in zip(values, found, strict=True) if values.count(value) > 1 and not again
        ] == []

    def test_places_are_those_of_rank(self):
        shas = [digits(n) for n in range(50)]
        expected = [int(rank(7, "cap", sha256)[:16], 16) for sha256 in shas]
        assert places(pl.Series(shas), 7, "cap").to_list() == expected

    def test_rows_are_sorted_by_path_where_they_are_not(self):
        assert in_order(rows(path=["b", "a", "c"]))["path"].to_list() == ["a", "b", "c"]
        assert in_order(rows(path=["a", "b"]))["path"].to_list() == ["a", "b"]


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
    """What is written is read again, whole or as far as it is asked for."""

    def test_a_lazy_table_is_written_and_digested_like_one_in_memory(self, tmp_path: Path):
        long = pl.DataFrame({"n": range(250_000)}).with_columns(text=pl.format("row {}", "n"))
        write_table(long, tmp_path / "whole.parquet")
        write_table(scan_table(tmp_path / "whole.parquet"), tmp_path / "passed.parquet")
        assert read_table(tmp_path / "passed.parquet").equals(long)
        assert table_digest(scan_table(tmp_path / "passed.parquet")) == table_digest(long)

    def test_some_columns_alone(self, tmp_path: Path):
        write_table(rows(path=["a"]), tmp_path / "t.parquet")
        assert read_table(tmp_path / "t.parquet", ["path", "label"]).rows() == [("a", "a")]

    def test_read_of_write_is_the_table(self, tmp_path: Path):
        images = rows(path=["a", "ñ/b"], problem=["truncated", None], phash=[2**64 - 1, None])
        write_table(images, tmp_path / "t.parquet")
        again = read_table(tmp_path / "t.parquet")
        assert again.equals(images)
        assert again.schema == EXTRACTED
