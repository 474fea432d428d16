import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import safe_open

from etl import images
from etl.augmentations import augmented
from etl.filling import stored
from etl.keys import decoder
from etl.transform import pixel_contract
from manifests.errors import Exit, UserError
from manifests.pixels import NAMED
from manifests.recipe import Recipe, Transform
from manifests.shards import Index, is_sound, open_rows, read_index
from manifests.store import Stage
from tests.makers import brought, class_folders, encoded, folder, image, jpeg_bytes, png_bytes, recipe, write

CLASSES = {"bird": 6, "cat": 9, "dog": 5}


def source(root: Path) -> Path:
    """Three classes of PNGs, and a few JPEGs large enough for a scaled decode."""
    place = class_folders(root / "source", CLASSES)
    return write(place, {f"cat/{n}.jpg": jpeg_bytes(200 + n, 150, seed=900 + n) for n in range(4)})


def shards(asked: Recipe, root: Path, *, workers: int = 0) -> tuple[Stage, Path, Index]:
    stage = brought(asked, root, workers=workers)["transform"]
    return stage, folder(root, stage), read_index(folder(root, stage))


def read(place: Path) -> dict[tuple[str, int], tuple[npt.NDArray[Any], int]]:
    """(sha256, view) → its pixels and label, as the shards hold them."""
    rows = pl.read_parquet(place / "rows.parquet")
    opened = {name: open_rows(place / name) for name in rows["shard"].unique()}
    return {
        (r["sha256"], r["view"]): (
            np.array(opened[r["shard"]].images[r["row"]]),
            int(opened[r["shard"]].labels[r["row"]]),
        )
        for r in rows.iter_rows(named=True)
    }


class TestPixels:
    """The shards hold what `images.pixels` gives, and the labels of the classes in order."""

    @pytest.mark.parametrize(
        "asked",
        [
            {"size": 16},
            {"size": "12x20", "resize": "pad", "interpolation": "lanczos"},
            {"size": 16, "resize": "squash", "channels": "gray"},
        ],
    )
    def test_rows_are_the_pixels_of_their_image(self, tmp_path: Path, asked: dict[str, Any]):
        place = source(tmp_path)
        _, at, index = shards(recipe(place, transform=asked), tmp_path)
        assert index.classes == ("bird", "cat", "dog")
        found = read(at)
        files = [file for file in place.rglob("*.*") if file.is_file()]
        assert len(found) == len(files) == 24
        for file in files:
            data = file.read_bytes()
            values, label = found[hashlib.sha256(data).hexdigest(), 0]
            assert index.classes[label] == file.parent.name
            assert values.tolist() == images.pixels(data, index.contract).tolist()

    def test_views_are_the_augmented_picture(self, tmp_path: Path):
        place = class_folders(tmp_path / "source", {"a": 3, "b": 3})
        asked = recipe(place, augment={"copies": 2, "policy": "strong"}, curate={"split": "0.7,0.3"})
        stage, at, index = shards(asked, tmp_path)
        views = pl.read_parquet(folder(tmp_path, brought(asked, tmp_path)["augment"]) / "views.parquet")
        found = read(at)
        assert len(found) == views.height == stage.counts["rows"]["train"] + stage.counts["rows"]["val"]
        for row in views.iter_rows(named=True):
            picture = images.picture((place / row["path"]).read_bytes(), index.contract)
            expected = images.array(augmented(picture, json.loads(row["parameters"])), index.contract)
            assert found[row["sha256"], row["view"]][0].tolist() == expected.tolist()

    def test_rows_are_in_the_order_of_image_and_view(self, tmp_path: Path):
        place = class_folders(tmp_path / "source", {"a": 4, "b": 4})
        _, at, _ = shards(recipe(place, augment={"copies": 1}), tmp_path)
        rows = pl.read_parquet(at / "rows.parquet")
        assert (
            rows.select("split", "sha256", "view").rows()
            == rows.select("split", "sha256", "view").sort(pl.all()).rows()
        )
        assert rows.group_by("shard").agg((pl.col("row") == pl.int_range(pl.len())).all())["row"].all()

    def test_the_readers_of_safetensors_read_them(self, tmp_path: Path):
        _, at, index = shards(recipe(source(tmp_path)), tmp_path)
        for split, files in index.splits.items():
            for shard in files:
                ours = open_rows(at / shard.file)
                with safe_open(at / shard.file, "numpy") as theirs:
                    assert sorted(theirs.keys()) == ["images", "labels"]
                    assert np.array_equal(theirs.get_tensor("images"), ours.images)
                    assert np.array_equal(theirs.get_tensor("labels"), ours.labels)
                assert ours.images.shape == (shard.rows, 16, 16, 3), split


