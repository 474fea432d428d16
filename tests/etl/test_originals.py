from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from etl import images
from etl.originals import originals
from manifests.errors import Exit, UserError
from manifests.shards import read_index
from manifests.store import DatasetStore
from tests.makers import array, brought, class_folders, encoded, folder, image, jpeg_bytes, quarters, recipe, write


def shards(root: Path, source: Path, **transform: object) -> Path:
    asked = recipe(source, curate={"split": "0.5,0.25,0.25"}, transform=transform)
    return folder(root, brought(asked, root)["transform"])


def store(root: Path) -> DatasetStore:
    return DatasetStore(root / "made")


class TestOriginals:
    """The source pictures of a shard set: whole, by the contract, and by the contract without a scaled decode."""

    @pytest.mark.parametrize("channels", ["rgb", "gray"])
    def test_each_is_the_picture_and_its_pixels(self, tmp_path: Path, channels: str):
        source = class_folders(tmp_path / "source", {"a": 8, "b": 8})
        place = shards(tmp_path, source, channels=channels)
        contract = read_index(place).contract
        seen = list(originals(store(tmp_path), place, 16))
        assert len(seen) == 16
        for one in seen:
            data = (source / one.name).read_bytes()
            with Image.open(source / one.name) as taken:
                assert one.whole.tolist() == array(taken.convert("RGB")).tolist()
            assert one.levels.tolist() == images.pixels(data, contract).tolist()
            assert (
                one.stored.tolist() == one.levels.tolist() == one.in_full.tolist()
            )  # of a PNG, all pixels are decoded

    def test_the_whole_picture_is_upright_and_over_the_background(self, tmp_path: Path):
        exif = image().getexif()
        exif[0x0112] = 6
        clear = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
        clear.paste(quarters(20, 20), (20, 0))
        source = class_folders(tmp_path / "source", {"a": 6, "b": 6})
        write(
            source,
            {"a/turned.png": encoded(quarters().rotate(90, expand=True), exif=exif), "b/clear.png": encoded(clear)},
        )
        seen = {one.name: one for one in originals(store(tmp_path), shards(tmp_path, source), 14)}
        assert seen["a/turned.png"].whole.tolist() == array(quarters()).tolist()
        assert seen["b/clear.png"].whole[:, :20].min() == 255

    def test_of_a_large_jpeg_the_scaled_decode_and_the_full_one_differ_and_are_both_given(self, tmp_path: Path):
        source = write(
            tmp_path / "source",
            {f"{c}/{n}.jpg": jpeg_bytes(160, 120, seed=9 * n + ord(c)) for c in "ab" for n in range(8)},
        )
        place = shards(tmp_path, source)
        contract = read_index(place).contract
        seen = list(originals(store(tmp_path), place, 4))
        for one in seen:
            full = images.resized(Image.fromarray(np.ascontiguousarray(one.whole)), contract)
            assert one.whole.shape == (120, 160, 3)
            assert one.in_full.tolist() == array(full).tolist()
        assert any(not np.array_equal(one.in_full, one.stored) for one in seen)

    def test_the_test_split_comes_first(self, tmp_path: Path):
        place = shards(tmp_path, class_folders(tmp_path / "source", {"a": 20, "b": 20}))
        rows = pl.read_parquet(place / "rows.parquet")
        tested = rows.filter(pl.col("split") == "test")["path"].to_list()
        assert tested
        count = len(tested) + 1
        first = [one.name for one in originals(store(tmp_path), place, count)]
        assert first[:-1] == tested
        assert first[-1] in rows.filter(pl.col("split") == "val")["path"]


class TestRefused:
    """Pictures that are not what the shards were made of are refused with what to do."""

    def test_a_source_that_is_away_is_found_out_at_once(self, tmp_path: Path):
        source = class_folders(tmp_path / "source", {"a": 8, "b": 8})
        place = shards(tmp_path, source)
        source.rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=r"are away .*leave --verify out") as caught:
            originals(store(tmp_path), place, 4)
        assert caught.value.code == Exit.STALE

    def test_a_picture_that_changed_is_named(self, tmp_path: Path):
        source = class_folders(tmp_path / "source", {"a": 8, "b": 8})
        place = shards(tmp_path, source)
        for file in source.rglob("*.png"):
            file.write_bytes(encoded(image(seed=99)))
        with pytest.raises(UserError, match=r"\.png: changed since extract; .*leave --verify out"):
            list(originals(store(tmp_path), place, 4))
