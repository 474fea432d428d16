from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from PIL import Image

from etl import pipeline
from etl.demo import CLASSES, Copy, Finding, Planted, findings, picture, plant
from etl.steps import Site
from manifests.digests import file_digest
from manifests.recipe import Recipe, read_toml
from manifests.store import DatasetStore, Stage
from manifests.table import kept, read_table

pytestmark = pytest.mark.xdist_group("demo")  # drawn and curated once


class Found(NamedTuple):
    """The planted folder, and what the demo's own recipe made of it."""

    planted: Planted
    table: pl.DataFrame
    extracted: Stage
    curated: Stage

    def findings(self, planted: Planted | None = None, table: pl.DataFrame | None = None) -> list[Finding]:
        return findings(planted or self.planted, self.table if table is None else table, self.extracted.counts)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    root = tmp_path_factory.mktemp("demo")
    planted = plant(root / "source")
    values = read_toml(Path("manifests/recipes/demo.toml"))
    values["extract"]["source"] = str(root / "source")
    dataset = DatasetStore(root / "store" / "demo")
    done = pipeline.bring(Recipe.model_validate(values), Site(dataset, workers=1), until="augment")
    table = read_table(dataset.folder("curate", done["curate"].key) / "images.parquet")
    return Found(planted, table, done["extract"], done["curate"])


class TestPlant:
    """What is said to be planted is there, and the same seed gives the same bytes."""

    def test_every_file_is_accounted_for(self, found: Found):
        planted = found.planted
        there = {file.relative_to(planted.folder).as_posix() for file in planted.folder.rglob("*") if file.is_file()}
        named = {copy.path for copy in (*planted.exact, *planted.near, planted.conflict)}
        named |= {planted.sideways[0], *planted.unusable, *planted.system}
        drawn = {path for path in there if path not in named}
        assert named < there
        assert len(drawn) == sum(planted.drawn.values())
        assert planted.files == len(there) - len(planted.system)

    def test_the_pictures_differ_in_size_and_aspect(self, found: Found):
        sizes = found.table.filter(pl.col("format") == "JPEG").select("width", "height")
        assert sizes.unique().height > 100
        assert sizes.select((pl.col("width") > pl.col("height")).any(), (pl.col("height") > pl.col("width")).any()).row(
            0
        ) == (True, True)

    def test_exact_copies_are_the_same_bytes_and_near_ones_are_not(self, found: Found):
        folder = found.planted.folder
        same = {
            copy: file_digest(folder / copy.path) == file_digest(folder / copy.of) for copy in _copies(found.planted)
        }
        assert [same[copy] for copy in found.planted.exact] == [True] * 4
        assert [same[copy] for copy in found.planted.near] == [False] * 4
        assert same[found.planted.conflict]

    def test_near_copies_are_a_jpeg_a_png_a_webp_and_one_stored_sideways(self, found: Found):
        rows = found.table.select("path", "format", "orientation").rows_by_key("path", unique=True)
        assert [rows[copy.path] for copy in found.planted.near] == [("JPEG", 1), ("PNG", 1), ("WEBP", 1), ("JPEG", 6)]

    def test_the_sideways_photo_has_its_pixels_lying(self, found: Found):
        path, width, height = found.planted.sideways
        with Image.open(found.planted.folder / path) as image:
            assert image.size == (height, width)
        assert width != height

    def test_the_same_seed_gives_the_same_bytes(self, found: Found, tmp_path: Path):
        again = plant(tmp_path)
        assert replace(again, folder=found.planted.folder) == found.planted
        for file in sorted(file for file in tmp_path.rglob("*") if file.is_file()):
            assert file.read_bytes() == (found.planted.folder / file.relative_to(tmp_path)).read_bytes()

    def test_another_seed_or_number_gives_another_picture(self):
        first = picture("cup", 0, 0)
        assert first.size != picture("cup", 1, 0).size or first.tobytes() != picture("cup", 1, 0).tobytes()
        assert first.tobytes() == picture("cup", 0, 0).tobytes()

    def test_mean_colour_does_not_tell_the_classes(self):
        """The nearest class by mean colour is right hardly more often than one in six by chance."""
        means = {name: [_mean(picture(name, 0, number)) for number in range(40)] for name in CLASSES}
        centres = {name: np.mean(values[:20], axis=0) for name, values in means.items()}
        right = [
            min(centres, key=lambda other: float(np.linalg.norm(value - centres[other]))) == name
            for name, values in means.items()
            for value in values[20:]
        ]
        assert np.mean(right) < 0.35


def _copies(planted: Planted) -> tuple[Copy, ...]:
    return (*planted.exact, *planted.near, planted.conflict)