class TestSameBytes:
    """The bytes depend on neither the number of workers nor the order of the file system."""

    def test_any_number_of_workers(self, tmp_path: Path):
        asked = recipe(source(tmp_path), augment={"copies": 2, "policy": "strong"})
        done = [shards(asked, tmp_path / str(workers), workers=workers) for workers in (0, 1, 2)]
        assert len({stage.digest for stage, _, _ in done}) == 1
        assert len({str(index.splits) for _, _, index in done}) == 1

    def test_files_made_in_another_order(self, tmp_path: Path):
        one = source(tmp_path)
        files = sorted(file for file in one.rglob("*") if file.is_file())
        random.Random(5).shuffle(files)
        write(tmp_path / "other", {file.relative_to(one).as_posix(): file.read_bytes() for file in files})
        stages = [
            shards(recipe(place), tmp_path / f"store {n}")[0] for n, place in enumerate((one, tmp_path / "other"))
        ]
        assert stages[0].digest == stages[1].digest
        assert stages[0].files["rows.parquet"] == stages[1].files["rows.parquet"]

    def test_several_shards_hold_what_one_holds(self, tmp_path: Path):
        place = source(tmp_path)
        asked = {"size": 200}  # 120,000 bytes a row: eight to a megabyte
        one, many = (recipe(place, transform={**asked, "shard_mb": mb}) for mb in (256, 1))
        _, whole, index = shards(one, tmp_path / "one")
        _, parts, indices = shards(many, tmp_path / "many")
        assert [[s.rows for s in files] for files in index.splits.values()] == [[19], [5]]
        assert [[s.rows for s in files] for files in indices.splits.values()] == [[3, 1, 8, 7], [5]]
        assert all(shard.bytes <= 1_010_000 for files in indices.splits.values() for shard in files)
        one_by_one, together = read(parts), read(whole)
        assert one_by_one.keys() == together.keys()
        assert all(np.array_equal(one_by_one[key][0], together[key][0]) for key in together)


