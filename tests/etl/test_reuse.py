import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.reuse import Numbers
from etl.transform import BITS, cut
from manifests.recipe import Recipe
from manifests.shards import Index, is_sound, read_index
from manifests.store import Stage
from tests.makers import brought, class_folders, folder, png_bytes, recipe, write

SMALL = {"size": 200, "shard_mb": 1}  # 120,000 bytes a row: eight to a shard


def shards(asked: Recipe, root: Path) -> tuple[Stage, Path, Index]:
    stage = brought(asked, root)["transform"]
    return stage, folder(root, stage), read_index(folder(root, stage))


def files(place: Path) -> dict[int, str]:
    """Inode → name of each shard."""
    return {file.stat().st_ino: file.name for file in place.glob("*.safetensors")}


def groups(beginnings: list[int], most: int) -> set[tuple[int, ...]]:
    """The rows of each shard, by the beginnings of their sha256."""
    ordered = sorted(beginnings)
    starts = [*cut(np.array(ordered, np.int64), 0, len(ordered), most, BITS), len(ordered)]
    return {tuple(ordered[a:b]) for a, b in pairwise(starts)}


class TestCut:
    """Rows are shared out by the first bits of their sha256."""

    some = st.lists(st.integers(0, (1 << BITS) - 1), min_size=1, max_size=60, unique=True)

    @given(some, st.integers(1, 20))
    def test_every_row_is_in_one_shard_and_none_is_too_large(self, beginnings: list[int], most: int):
        found = groups(beginnings, most)
        assert sorted(row for group in found for row in group) == sorted(beginnings)
        assert max(map(len, found)) <= most

    @given(some, st.integers(0, (1 << BITS) - 1), st.integers(1, 20))
    def test_one_row_more_changes_one_shard(self, beginnings: list[int], new: int, most: int):
        others = [each for each in beginnings if each != new]
        before, after = groups(others, most) if others else set(), groups([*others, new], most)
        gone, fresh = before - after, after - before
        assert len(gone) <= 1
        assert sorted(row for group in fresh for row in group) == sorted(
            [*(row for group in gone for row in group), new]
        )

    def test_rows_of_one_image_that_are_too_many_are_cut_by_number(self):
        assert list(cut(np.full(10, 7, np.int64), 0, 10, 4, BITS)) == [0, 4, 8]

    def test_of_many_rows_shards_are_filled_by_a_third_at_the_least_and_by_half_on_average(self):
        rows: Numbers = np.sort(np.random.default_rng(0).integers(0, 1 << BITS, 100_000))
        starts = np.array([*cut(rows, 0, len(rows), 400, BITS), len(rows)])
        assert np.diff(starts).min() >= 140
        assert np.diff(starts).mean() >= 200


def grown(root: Path) -> tuple[Path, Path, Index]:
    """A source of which shards were made, and one image since: the source, the shards, and their index."""
    place = class_folders(root / "source", {"a": 30, "b": 30})
    _, old, index = shards(recipe(place, transform=SMALL), root)
    return write(place, {"a/new.png": png_bytes(seed=5000)}), old, index


