import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from manifests.errors import Exit, UserError
from manifests.shards import (
    PAGE,
    STORED,
    Index,
    Shard,
    Target,
    create,
    describe,
    is_sound,
    open_rows,
    read_index,
    write_index,
)
from tests.makers import contract


def filled(file: Path, rows: int = 3, shape: tuple[int, ...] = (4, 5, 3), dtype: str = "uint8", seed: int = 0) -> Path:
    create(file, rows, shape, dtype)
    opened, generator = open_rows(file, writable=True), np.random.default_rng(seed)
    opened.images[:] = generator.integers(0, 255, (rows, *shape)).astype(opened.images.dtype)
    opened.labels[:] = generator.integers(0, 9, rows)
    return file


def index(folder: Path, **changes: Any) -> Index:
    """A set of two splits, written."""
    splits = {
        split: (describe(filled(folder / f"{split}-00000.safetensors", seed=n), 3),)
        for n, split in enumerate(("train", "val"))
    }
    values: dict[str, Any] = {
        "dataset": "made", "classes": ("b", "a"), "contract": contract(4, 5), "mean": (0.1, 0.2, 1 / 3),
        "deviation": (0.2, 0.2, 0.2), "splits": splits,
    }  # fmt: skip
    made = Index(**values | changes)
    write_index(made, folder)
    return made


def damage(file: Path) -> str:
    with pytest.raises(UserError) as raised:
        open_rows(file)
    assert raised.value.code == Exit.STALE
    assert str(raised.value).startswith(f"{file}: damaged: ")
    assert str(raised.value).endswith(f"; run transform again after removing {file.parent}.")
    return str(raised.value)


class TestRows:
    """read(write(x)) == x, for any shape and type, and for safetensors' own reader."""

    @settings(max_examples=30, deadline=None)
    @given(
        st.integers(0, 5),
        st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
        st.sampled_from([name for name in STORED if name != "int64"]),
        st.integers(0, 99),
    )
    def test_what_is_written_is_read(self, rows: int, shape: tuple[int, ...], dtype: str, seed: int):
        with tempfile.TemporaryDirectory() as place:
            file = Path(place, "a.safetensors")
            create(file, rows, shape, dtype)
            kind = np.dtype(STORED[dtype][1])
            generator = np.random.default_rng(seed)
            images = generator.integers(0, 200, (rows, *shape)).astype(kind)
            labels = generator.integers(-(2**62), 2**62, rows)
            writable = open_rows(file, writable=True)
            writable.images[:], writable.labels[:] = images, labels
            again = open_rows(file)
            assert np.array_equal(again.images, images)
            assert np.array_equal(again.labels, labels)
            assert (again.images.dtype, again.labels.dtype) == (kind, np.int64)
            with safe_open(file, "pt") as theirs:
                assert tuple(theirs.get_tensor("images").shape) == (rows, *shape)
                assert theirs.get_tensor("labels").tolist() == labels.tolist()
                assert str(theirs.get_tensor("images").dtype) == f"torch.{dtype}"

    @pytest.mark.parametrize("rows", [1, 3, 511, 512, 513])
    def test_images_begin_on_a_page(self, tmp_path: Path, rows: int):
        create(tmp_path / "a", rows, (2, 2, 3), "uint8")
        data = (tmp_path / "a").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        start = 8 + length + json.loads(data[8 : 8 + length])["images"]["data_offsets"][0]
        assert start % PAGE == 0
        assert len(data) == start + rows * 12

    def test_rows_are_zero_before_they_are_written(self, tmp_path: Path):
        create(tmp_path / "a", 3, (2, 2, 1), "uint8")
        assert not open_rows(tmp_path / "a").images.any()

    def test_a_mapped_shard_cannot_be_written_by_mistake(self, tmp_path: Path):
        with pytest.raises(ValueError, match="read-only"):
            open_rows(filled(tmp_path / "a")).images[0] = 1

    def test_a_file_that_is_there_is_not_overwritten(self, tmp_path: Path):
        filled(tmp_path / "a")
        with pytest.raises(FileExistsError):
            create(tmp_path / "a", 1, (1,), "uint8")


class TestTarget:
    """Rows are written one by one, each at its place, in any order."""

    def test_rows_lie_where_they_were_put(self, tmp_path: Path) -> None:
        file = tmp_path / "a"
        create(file, 5, (2, 3, 3), "uint8")
        pixels = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
        target = Target(file)
        for row in (3, 0, 4):
            target.put(row, pixels[row].tobytes())
        pixels[[1, 2]] = 0
        assert np.array_equal(pixels, open_rows(file).images)

    @given(row=st.integers(0, 5), other_row=st.integers(0, 7), count=st.integers(0, 8))
    def test_rows_are_copied_as_they_are_or_refused(self, row: int, other_row: int, count: int) -> None:
        with tempfile.TemporaryDirectory() as place:
            file, other = filled(Path(place) / "a", seed=1), filled(Path(place) / "b", rows=7, seed=2)
            wanted, there = open_rows(file).images.copy(), open_rows(other).images
            if row + count > len(wanted) or other_row + count > len(there):
                with pytest.raises(ValueError, match="rows from"):
                    Target(file).copy(other, [(row, other_row, count)])
            else:
                Target(file).copy(other, [(row, other_row, count)])
                wanted[row : row + count] = there[other_row : other_row + count]
            assert np.array_equal(wanted, open_rows(file).images)

    @pytest.mark.parametrize(("row", "size"), [(5, 18), (-1, 18), (0, 17), (0, 36)])
    def test_a_row_that_it_does_not_have(self, tmp_path: Path, row: int, size: int) -> None:
        file = tmp_path / "a"
        create(file, 5, (2, 3, 3), "uint8")
        before = file.read_bytes()
        with pytest.raises(ValueError, match="there are 5 rows of 18"):
            Target(file).put(row, bytes(size))
        assert before == file.read_bytes()