class TestCopied:
    """Rows that an earlier shard set holds are copied, not decoded, and are the same."""

    def test_an_added_image_decodes_one(self, tmp_path: Path):
        place = source(tmp_path)
        first, _, _ = shards(recipe(place), tmp_path)
        write(place, {"dog/new.png": png_bytes(seed=5000)})
        second, _, _ = shards(recipe(place), tmp_path)
        fresh, _, _ = shards(recipe(place), tmp_path / "fresh")
        assert [(s.counts["decoded"], s.counts["copied"]) for s in (first, second, fresh)] == [
            (24, 0),
            (1, 24),
            (25, 0),
        ]
        assert second.digest == fresh.digest

    def test_more_views_decode_only_train(self, tmp_path: Path):
        place = source(tmp_path)
        shards(recipe(place, augment={"copies": 1}), tmp_path)
        asked = recipe(place, augment={"copies": 2})
        more, _, _ = shards(asked, tmp_path)
        fresh, _, _ = shards(asked, tmp_path / "fresh")
        train = more.counts["rows"]["train"] // 3
        assert (more.counts["decoded"], more.counts["copied"]) == (train, 24 + train)
        assert more.digest == fresh.digest

    def test_views_of_other_parameters_are_made_anew(self, tmp_path: Path):
        place = source(tmp_path)
        shards(recipe(place, augment={"copies": 1}), tmp_path)
        asked = recipe(place, augment={"copies": 1, "seed": 1})
        other, _, _ = shards(asked, tmp_path)
        fresh, _, _ = shards(asked, tmp_path / "fresh")
        train = other.counts["rows"]["train"] // 2
        assert (other.counts["decoded"], other.counts["copied"]) == (train, 24)
        assert other.digest == fresh.digest

    def test_fewer_views_decode_none(self, tmp_path: Path):
        place = source(tmp_path)
        shards(recipe(place, augment={"copies": 2}), tmp_path)
        less, _, _ = shards(recipe(place, augment={"copies": 1}), tmp_path)
        fresh, _, _ = shards(recipe(place, augment={"copies": 1}), tmp_path / "fresh")
        assert less.counts["decoded"] == 0
        assert less.digest == fresh.digest

    @pytest.mark.parametrize(
        "change", [{"size": 17}, {"resize": "pad"}, {"interpolation": "box"}, {"channels": "gray"}]
    )
    def test_another_contract_copies_none(self, tmp_path: Path, change: dict[str, Any]):
        place = class_folders(tmp_path / "source", {"a": 3, "b": 3})
        shards(recipe(place), tmp_path)
        assert shards(recipe(place, transform=change), tmp_path)[0].counts["copied"] == 0

    @pytest.mark.parametrize("harm", ["gone", "flipped"])
    def test_rows_of_a_damaged_shard_are_decoded_again(self, tmp_path: Path, harm: str):
        place = class_folders(tmp_path / "source", {"a": 3, "b": 3})
        sound, at, _ = shards(recipe(place), tmp_path)
        file = at / "train-00000.safetensors"
        data = bytearray(file.read_bytes())
        file.unlink()
        if harm == "flipped":
            data[-1] ^= 1
            file.write_bytes(bytes(data))
        again, _, _ = shards(recipe(place, augment={"copies": 1}), tmp_path)
        assert again.counts["copied"] == sound.counts["rows"]["val"]
        assert again.counts["decoded"] == sound.counts["rows"]["train"]


class TestChanged:
    """An image that is not what extract saw is refused by name."""

    def test_bytes_that_changed_behind_size_and_time(self, tmp_path: Path):
        place = class_folders(tmp_path / "source", {"a": 3, "b": 3})
        brought(recipe(place), tmp_path, until="augment")
        file = place / "b/001.png"
        data, status = bytearray(file.read_bytes()), file.stat()
        data[-20] ^= 1
        file.write_bytes(bytes(data))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(UserError) as raised:
            shards(recipe(place), tmp_path)
        assert str(raised.value).startswith(
            "transform: 1 images cannot be read as extract found them: b/001.png (changed "
        )
        assert raised.value.code == Exit.STALE
        assert list((tmp_path / "made/transform").iterdir()) == []

    def test_an_empty_train_split_is_refused(self, tmp_path: Path):
        place = write(tmp_path / "source", {f"test/a/{n}.png": png_bytes(seed=n) for n in range(3)})
        with pytest.raises(UserError, match="the train split is empty"):
            shards(recipe(place, extract={"layout": "split-folders"}), tmp_path)


class TestStatistics:
    """Mean and deviation of the train split are numpy's."""

    @pytest.mark.parametrize("channels", ["rgb", "gray"])
    def test_they_are_numpys(self, tmp_path: Path, channels: str):
        _, at, index = shards(
            recipe(source(tmp_path), augment={"copies": 1}, transform={"channels": channels}), tmp_path
        )
        train = np.concatenate([open_rows(at / shard.file).images for shard in index.splits["train"]]) / 255
        assert index.mean == pytest.approx(train.mean((0, 1, 2)).tolist(), rel=1e-12)
        assert index.deviation == pytest.approx(train.std((0, 1, 2)).tolist(), rel=1e-9)

    def test_they_are_the_same_when_rows_were_copied(self, tmp_path: Path):
        place = source(tmp_path)
        shards(recipe(place, augment={"copies": 1}), tmp_path)
        one, other = (shards(recipe(place), root)[2] for root in (tmp_path, tmp_path / "fresh"))
        assert (one.mean, one.deviation) == (other.mean, other.deviation)