class TestLinked:
    """A shard that an earlier set has is the same file; it is not written a second time."""

    def test_an_added_image_leaves_all_shards_but_its_own(self, tmp_path: Path):
        place, old, _ = grown(tmp_path)
        second, new, index = shards(recipe(place, transform=SMALL), tmp_path)
        fresh, _, _ = shards(recipe(place, transform=SMALL), tmp_path / "fresh")
        assert second.digest == fresh.digest
        assert (second.counts["decoded"], second.counts["copied"]) == (1, 60)
        count = sum(map(len, index.splits.values()))
        made = files(new).keys() - files(old).keys()
        assert len(made) in {1, 2}  # two where its shard was full
        assert len(files(new)) == count >= 8
        assert all(is_sound(new, shard) for part in index.splits.values() for shard in part)

    def test_sums_go_with_the_shards(self, tmp_path: Path):
        place, _, _ = grown(tmp_path)
        asked = recipe(place, transform=SMALL)
        linked, made = (shards(asked, root)[1] / "rows.parquet" for root in (tmp_path, tmp_path / "fresh"))
        assert pl.read_parquet(linked).equals(pl.read_parquet(made))

    @pytest.mark.parametrize("harm", ["gone", "flipped"])
    def test_a_shard_that_is_damaged_is_decoded_again(self, tmp_path: Path, harm: str):
        place, old, before = grown(tmp_path)
        _, _, expected = shards(recipe(place, transform=SMALL), tmp_path / "fresh")
        unchanged = {shard.sha256 for shard in expected.splits["train"]}
        harmed = next(shard for shard in before.splits["train"] if shard.sha256 in unchanged)
        file = old / harmed.file
        data = bytearray(file.read_bytes())
        file.unlink()
        if harm == "flipped":
            data[-1] ^= 1
            file.write_bytes(bytes(data))
        again, new, index = shards(recipe(place, transform=SMALL), tmp_path)
        assert (again.counts["decoded"], again.counts["copied"]) == (harmed.rows + 1, 60 - harmed.rows)
        assert index.splits == expected.splits
        assert all(is_sound(new, shard) for part in index.splits.values() for shard in part)

    @pytest.mark.parametrize("name", ["rows.parquet", "index.json"])
    @pytest.mark.parametrize("harm", ["gone", "other"])
    def test_a_set_whose_tables_are_damaged_is_left_out(self, tmp_path: Path, name: str, harm: str):
        place = class_folders(tmp_path / "source", {"a": 3, "b": 3})
        _, old, _ = shards(recipe(place), tmp_path)
        (old / name).unlink()
        if harm == "other":
            (old / name).write_bytes(b"{}")
        write(place, {"a/new.png": png_bytes(seed=5000)})
        second, _, _ = shards(recipe(place), tmp_path)
        fresh, _, _ = shards(recipe(place), tmp_path / "fresh")
        assert (second.counts["decoded"], second.counts["copied"], second.digest) == (7, 0, fresh.digest)

    def test_the_newest_of_several_sets_serves_and_older_ones_what_it_has_not(self, tmp_path: Path):
        place = class_folders(tmp_path / "source", {"a": 30, "b": 30})
        shards(recipe(place, transform=SMALL), tmp_path)
        for number in range(3):
            write(place, {f"a/new-{number}.png": png_bytes(seed=5000 + number)})
            last, _, _ = shards(recipe(place, transform=SMALL), tmp_path)
            assert (last.counts["decoded"], last.counts["copied"]) == (1, 60 + number)
        (place / "a/new-2.png").unlink()
        again, _, _ = shards(recipe(place, transform={**SMALL, "shard_mb": 2}), tmp_path)
        assert (again.counts["decoded"], again.counts["copied"]) == (0, 62)
        fresh, _, _ = shards(recipe(place, transform={**SMALL, "shard_mb": 2}), tmp_path / "fresh")
        assert again.digest == fresh.digest
        write(place, {"a/new-2.png": png_bytes(seed=5002)})  # which the newest set has not, but one before it
        back, _, _ = shards(recipe(place, transform={**SMALL, "shard_mb": 2}), tmp_path)
        assert (back.counts["decoded"], back.counts["copied"]) == (0, 63)

    def test_other_classes_are_other_labels_and_no_shard_is_linked(self, tmp_path: Path):
        place = class_folders(tmp_path / "source", {"b": 30, "c": 30})
        _, old, _ = shards(recipe(place, transform=SMALL), tmp_path)
        write(place, {"a/new.png": png_bytes(seed=5000)})
        second, new, _ = shards(recipe(place, transform=SMALL), tmp_path)
        fresh, _, _ = shards(recipe(place, transform=SMALL), tmp_path / "fresh")
        assert second.digest == fresh.digest
        assert second.counts["decoded"] == 1
        assert not files(new).keys() & files(old).keys()

    def test_where_files_cannot_be_linked_they_are_copied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def refused(*_: object) -> None:
            raise PermissionError("no links here")

        place, old, _ = grown(tmp_path)
        monkeypatch.setattr(os, "link", refused)
        second, new, index = shards(recipe(place, transform=SMALL), tmp_path)
        fresh, _, _ = shards(recipe(place, transform=SMALL), tmp_path / "fresh")
        assert (second.counts["decoded"], second.counts["copied"], second.digest) == (1, 60, fresh.digest)
        assert not files(new).keys() & files(old).keys()
        assert all(is_sound(new, shard) for part in index.splits.values() for shard in part)
