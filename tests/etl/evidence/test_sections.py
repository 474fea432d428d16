"""What each section decides before it is drawn."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.evidence.clusters import chosen, why_kept
from etl.evidence.histograms import bins
from etl.evidence.sections.answer import WIDTH, fall, parts
from etl.evidence.sections.classes import profile, ratio, said
from etl.evidence.sections.duplicates import across
from etl.evidence.sections.rejected import sample
from etl.evidence.sections.sizes import side_marks
from etl.evidence.thumbnails import WORK, Thumbnails, fitted
from etl.funnel import COPIES, FAULTS, flow, step_of
from manifests.recipe import Curate
from tests.etl.evidence.made import evidence, photo, planted, write
from tests.etl.evidence.test_page import section
from tests.makers import png_bytes

KINDS = [
    "unusable", "by hand", "too small", "blurred", "duplicate", "near duplicate", "label conflict", "over the cap",
    "class too small", "no split in the source", "something new",
]  # fmt: skip


class TestFlow:
    """Step by step, in the order of the rules, and nobody is lost."""

    @given(st.dictionaries(st.sampled_from(KINDS), st.integers(1, 50)), st.integers(1, 100))
    def test_what_leaves_and_what_stays_are_what_was_found(self, rejected: dict[str, int], kept: int):
        found = kept + sum(rejected.values())
        steps = flow({"found": found, "kept": kept, "rejected": rejected})
        assert steps[0].before == found
        assert [step.after for step in steps][:-1] == [step.before for step in steps][1:]
        assert steps[-1].after == kept
        assert {kind: n for step in steps for kind, n in step.kinds.items()} == rejected

    @pytest.mark.parametrize(
        ("kind", "step"),
        [
            ("unusable", "unusable"), ("by hand", "by-hand"), ("too small", "faults"),
            ("class too small", "small-class"),
            ("duplicate by hand", "copies"), ("blank duplicate", "copies"), ("label conflict", "conflicts"),
            ("a rule of tomorrow", "faults"),
        ],
    )  # fmt: skip
    def test_every_kind_has_its_step(self, kind: str, step: str):
        assert step_of(kind).name == step

    @given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
    def test_bands_are_as_wide_as_their_share_and_stay_in_the_drawing(self, train: int, val: int, gone: int):
        found = max(1, train + val + gone)
        drawn = parts({"train": train, "val": val}, found)
        assert sum(width for _, _, width, _ in drawn) == pytest.approx((train + val) / found * WIDTH, abs=0.05)
        step = flow({"found": found, "rejected": {"blurred": gone} if gone else {}})
        place = next(fall(each, found) for each in step if each.step == FAULTS)
        assert 0 <= place.lead < 1000
        assert bool(place.path) == bool(gone)


class TestClusters:
    """The kept image comes first, and why it was kept is said."""

    def test_the_kept_one_leads_and_the_others_follow_by_distance(self):
        table = evidence(planted(), min_side=30).clustered.filter(~pl.col("conflict"))
        names = [Path(path).stem for path in table["path"]]
        assert names == ["02", "01", "00"]
        assert table["bits"].to_list() == [0, 20, 30]
        assert across(table) == [("train and test", 1)]

    def test_what_left_before_the_comparison_is_of_no_cluster(self):
        again = planted().with_columns(sha256=pl.lit("f" * 64).alias("sha256"))
        small = again.with_columns(width=pl.when(pl.col("path").str.contains("05")).then(500).otherwise(20))
        clustered = evidence(small.filter(pl.col("problem").is_null()), min_side=40).clustered
        assert clustered.is_empty()

    @pytest.mark.parametrize(
        ("first", "other", "expected"),
        [
            ({"decided": "pin"}, {"source_split": "test"}, "pinned"),
            ({"decided": "relabel pin"}, {"path": "b"}, "first by path"),
            ({"source_split": "test"}, {"width": 90}, "stands in test"),
            ({"width": 65}, {"format": "PNG"}, "more pixels"),
            ({"format": "PNG"}, {"bytes": 5000}, "lossless"),
            ({"bytes": 1001}, {"path": "0"}, "more bytes a pixel"),
            ({"width": 63}, {}, ""),
        ],
    )
    def test_the_reason_is_the_first_thing_in_which_it_is_worth_more(
        self, first: dict[str, Any], other: dict[str, Any], expected: str
    ):
        row = {
            "decided": None, "source_split": None, "width": 64, "height": 48, "format": "JPEG", "bytes": 1000,
            "path": "a",
        }  # fmt: skip
        assert why_kept(row | first, row | other, Curate()) == expected

    def test_the_largest_and_the_furthest_are_chosen_first_and_each_once(self):
        clustered = pl.DataFrame(
            {"cluster": [*"aabbbccddd"], "bits": [0, 9, 0, 1, 2, 0, 40, 0, 3, 3], "path": [*"0123456789"]}
        )
        assert chosen(clustered, 1, 1, 9) == ["b", "c", "a", "d"]
        assert chosen(clustered, 2, 1, 3) == ["b", "d", "c"]

    def test_a_conflict_names_both_classes_and_shows_both_images(self, tmp_path: Path):
        text = section(write(tmp_path, evidence(planted("cup"), photo)), "conflicts")
        assert "2 images in 1 cluster show the same under different classes" in text
        assert "a or cup ?" in text
        assert "train/a/03.jpg" in text
        assert "train/cup/04.jpg" in text
        assert "None of them is kept." in text

    def test_a_conflict_that_was_to_be_kept_says_so(self, tmp_path: Path):
        text = section(write(tmp_path, evidence(planted("cup"), photo, on_conflict="keep")), "conflicts")
        assert "1 image of them is kept." in text

    def test_lookalikes_stand_side_by_side(self, tmp_path: Path):
        text = section(write(tmp_path, evidence(planted(), photo)), "lookalikes")
        assert "1 image resembles a kept one, 80 of 512 bits apart" in text
        assert "train/a/05.jpg" in text
        assert "train/b/06.jpg" in text


class TestClasses:
    """How even the classes are, in words."""

    def test_the_ratio_is_said_before_and_after(self):
        rows = [
            {"class": "a", "found": 400, "train": 80, "val": 20, "test": 0},
            {"class": "b", "found": 50, "train": 40, "val": 10, "test": 0},
        ]
        assert said(rows) == [
            "The classes are somewhat uneven: the largest class, a, has 100 images, the smallest, b, 50: 2.0 to 1.",
            "As found, it was 8.0 to 1.",
            "a gave up the largest share: 300 of 400.",
        ]

    @pytest.mark.parametrize(
        ("large", "small", "expected"), [(3, 3, "1.0 to 1"), (99, 10, "9.9 to 1"), (1000, 4, "250 to 1")]
    )
    def test_a_ratio_has_no_more_digits_than_it_needs(self, large: int, small: int, expected: str):
        assert ratio(large, small) == expected

    def test_columns_far_above_all_that_is_kept_are_cut_and_counted(self):
        rows = [{"class": "a", "found": 9000, "train": 10, "val": 0, "test": 0}]
        rows += [{"class": f"b{n}", "found": 10, "train": 10, "val": 0, "test": 0} for n in range(50)]
        assert profile(rows).cut == 1


class TestSamples:
    """Of each kind some images, as different as there are."""

    def test_every_wording_comes_before_any_comes_twice(self):
        table = pl.DataFrame(
            {
                "path": [f"{n:02}" for n in range(20)],
                "sha256": [f"{n:02}" for n in range(20)],
                "class": ["a"] * 20,
                "details": [f"side {n} px" for n in range(18)] + ["truncated", "empty"],
            }
        )
        assert {row["details"] for row in sample(table.lazy(), 3)} >= {"truncated", "empty", "side 0 px"}


class TestSizes:
    """Bins and marks along a log axis."""

    @given(st.floats(0.02, 5000), st.floats(1, 500), st.sampled_from([1, 2, 4, 8, 16]))
    def test_bins_cover_what_they_are_given(self, low: float, times: float, fine: int):
        edges = bins(low, low * times, 2 ** (1 / fine))
        assert edges[0] <= low * (1 + 1e-6)
        assert edges[-1] >= low * times * (1 - 1e-6)
        assert edges == sorted(edges)

    def test_a_square_lies_in_the_middle_of_its_bin(self):
        edges = bins(0.5, 2, 2**0.25)
        low, high = next((a, b) for a, b in pairwise(edges) if a <= 1 < b)
        assert low * high == pytest.approx(1)

    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [(90, 420, [100, 150, 200, 300, 400]), (1, 5000, [1, 10, 100, 1000, 10000])],
    )
    def test_marks_are_round_and_few(self, low: float, high: float, expected: list[float]):
        assert side_marks(low, high) == expected

    def test_small_images_are_counted_against_each_input_size(self, tmp_path: Path):
        text = section(write(tmp_path, evidence(planted(), photo)), "sizes")
        kept = evidence(planted()).counts["kept"]
        assert f"96 px {kept} 100.0" in text
        assert "1 image could not be opened; its size is not known." in text


class TestThumbnails:
    """Small pictures of the image's own aspect."""

    @given(st.integers(1, 50_000), st.integers(1, 50_000))
    def test_they_fit_and_never_grow(self, width: int, height: int):
        small = fitted(width, height)
        assert 1 <= min(small) <= max(small) <= 160
        assert small[0] <= width
        assert small[1] <= height

    def test_what_would_take_too_long_is_not_drawn_and_the_next_one_is(self):
        row: dict[str, Any] = {"problem": None, "path": "a", "format": "PNG", "width": WORK, "height": 2}
        made = Thumbnails(lambda _: png_bytes()).of([row, row | {"width": 64, "height": 48}])
        assert [each.absent for each in made] == ["too large to draw here", ""]
        assert made[1].address.startswith("data:image/webp;base64,")

    def test_a_kind_that_holds_the_word_duplicate_is_a_copy(self):
        assert step_of("turned duplicate") == COPIES