class TestDamage:
    """A file that is no shard of ours is one clear error."""

    def test_a_missing_file(self, tmp_path: Path):
        assert "it is missing" in damage(tmp_path / "a")

    @pytest.mark.parametrize("data", [b"\xff" * 8, b"\xff" * 100, struct.pack("<Q", 50) + b"{}"])
    def test_a_header_longer_than_the_file(self, tmp_path: Path, data: bytes):
        (tmp_path / "a").write_bytes(data)
        assert "its header is longer than the file" in damage(tmp_path / "a")

    @pytest.mark.parametrize("header", [b"", b"not json", b"{}", b"[]", b"\xff\xfe", b'{"images":{},"labels":{}}'])
    def test_a_header_of_something_else(self, tmp_path: Path, header: bytes):
        (tmp_path / "a").write_bytes(struct.pack("<Q", len(header)) + header)
        assert "its header is not that of a shard" in damage(tmp_path / "a")

    @pytest.mark.parametrize("length", [0, 3, 7])
    def test_a_file_too_short_for_a_header(self, tmp_path: Path, length: int):
        (tmp_path / "a").write_bytes(b"x" * length)
        assert "its header is not that of a shard" in damage(tmp_path / "a")

    def test_a_file_that_was_cut_off(self, tmp_path: Path):
        file = filled(tmp_path / "a", rows=100)
        file.write_bytes(file.read_bytes()[:-1])
        assert "its header is not that of a shard" in damage(file)

    def test_a_type_that_is_not_ours(self, tmp_path: Path):
        file = filled(tmp_path / "a")
        file.write_bytes(file.read_bytes().replace(b'"U8"', b'"Q4"'))
        assert "its header is not that of a shard" in damage(file)


class TestIndex:
    """The index says what the set holds; it is read as it was written."""

    def test_read_of_write_is_the_index(self, tmp_path: Path):
        assert index(tmp_path) == read_index(tmp_path)

    def test_rows_of_a_split_are_those_of_its_shards(self, tmp_path: Path):
        made = index(tmp_path)
        shard = Shard(file="b", rows=4, bytes=1, sha256="")
        more = made.model_copy(update={"splits": {"train": (*made.splits["train"], shard)}})
        assert (more.rows("train"), more.rows("test")) == (7, 0)

    def test_the_digest_is_of_the_content_not_of_the_name(self, tmp_path: Path):
        made = index(tmp_path)
        assert made.digest == made.model_copy(update={"dataset": "other"}).digest
        for change in ({"classes": ("a", "b")}, {"mean": (0.1, 0.2, 0.3)}, {"splits": {}}, {"contract": contract(5)}):
            assert made.model_copy(update=change).digest != made.digest

    def test_none_there_says_how_to_make_one(self, tmp_path: Path):
        with pytest.raises(UserError) as raised:
            read_index(tmp_path)
        expected = f"{tmp_path}/index.json: no shard set here; make one with: alacena transform"
        assert (str(raised.value), raised.value.code) == (expected, Exit.STALE)

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"{}", b'{"format": "x"}'])
    def test_a_damaged_one_is_one_clear_error(self, tmp_path: Path, text: bytes):
        (tmp_path / "index.json").write_bytes(text)
        with pytest.raises(UserError, match=r"index\.json: damaged: .*; run transform again after removing") as raised:
            read_index(tmp_path)
        assert raised.value.code == Exit.STALE
        assert "\n" not in str(raised.value)


class TestSound:
    """A shard is sound when every byte of it is what the index says."""

    def test_a_whole_set_is_sound(self, tmp_path: Path):
        assert broken(index(tmp_path), tmp_path) == []

    @pytest.mark.parametrize("place", [3, 100, -1])
    def test_a_flipped_bit_is_found_wherever_it_is(self, tmp_path: Path, place: int):
        made = index(tmp_path)
        file = tmp_path / "val-00000.safetensors"
        data = bytearray(file.read_bytes())
        data[place] ^= 4
        file.write_bytes(bytes(data))
        assert broken(made, tmp_path) == ["val-00000.safetensors"]

    def test_a_missing_and_a_short_file_are_found(self, tmp_path: Path):
        made = index(tmp_path)
        (tmp_path / "train-00000.safetensors").unlink()
        short = tmp_path / "val-00000.safetensors"
        short.write_bytes(short.read_bytes()[:-5])
        assert broken(made, tmp_path) == ["train-00000.safetensors", "val-00000.safetensors"]


def broken(made: Index, folder: Path) -> list[str]:
    shards = [shard for files in made.splits.values() for shard in files]
    return sorted(shard.file for shard in shards if not is_sound(folder, shard))