class TestFloats:
    """Float shards are the uint8 ones, normalised as stated, to the rounding of their type."""

    @pytest.mark.parametrize("normalise", ["imagenet", "half", "none", "dataset"])
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_values(self, tmp_path: Path, dtype: str, normalise: str):
        place = class_folders(tmp_path / "source", {"a": 3, "b": 3})
        _, plain, index = shards(recipe(place), tmp_path)
        _, at, floats = shards(recipe(place, transform={"dtype": dtype, "normalise": normalise}), tmp_path)
        mean, deviation = (index.mean, index.deviation) if normalise == "dataset" else NAMED[normalise]
        assert (floats.contract.mean, floats.contract.deviation) == (mean, deviation)
        assert (floats.mean, floats.deviation) == (index.mean, index.deviation)
        bytes_, values = read(plain), read(at)
        for key, (expected, label) in bytes_.items():
            centred = expected.astype(np.float32) / 255 - np.array(mean, np.float32)
            exact = torch.from_numpy(centred / np.array(deviation, np.float32))
            cast = exact.to(getattr(torch, dtype))
            got = torch.from_numpy(values[key][0])
            got = got.view(torch.bfloat16) if dtype == "bfloat16" else got
            assert torch.equal(got, cast)
            assert values[key][1] == label

    def test_unstated_is_imagenet_and_the_staged_bytes_are_gone(self, tmp_path: Path):
        place = class_folders(tmp_path / "source", {"a": 3, "b": 3})
        stage, at, index = shards(recipe(place, transform={"dtype": "float16"}), tmp_path)
        assert index.contract.normalise == "imagenet"
        names = ["index.json", "rows.parquet", "train-00000.safetensors", "val-00000.safetensors"]
        assert sorted(stage.files) == names
        assert sorted(file.name for file in at.iterdir()) == sorted([*names, "stage.json"])

    @given(arrays.arrays(np.uint32, 64, elements=st.integers(0, 2**32 - 1)))
    @example(np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x3F808001, 0x3F807FFF, 0, 1], np.uint32))  # ties and beside
    def test_bfloat16_bits_are_torchs_rounding(self, bits: npt.NDArray[np.uint32]):
        values = bits.view(np.float32)
        values = values[np.isfinite(values)]
        expected = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.uint16).numpy()
        assert np.array_equal(stored(values, "bfloat16"), expected)


class TestContract:
    """The contract says all that decides the pixels."""

    def test_it_is_that_of_the_settings(self):
        contract = pixel_contract(Transform.model_validate({"size": "4x6", "channels": "gray"}), "#010203")
        assert contract.model_dump() == {
            "height": 4, "width": 6, "resize": "crop", "interpolation": "bilinear", "channels": "gray",
            "dtype": "uint8", "normalise": None, "mean": None, "deviation": None, "background": "#010203",
            "decoder": decoder(),
        }  # fmt: skip

    def test_the_background_is_that_of_extract(self, tmp_path: Path):
        place = write(tmp_path / "s", {f"{c}/{n}.png": encoded(image(30, 20, seed=n + 9 * i))
                                       for i, c in enumerate("ab") for n in range(3)})  # fmt: skip
        _, _, index = shards(recipe(place, extract={"background": "#123456"}, transform={"resize": "pad"}), tmp_path)
        assert index.contract.background == "#123456"


class TestVerify:
    """Every byte of a shard set is checked against its index."""

    def test_a_whole_set_has_nothing_wrong(self, tmp_path: Path):
        _, at, _ = shards(recipe(source(tmp_path)), tmp_path)
        files = [shard for files in read_index(at).splits.values() for shard in files]
        assert [is_sound(at, shard) for shard in files] == [True] * len(files)
