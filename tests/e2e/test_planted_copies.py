"""Three hundred copies of a hundred real photographs, over classes and splits: all that can be found is found."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from PIL import Image

from benchmarks.changes import CHANGES
from etl.curate import curate, funnel
from manifests.digests import rank
from manifests.recipe import Curate
from manifests.store import Stage
from tests.makers import brought, folder, recipe, write

PHOTOGRAPHS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clothing"
KINDS = [
    "half size", "JPEG quality 30", "gamma 1.4", "caption bar 6 %", "PNG", "WebP quality 80", "EXIF-rotated",
    "128 px thumbnail", "brightness - 20 %",
]  # fmt: skip
SPLITS = ("train", "validation", "test")
SUFFIX = {"PNG": "png", "WebP quality 80": "webp"}


class Planted(NamedTuple):
    """The curated table, and which original each file shows."""

    table: pl.DataFrame
    stage: Stage
    of: dict[str, str]  # path → path of the original
    conflicting: set[str]  # originals with a copy under another class


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"the photographs are not here: {PHOTOGRAPHS}")
    root = tmp_path_factory.mktemp("planted")
    files = sorted(PHOTOGRAPHS.rglob("*.jpg"), key=lambda file: rank(1, file.name))[:100]
    classes = sorted({file.parent.name for file in files})
    of: dict[str, str] = {}
    conflicting: set[str] = set()
    for number, file in enumerate(files):
        original = f"{SPLITS[number % 3]}/{file.parent.name}/{file.name}"
        write(root / "source", {original: file.read_bytes()})
        of[original] = original
        for copy in range(3):
            kind = KINDS[(number + 4 * copy) % len(KINDS)]
            wrong = copy == 2 and number % 10 == 0
            name = classes[(classes.index(file.parent.name) + 1) % len(classes)] if wrong else file.parent.name
            path = f"{SPLITS[(number + copy) % 3]}/{name}/{number}-{copy}.{SUFFIX.get(kind, 'jpg')}"
            with Image.open(file) as picture:
                write(root / "source", {path: CHANGES[kind](picture.convert("RGB"))})
            of[path] = original
            if wrong:
                conflicting.add(original)
    stage = brought(recipe(root / "source", curate={"split": "given"}), root, until="curate")["curate"]
    return Planted(pl.read_parquet(folder(root, stage) / "images.parquet"), stage, of, conflicting)


def bits(table: pl.DataFrame, one: str, other: str) -> int:
    """Of 512, between two files."""
    words = [
        int(phash + dhash, 16)
        for path in (one, other)
        for phash, dhash in table.filter(pl.col("path") == path).select("phash256", "dhash256").rows()
    ]
    return (words[0] ^ words[1]).bit_count()


def groups(planted: Planted) -> dict[str, list[str]]:
    """Original → all files that show it and can be found: within 64 bits of the original."""
    found: dict[str, list[str]] = {}
    for path, original in planted.of.items():
        if bits(planted.table, path, original) <= 64:
            found.setdefault(original, []).append(path)
    return found


class TestPlantedCopies:
    """Every copy that can be reached is found, the right one is kept, nothing straddles a split, and sums agree."""

    def test_nearly_all_of_the_three_hundred_can_be_reached(self, planted: Planted):
        assert len(planted.of) == planted.table.height == 400
        assert sum(len(paths) - 1 for paths in groups(planted).values()) >= 298

    def test_one_of_each_photograph_is_kept_and_the_right_one(self, planted: Planted):
        state = {row["path"]: row for row in planted.table.iter_rows(named=True)}
        first = {"test": 0, "val": 1, "train": 2}

        def place(path: str) -> tuple[object, ...]:
            row = state[path]
            area = row["width"] * row["height"]
            return first[row["source_split"]], -area, row["format"] != "PNG", -row["bytes"] / area, path

        for original, paths in groups(planted).items():
            stays = [path for path in paths if state[path]["rejected"] is None]
            if original in planted.conflicting:
                assert stays == []
            else:
                assert stays == [min(paths, key=place)]

    def test_every_conflict_is_reported_and_no_other(self, planted: Planted):
        conflicts = planted.table.filter(pl.col("rejected").str.starts_with("label conflict: "))
        assert {planted.of[path] for path in conflicts["path"]} == planted.conflicting
        assert len(planted.stage.counts["conflicts"]) == conflicts.height == 4 * len(planted.conflicting)

    def test_no_cluster_straddles_a_split_and_none_joins_two_photographs(self, planted: Planted):
        kept = planted.table.filter(pl.col("rejected").is_null())
        assert kept.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
        shown = planted.table.with_columns(shows=pl.col("path").replace_strict(planted.of))
        assert shown.group_by("cluster").agg(pl.col("shows").n_unique())["shows"].max() == 1

    def test_sums_agree(self, planted: Planted):
        counts = planted.stage.counts
        assert counts["kept"] + sum(counts["rejected"].values()) == counts["found"] == 400
        assert sum(row[split] for row in counts["per_class"] for split in ("train", "val", "test")) == counts["kept"]

    def test_the_order_of_the_files_says_nothing(self, planted: Planted):
        extracted = planted.table.drop(
            "class", "decided", "cluster", "bits", "group", "rejected", "split", "like", "like_bits"
        )
        shuffled = extracted[np.random.default_rng(0).permutation(extracted.height).tolist()]
        again = curate(shuffled, Curate(split="given"))
        assert again.sort("path").equals(planted.table.select(again.columns).sort("path"))
        assert funnel(again, planted.stage.counts["classes"])["kept"] == planted.stage.counts["kept"]

    def test_a_copy_that_was_stored_sideways_has_the_size_it_is_seen_at(self, planted: Planted):
        turned = planted.table.filter(pl.col("orientation") == 6)
        assert turned.height > 20
        for path, width, height in turned.select("path", "width", "height").rows():
            original = planted.table.filter(pl.col("path") == planted.of[path]).select("width", "height").row(0)
            assert original == (width, height)