def _mean(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(image, np.float64).mean(axis=(0, 1))


class TestFindings:
    """Everything planted is found, nothing else is taken for a fault, and what is not found is said."""

    def test_all_is_found_and_nothing_else(self, found: Found):
        assert [finding for finding in found.findings() if not finding.agrees] == []
        assert len(found.findings()) == 9

    def test_the_reasons_are_those_of_the_faults(self, found: Found):
        assert found.curated.counts["rejected"] == {
            "duplicate": 4, "label conflict": 2, "near duplicate": 4, "over the cap": 50, "unusable": 4,
        }  # fmt: skip

    def test_no_drawn_picture_is_near_another(self, found: Found):
        """The two that are most alike differ in over 100 bits; the radius is 64."""
        drawn = found.table.filter(~pl.col("path").is_in([copy.path for copy in _copies(found.planted)]))
        hashes = drawn.filter(pl.col("problem").is_null()).select("phash256", "dhash256").rows()
        bits = np.array([[byte for text in row for byte in bytes.fromhex(text)] for row in hashes], np.uint8)
        closest = min(
            int(np.bitwise_count(bits[i] ^ bits[i + 1 :]).sum(axis=1, dtype=np.int64).min())
            for i in range(len(bits) - 1)
        )
        assert closest > 100

    def test_every_class_stands_in_every_split(self, found: Found):
        assert found.curated.counts["classes"] == sorted(CLASSES)
        assert all(min(row["train"], row["val"], row["test"]) >= 5 for row in found.curated.counts["per_class"])
        assert kept(found.table).height + found.table["rejected"].count() == found.planted.files

    @pytest.mark.parametrize("fault", ["exact", "near", "conflict", "unusable", "sideways", "large"])
    def test_a_fault_that_was_not_found_is_said(self, found: Found, fault: str):
        """The table is altered as if the stage had failed: one line at the least no longer agrees."""
        wrong = [finding for finding in found.findings(table=SPOILED[fault](found)) if not finding.agrees]
        assert wrong
        assert fault == "large" or _path(found.planted, fault) in found.table["path"]

    def test_a_row_that_is_missing_and_a_false_alarm_are_said(self, found: Found):
        short = found.table.filter(pl.col("path") != "jar/jar-001.jpg")
        assert [f.planted for f in found.findings(table=short) if not f.agrees] == [f"{found.planted.files} files"]
        alarm = _reason(found, "jar/jar-001.jpg", "near duplicate: 60 of 512 bits from jar/jar-002.jpg")
        assert [f for f in found.findings(table=alarm) if not f.agrees] == [
            Finding("nothing else wrong", "1 false alarms; jar/jar-001.jpg", agrees=False)
        ]

    def test_a_copy_of_the_wrong_image_is_said_with_what_was_found(self, found: Found):
        copy = found.planted.near[0]
        table = _reason(found, copy.path, "near duplicate: 5 of 512 bits from jar/jar-002.jpg")
        assert [f for f in found.findings(table=table) if not f.agrees] == [
            Finding(
                "4 near duplicates",
                f"3 rejected as near duplicate; {copy.path}: near duplicate: 5 of 512 bits from jar/jar-002.jpg",
                agrees=False,
            )
        ]


def _path(planted: Planted, fault: str) -> str:
    return {
        "exact": planted.exact[0].path,
        "near": planted.near[-1].path,
        "conflict": planted.conflict.path,
        "unusable": next(iter(planted.unusable)),
        "sideways": planted.sideways[0],
    }[fault]


def _reason(found: Found, path: str, reason: str | None) -> pl.DataFrame:
    here = pl.col("path") == path
    return found.table.with_columns(rejected=pl.when(here).then(pl.lit(reason)).otherwise("rejected"))


def _unfound(fault: str) -> Callable[[Found], pl.DataFrame]:
    return lambda found: _reason(found, _path(found.planted, fault), None)


def _lying(found: Found) -> pl.DataFrame:
    """As if EXIF had been ignored."""
    here = pl.col("path") == found.planted.sideways[0]
    return found.table.with_columns(orientation=pl.when(here).then(1).otherwise("orientation"))


def _uncapped(found: Found) -> pl.DataFrame:
    over = pl.col("rejected").str.starts_with("over the cap")
    return found.table.with_columns(rejected=pl.when(over).then(None).otherwise("rejected"))


SPOILED: dict[str, Callable[[Found], pl.DataFrame]] = {
    "exact": _unfound("exact"),
    "near": _unfound("near"),
    "conflict": _unfound("conflict"),
    "unusable": _unfound("unusable"),
    "sideways": _lying,
    "large": _uncapped,
}
