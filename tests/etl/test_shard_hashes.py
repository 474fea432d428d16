import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from PIL import Image
from safetensors.numpy import save_file

from etl.audit import Audit, audit_shards, audit_table
from etl.shard_hashes import hashed
from manifests.errors import Exit, UserError
from manifests.table import read_table
from tests.makers import brought, encoded, folder, image, recipe, write

CLOTHING = Path(__file__).parents[3] / "shared" / "data" / "clothing"


def said(audit: Audit) -> dict[str, list[str]]:
    return {kind: table["said"].to_list() for kind, table in audit.findings.items()}


def photo(seed: int) -> Image.Image:
    return image(320, 240, seed=seed)


def recompressed(picture: Image.Image, side: int = 100) -> bytes:
    """A smaller copy, as somebody saves it."""
    smaller = picture.resize((side, side * picture.height // picture.width), Image.Resampling.BICUBIC)
    return encoded(smaller, "JPEG", quality=60)


class TestOurShards:
    """A copy in another split is found from the pixels alone."""

    def made(self, root: Path, files: dict[str, bytes], **stages: Any) -> Path:
        write(root / "s", files)
        asked = recipe(root / "s", **{"curate": {"dedupe": "off"}, "transform": {"size": 96}} | stages)
        return folder(root, brought(asked, root)["transform"])

    def files(self, copies: dict[str, bytes] | None = None) -> dict[str, bytes]:
        splits = {"train": 0, "val": 10, "test": 20}
        own = {f"{s}/{c}/{n}.png": encoded(photo(first + n + 50 * (c == "b"))) for s, first in splits.items()
               for c in "ab" for n in range(3)}  # fmt: skip
        return own | (copies or {})

    @pytest.mark.parametrize("asked", [{}, {"dtype": "bfloat16"}, {"dtype": "float32", "normalise": "dataset"}])
    def test_a_resized_and_recompressed_copy(self, tmp_path: Path, asked: dict[str, Any]):
        at = self.made(
            tmp_path,
            self.files({"train/a/copy.jpg": recompressed(photo(20)), "train/b/other.jpg": recompressed(photo(10), 80)}),
            transform={"size": 96} | asked,
        )
        audit = audit_shards(at)
        leaks = audit.findings["leak"].select("place", "place_other", "class", "class_other").rows()
        assert [(one.split(",")[0], other.split(",")[0], *rest) for one, other, *rest in leaks] == [
            ("test/a/0.png", "train/a/copy.jpg", "a", "a"),
            ("val/a/0.png", "train/b/other.jpg", "a", "b"),
        ]
        assert leaks[0][0].startswith("test/a/0.png, test-00000.safetensors row ")
        assert audit.findings["conflict"].height == 1
        assert set(audit.findings) == {"leak", "conflict"}
        assert audit.is_refused
        assert audit.compared.startswith(
            "the pixels of 20 rows (6 of test, 8 of train, 6 of val), each with all others"
        )

    def test_nothing_is_found_where_nothing_is(self, tmp_path: Path):
        audit = audit_shards(self.made(tmp_path, self.files()))
        assert (said(audit), audit.is_refused) == ({}, False)

    def test_augmented_views_are_compared_too(self, tmp_path: Path):
        at = self.made(tmp_path, self.files(), augment={"copies": 1, "policy": "brightness:0.2"})
        names = hashed(at, workers=0)["place"]
        assert len(names) == 18 + 6
        assert names.str.contains(", view 1, train-00000.safetensors row ").sum() == 6

    def test_any_number_of_workers_sees_the_same(self, tmp_path: Path):
        at = self.made(tmp_path, self.files())
        assert hashed(at, workers=0).equals(hashed(at, workers=2))

    def test_images_that_say_nothing(self, tmp_path: Path):
        grey = {
            f"{split}/a/grey.png": encoded(Image.new("RGB", (90, 90), (level,) * 3), compress_level=effort)
            for split, level, effort in (("train", 3, 1), ("val", 3, 0), ("test", 200, 1))
        }
        [leak] = said(audit_shards(self.made(tmp_path, self.files(grey))))["leak"]
        assert leak.startswith("val/a/grey.png, val-00000")
        assert ": identical to train/a/grey.png, train-00000" in leak


def stacked(seeds: range) -> npt.NDArray[np.uint8]:
    """(N, 48, 48, 3)."""
    return np.stack([np.asarray(photo(seed).resize((48, 48), Image.Resampling.BILINEAR)) for seed in seeds])


def copy_of(seed: int) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(recompressed(photo(seed)))) as opened:
        return np.asarray(opened.resize((48, 48), Image.Resampling.BILINEAR))


Change = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def elsewhere(root: Path, change: Change | None = None, *, labelled: bool = True) -> Path:
    """Train has a copy of the second image of test in its last row, under another label."""
    root.mkdir(parents=True, exist_ok=True)
    train, test = np.concatenate([stacked(range(5)), copy_of(11)[None]]), stacked(range(10, 14))
    for name, images in (("train-a", train), ("test", test)):
        tensors = {"images": np.ascontiguousarray(change(images) if change else images)}
        save_file(tensors | ({"labels": np.arange(len(images))} if labelled else {}), root / f"{name}.safetensors")
    return root


def imagenet(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    mean, deviation = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
    return ((images / 255 - mean) / deviation).astype(np.float32)


def first(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return images.transpose(0, 3, 1, 2)


CHANGES: list[Change] = [
    lambda images: images,
    first,
    lambda images: images.mean(3).astype(np.uint8),
    lambda images: images.mean(3, keepdims=True).astype(np.uint8),
    lambda images: images.astype(np.float32),
    lambda images: first(images / 255),
    lambda images: (images / 127.5 - 1).astype(np.float16),
    lambda images: first(imagenet(images)),
]


class TestShardsMadeElsewhere:
    """Files named after their split, in any usual layout and type."""

    @pytest.mark.parametrize("change", CHANGES)
    def test_the_copy_is_found(self, tmp_path: Path, change: Change):
        audit = audit_shards(elsewhere(tmp_path / "x", change))
        leaks = audit.findings["leak"].select("place", "class", "place_other", "class_other").rows()
        assert leaks == [("test.safetensors row 1", "1", "train-a.safetensors row 5", "5")]
        assert audit.findings["conflict"].height == 1

    def test_without_labels_there_are_no_classes(self, tmp_path: Path):
        audit = audit_shards(elsewhere(tmp_path / "x", labelled=False))
        [leak] = said(audit)["leak"]
        assert leak.startswith("test.safetensors row 1 (test): ")
        assert leak.endswith(" of 512 bits from train-a.safetensors row 5 (train)")
        assert set(audit.findings) == {"leak"}

    def test_folders_may_be_called_after_the_split(self, tmp_path: Path):
        at = elsewhere(tmp_path / "x")
        for split, name in (("training", "train-a"), ("valid", "test")):
            (at / split).mkdir()
            (at / f"{name}.safetensors").rename(at / split / "0.safetensors")
        [leak] = said(audit_shards(at))["leak"]
        assert leak.startswith("valid/0.safetensors row 1 (val, 1): ")

    def test_one_split_cannot_be_compared(self, tmp_path: Path):
        at = elsewhere(tmp_path / "x")
        (at / "test.safetensors").rename(at / "trainer.safetensors")
        with pytest.raises(UserError) as raised:
            audit_shards(at)
        assert str(raised.value) == (
            f"{at}: files of train only; expected an index.json, or files named train*.safetensors and val* or test*."
        )
        assert raised.value.code == Exit.USAGE

    @pytest.mark.parametrize(
        ("tensors", "said_"),
        [
            ({"pixels": np.zeros((2, 8, 8, 3), np.uint8)}, "not safetensors with a tensor `images`: 'images'."),
            ({"images": np.zeros((2, 8), np.uint8)}, "`images` is U8 (2, 8); expected "),
            ({"images": np.zeros((2, 8, 8, 3), np.int64)}, "`images` is I64 (2, 8, 8, 3); expected "),
            (None, "not safetensors with a tensor `images`: "),
        ],
    )
    def test_what_holds_no_images_is_said(self, tmp_path: Path, tensors: Any, said_: str):
        at = elsewhere(tmp_path / "x")
        if tensors is None:
            (at / "test.safetensors").write_bytes(b"\xff" * 100)
        else:
            save_file(tensors, at / "test.safetensors")
        with pytest.raises(UserError) as raised:
            audit_shards(at)
        assert str(raised.value).startswith(f"{at}/test.safetensors: {said_}")

    def test_every_row_has_its_number(self, tmp_path: Path):
        at = elsewhere(tmp_path / "x")
        noise = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (75, 12, 12, 3)).astype(np.uint8)
        save_file({"images": noise, "labels": np.arange(75)}, at / "val.safetensors")
        rows_ = hashed(at, workers=0).filter(pl.col("split") == "val").select("place", "class", "sha256").rows()
        assert rows_ == [
            (f"val.safetensors row {n}", str(n), hashlib.sha256(noise[n].tobytes()).hexdigest()) for n in range(75)
        ]

    def test_an_empty_file_has_no_rows(self, tmp_path: Path):
        at = elsewhere(tmp_path / "x")
        save_file({"images": np.zeros((0, 8, 8, 3), np.uint8)}, at / "val.safetensors")
        assert hashed(at, workers=0)["split"].to_list() == ["test"] * 4 + ["train"] * 6


@pytest.mark.skipif(not CLOTHING.is_dir(), reason="the photographs of shared/data are not here")
class TestPhotographs:
    """Copies of real photographs, planted in another split."""

    def test_every_planted_copy_is_found_in_shards_of_96_pixels_and_nothing_else(self, tmp_path: Path):
        test = sorted((CLOTHING / "test").glob("*/*.jpg"))[::12]
        train = sorted((CLOTHING / "train").glob("*/*.jpg"))[::25]
        assert len(test) == 31
        files = {
            f"{file.parent.parent.name}/{file.parent.name}/{file.name}": file.read_bytes() for file in [*test, *train]
        }
        for number, file in enumerate(test):
            with Image.open(file) as opened:
                side, quality = (300, 200, 128, 96)[number % 4], (75, 50, 30)[number % 3]
                smaller = opened.resize((side, side * opened.height // opened.width), Image.Resampling.LANCZOS)
            files[f"train/{file.parent.name}/copy-{number:02}.jpg"] = encoded(smaller, "JPEG", quality=quality)
        write(tmp_path / "s", files)
        asked = recipe(tmp_path / "s", curate={"dedupe": "off"}, transform={"size": 96})
        done = brought(asked, tmp_path, workers=2)
        table = audit_table(read_table(folder(tmp_path, done["curate"]) / "images.parquet"))
        shards = audit_shards(folder(tmp_path, done["transform"]))
        for audit in (table, shards):
            leaks = audit.findings["leak"].filter(pl.col("split") == "test")
            assert leaks["place_other"].str.contains("copy-").to_list() == [True] * 31
            assert "alike" not in audit.findings
