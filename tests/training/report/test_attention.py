"""The section of what the model looks at: maps over the images they are of, and a sentence where there are none."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from manifests.shards import read_index
from tests.pages import Page, section
from tests.training.report.made import Made, contract, made
from training.attention import FILE, Attention, wanted, write_attention
from training.folders import evaluation_folder
from training.report import write_report
from training.report.evidence import read_evidence
from training.report.sections.attention import examples
from training.report.thumbnails import RAMP, SIDE, coloured, overlaid

HOSTILE = "<script>alert('1')</script>"


def looked(both: Made, value: float = 1.0, weights: str | None = None) -> Attention:
    """Maps of 2 × 2 places, the highest bottom right, for all that is shown, in the run's folder."""
    evidence = read_evidence(*both)
    assert evidence.evaluation is not None
    places = np.array([[0, 0.25], [0.5, 1]], np.float32) * value
    found = Attention(dict.fromkeys(wanted(evidence.predictions, evidence.index.classes), places), "layer4")
    file = evaluation_folder(both.run, str(evidence.split)) / FILE
    write_attention(file, found, weights or evidence.evaluation["weights"])
    return found


def text(both: Made) -> str:
    return section(write_report(*both).read_text("utf-8"), "attention")


class TestSection:
    """Original and map side by side, with what they are of."""

    def test_each_image_stands_beside_its_maps(self, tmp_path: Path):
        both = made(tmp_path, ["ant", "bee", "cow"], skill=0.8)
        found = looked(both)
        evidence = read_evidence(*both)
        wrong = evidence.predictions.with_row_index("number").filter(~pl.col("correct"))
        shown = examples(evidence, found, wrong)
        assert [len(example.overlays) for example in shown] == [2] * min(6, wrong.height)
        first, image = shown[0], wrong.row(0, named=True)
        assert [(o.name, o.probability, o.is_wrong) for o in first.overlays] == [
            (image["predicted"], image["probability"], True),
            (image["class"], image["probability_of_class"], False),
        ]

    def test_it_says_what_the_maps_are_and_what_they_are_not(self, tmp_path: Path):
        both = made(tmp_path)
        looked(both)
        assert "a grid of 2 × 2 places" in text(both)
        assert "no proof of a sound reason" in text(both)
        assert "(module layer4 )" in text(both)

    def test_a_class_that_no_place_speaks_for_is_said_so(self, tmp_path: Path):
        both = made(tmp_path)
        looked(both, value=0)
        assert "no place speaks for it" in text(both)

    def test_names_are_escaped(self, tmp_path: Path):
        both = made(tmp_path, [HOSTILE, "b"])
        looked(both)
        page = write_report(*both).read_text("utf-8")
        assert "<script" not in page
        assert HOSTILE in section(page, "attention")

    def test_nothing_in_it_has_a_style_of_its_own_or_points_outside(self, tmp_path: Path):
        both = made(tmp_path)
        looked(both)
        page = write_report(*both).read_text("utf-8")
        part = re.search('<section id="attention".*?</section>', page, re.DOTALL)
        assert part
        tags = Page(part[0]).tags
        assert [a for _, a in tags if "style" in a] == []
        assert {str(a["src"])[:23] for tag, a in tags if tag == "img"} == {"data:image/webp;base64,"}


class TestMissing:
    """Without maps it says why."""

    def test_no_evaluation_yet(self, tmp_path: Path):
        assert "Not evaluated yet" in text(made(tmp_path, evaluated=()))

    def test_not_looked_at_yet(self, tmp_path: Path):
        assert "Not looked at yet" in text(made(tmp_path))

    def test_looked_at_with_other_weights(self, tmp_path: Path):
        both = made(tmp_path)
        looked(both, weights="of another epoch")
        assert "Not looked at yet, or with other weights" in text(both)

    def test_a_model_without_a_map(self, tmp_path: Path):
        both = made(tmp_path)
        evidence = read_evidence(*both)
        assert evidence.evaluation is not None
        file = evaluation_folder(both.run, "test") / FILE
        write_attention(file, Attention({}, "", "it has <no> places"), evidence.evaluation["weights"])
        assert "There is no map to show: it has <no> places." in text(both)


class TestColours:
    """Ordered, and the same for every eye."""

    def test_each_colour_of_the_ramp_is_lighter_than_the_one_before(self):
        linear = [[(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in each] for each in RAMP]
        light = [0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear]
        assert light == sorted(set(light))

    def test_the_ends_are_its_ends_and_what_is_beyond_them_too(self):
        assert coloured(np.array([[-1.0, 0.0, 1.0, 2.0]])).tolist() == [[[*RAMP[0]]] * 2 + [[*RAMP[-1]]] * 2]

    @pytest.mark.parametrize("channels", ["rgb", "gray"])
    def test_the_brightest_place_of_an_overlay_is_where_the_map_is_highest(self, tmp_path: Path, channels: str):
        both = made(tmp_path, pixels=contract(8, channels=channels))
        places = np.array([[0, 0], [0, 1]], np.float32)
        address = overlaid(both.shards, "test-00000.safetensors", 0, read_index(both.shards).contract, places)
        picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        assert picture.size == (SIDE, SIDE)
        yellow = np.asarray(picture.convert("RGB")).astype(int) @ [1, 1, -2]
        down, across = np.unravel_index(yellow.argmax(), yellow.shape)
        assert min(down, across) > SIDE / 2

    def test_a_wide_picture_stays_wide(self, tmp_path: Path):
        both = made(tmp_path, pixels=contract(8).model_copy(update={"width": 16}))
        address = overlaid(
            both.shards, "test-00000.safetensors", 0, read_index(both.shards).contract, np.ones((1, 2), np.float32)
        )
        assert Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).size == (SIDE, SIDE // 2)
