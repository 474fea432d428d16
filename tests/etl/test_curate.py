from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.curate import SIEVE, SIZES, class_order, curate, funnel
from etl.decisions import Decision, laid_over
from manifests.errors import UserError
from manifests.recipe import Curate
from manifests.table import kept
from tests.makers import brought, class_folders, digits, flipped, folder, png_bytes, recipe, rows, write

NOTHING = Curate(split="0.5,0.5")


def decided(
    table: pl.DataFrame, settings: Curate | None = None, by_hand: dict[str, str] | None = None
) -> dict[str, Any]:
    """path → why it was rejected, or None."""
    said = laid_over(table, [Decision("", path, "reject", reason=why) for path, why in (by_hand or {}).items()])
    return dict(curate(table, settings or NOTHING, said).select("path", "rejected").iter_rows())


def refusal(table: pl.DataFrame, settings: Curate) -> str:
    with pytest.raises(UserError) as raised:
        curate(table, settings)
    return str(raised.value)


def near(bits: int, **columns: list[Any]) -> pl.DataFrame:
    """Two images that differ in so many of 512 bits."""
    base = digits("near")
    return rows(phash256=[base, flipped(base, bits)], dhash256=[base, base], **columns)


class TestRules:
    """Each rule has its reason."""

    def test_an_image_without_fault_is_kept(self):
        assert decided(rows(path=["a.png", "b.png"])) == {"a.png": None, "b.png": None}

    def test_unusable(self):
        table = rows(path=["a.png", "b.png"], problem=["truncated", None], phash=[None, 1], phash256=[None, digits(1)])
        assert decided(table) == {"a.png": "unusable: truncated", "b.png": None}

    def test_by_hand(self):
        assert decided(rows(path=["a.png", "b.png"]), by_hand={"a.png": "blurred"}) == {
            "a.png": "by hand: blurred",
            "b.png": None,
        }

    def test_not_asked_for(self):
        table = rows(path=["1", "2", "3"], label=["cat", "dog", "cat"])
        assert decided(table, Curate(classes=("cat",))) == {"1": None, "2": "class not asked for: dog", "3": None}

    def test_not_in_the_sample(self):
        assert decided(rows(path=["1", "2"], sampled=[True, False])) == {"1": None, "2": "not in the random sample"}

    def test_too_small_is_of_the_shorter_side(self):
        table = rows(path=["1", "2", "3"], width=[31, 99, 32], height=[99, 31, 32])
        said = "too small: shorter side 31 px, under 32"
        assert decided(table, Curate(min_side=32)) == {"1": said, "2": said, "3": None}

    def test_no_split_in_the_source(self):
        table = rows(path=["1", "2", "3"], source_split=["train", None, "val"])
        assert decided(table, Curate()) == {"1": None, "2": "no split in the source", "3": None}
        assert decided(table, NOTHING) == {"1": None, "2": None, "3": None}

    def test_identical_files_are_one_image(self):
        table = rows(path=["b", "a", "c"], sha256=[digits(1), digits(1), digits(2)])
        for dedupe in ("near:64", "phash:4", "dhash:24", "exact"):
            assert decided(table, Curate(dedupe=dedupe)) == {"b": "duplicate: identical to a", "a": None, "c": None}
        assert decided(table, Curate(dedupe="off")) == {"b": None, "a": None, "c": None}

    def test_near_duplicates_say_how_near_and_of_what(self):
        assert decided(near(20, path=["b", "a"])) == {"b": "near duplicate: 20 of 512 bits from a", "a": None}
        assert decided(near(64, path=["b", "a"]))["b"] == "near duplicate: 64 of 512 bits from a"
        assert decided(near(65, path=["b", "a"])) == {"b": None, "a": None}
        assert decided(near(20, path=["b", "a"]), Curate(dedupe="exact")) == {"b": None, "a": None}

    @pytest.mark.parametrize(("bits", "kept_too"), [(3, False), (4, False), (5, True)])
    def test_phash_compares_64_bits(self, bits: int, kept_too: bool):
        table = rows(path=["a", "b"], phash=[2**63 + 5, (2**63 + 5) ^ ((1 << bits) - 1)])
        said = None if kept_too else f"near duplicate: {bits} of 64 bits from a"
        assert decided(table, Curate(dedupe="phash:4")) == {"a": None, "b": said}

    @pytest.mark.parametrize(("bits", "kept_too"), [(24, False), (25, True)])
    def test_dhash_compares_256_bits(self, bits: int, kept_too: bool):
        base = digits("near")
        table = rows(path=["a", "b"], dhash256=[base, flipped(base, bits)])
        said = None if kept_too else f"near duplicate: {bits} of 256 bits from a"
        assert decided(table, Curate(dedupe="dhash:24")) == {"a": None, "b": said}

    def test_images_that_say_nothing_are_like_no_other(self):
        same = [digits("black")] * 2
        table = rows(path=["a", "b"], phash=[0, 0], phash256=same, dhash256=same, luma_std=[3.9, 0.0])
        for dedupe in ("near:64", "phash:4", "dhash:24"):
            assert decided(table, Curate(dedupe=dedupe)) == {"a": None, "b": None}

    def test_a_copy_of_a_near_duplicate_says_what_it_is_identical_to(self):
        base = digits("near")
        table = rows(
            path=["a", "b", "c"],
            sha256=[digits(1), digits(2), digits(2)],
            phash256=[base, flipped(base, 9), flipped(base, 9)],
            dhash256=[base] * 3,
        )
        expected = {"a": None, "b": "near duplicate: 9 of 512 bits from a", "c": "duplicate: identical to b"}
        assert decided(table) == expected

    def test_over_the_cap(self):
        table = rows(label=["a"] * 7 + ["b"] * 2)
        found = decided(table, Curate(max_per_class=3))
        assert Counter(found.values()) == {None: 5, "over the cap: 3 of 7 kept": 4}

    def test_class_too_small(self):
        table = rows(path=["1", "2", "3"], label=["a", "a", "b"])
        settings = Curate(min_per_class=2, drop_small_classes=True)
        assert decided(table, settings) == {"1": None, "2": None, "3": "class too small: 1 images, 2 asked for"}

    def test_every_rule_has_its_turn(self):
        assert len({rule.__name__ for rule in (*SIEVE, *SIZES)}) == len(SIEVE) + len(SIZES) == 9


class TestFirstReason:
    """The first reason stands, and a rejected image decides nothing for others."""

    def test_reasons_come_in_the_order_of_the_rules(self):
        table = rows(
            path=["1", "2", "3", "4", "5"],
            label=["b", "b", "b", "a", "a"],
            problem=["truncated", None, None, None, None],
            width=[9, 9, 9, 9, 64],
            sampled=[False, False, False, False, True],
        )
        by_hand = {"1": "bad", "2": "bad"}
        expected = {
            "1": "unusable: truncated",
            "2": "by hand: bad",
            "3": "class not asked for: b",
            "4": "not in the random sample",
            "5": None,
        }
        assert decided(table, Curate(classes=("a",), min_side=32), by_hand) == expected

    def test_a_copy_of_a_rejected_image_is_kept(self):
        table = rows(path=["a", "b"], sha256=[digits(1)] * 2)
        assert decided(table, by_hand={"a": "bad"}) == {"a": "by hand: bad", "b": None}

    def test_rejected_images_do_not_count_for_the_cap_or_the_least_size(self):
        table = rows(label=["a"] * 4, problem=["truncated", "truncated", None, None])
        settings = Curate(max_per_class=2, min_per_class=2)
        assert Counter(decided(table, settings).values()) == {"unusable: truncated": 2, None: 2}


class TestLabelConflicts:
    """An image under two classes cannot be believed: all its copies are rejected, each naming another."""

    def test_identical_images(self):
        table = rows(
            path=["cat/1", "dog/1", "dog/2"], label=["cat", "dog", "dog"], sha256=[digits(1)] * 2 + [digits(2)]
        )
        expected = {
            "cat/1": "label conflict: identical to dog/1, which is 'dog'",
            "dog/1": "label conflict: identical to cat/1, which is 'cat'",
            "dog/2": None,
        }
        for dedupe in ("near:64", "exact", "off"):
            assert decided(table, Curate(dedupe=dedupe)) == expected

    def test_near_duplicates(self):
        table = pl.concat(
            [near(10, path=["cat/1", "dog/1"], label=["cat", "dog"]), rows(path=["dog/2"], label=["dog"])]
        )
        expected = {
            "cat/1": "label conflict: near duplicate of dog/1, which is 'dog'",
            "dog/1": "label conflict: near duplicate of cat/1, which is 'cat'",
            "dog/2": None,
        }
        assert decided(table) == expected
        assert set(decided(table, Curate(dedupe="exact")).values()) == {None}

    def test_copies_of_one_class_are_none_and_merging_classes_ends_one(self):
        table = rows(path=["gatto/1", "cat/1"], label=["gatto", "cat"], sha256=[digits(1)] * 2)
        assert decided(table, Curate(rename={"gatto": "cat"})) == {
            "gatto/1": "duplicate: identical to cat/1",
            "cat/1": None,
        }

    def test_they_are_reported(self):
        table = rows(
            path=["cat/1", "dog/1", "dog/2"], label=["cat", "dog", "dog"], sha256=[digits(1)] * 2 + [digits(2)]
        )
        marked = curate(table, NOTHING)
        assert funnel(marked, ["dog"])["conflicts"] == [
            "cat/1 (cat): identical to dog/1, which is 'dog'",
            "dog/1 (dog): identical to cat/1, which is 'cat'",
        ]


class TestKeepOrder:
    """Of duplicates, the one most worth having is kept: split, pixels, lossless, bytes a pixel, path."""

    @pytest.mark.parametrize(
        "columns",
        [
            {"source_split": ["train", "test"], "width": [640, 64], "format": ["PNG", "JPEG"]},
            {"source_split": ["val", "test"]},
            {"source_split": ["train", "val"]},
            {"width": [64, 65], "format": ["PNG", "JPEG"], "bytes": [9000, 10]},
            {"format": ["JPEG", "PNG"], "bytes": [9000, 10]},
            {"format": ["JPEG", "TIFF"]},
            {"bytes": [999, 1000]},
            {"path": ["b", "a"]},
        ],
    )
    def test_the_second_is_kept(self, columns: dict[str, list[Any]]):
        table = near(5, **columns)
        assert curate(table, Curate())["rejected"].is_null().to_list() == [False, True]

    def test_a_split_used_as_another_judges_as_that(self):
        table = near(5, source_split=["val", "train"])
        settings = Curate(given_as={"val": "train", "train": "test"})
        assert curate(table, settings)["rejected"].is_null().to_list() == [False, True]


class TestClassNames:
    """Classes are renamed, merged, chosen and ordered by name; a name that nothing has is an error."""

    def test_renaming_and_merging(self):
        table = rows(path=["1", "2", "3"], label=["gatto", "micio", "ragno"])
        marked = curate(table, Curate(rename={"gatto": "cat", "micio": "cat"}))
        assert marked["class"].to_list() == ["cat", "cat", "ragno"]
        assert marked["label"].to_list() == ["gatto", "micio", "ragno"]

    def test_names_may_be_exchanged(self):
        marked = curate(rows(label=["a", "b"]), Curate(rename={"a": "b", "b": "a"}))
        assert marked["class"].to_list() == ["b", "a"]

    @pytest.mark.parametrize("asked", ["cat", "gatto"])
    def test_a_class_is_asked_for_by_its_new_name_or_its_old(self, asked: str):
        table = rows(path=["1", "2"], label=["gatto", "ragno"])
        settings = Curate(rename={"gatto": "cat"}, classes=(asked,))
        assert decided(table, settings) == {"1": None, "2": "class not asked for: ragno"}

    def test_an_unknown_class_names_the_nearest(self):
        said = refusal(rows(label=["butterfly", "cat"]), Curate(classes=("buterfly",)))
        assert said == (
            "curate.classes: the source has no class 'buterfly'. Known: butterfly, cat. Did you mean 'butterfly'?"
        )

    def test_an_unknown_name_to_rename_names_the_nearest(self):
        said = refusal(rows(label=["gatto", "ragno"]), Curate(rename={"gato": "cat"}))
        assert said == "curate.rename: the source has no class 'gato'. Known: gatto, ragno. Did you mean 'gatto'?"

    def test_the_order_is_by_name_or_as_asked(self):
        table = rows(label=["b", "c", "a"])
        assert class_order(curate(table, NOTHING), NOTHING) == ["a", "b", "c"]
        asked = Curate(classes=("c", "a"))
        assert class_order(curate(table, asked), asked) == ["c", "a"]
        merged = Curate(classes=("c", "b", "a"), rename={"a": "c"})
        assert class_order(curate(table, merged), merged) == ["c", "b"]

    def test_a_class_asked_for_of_which_nothing_is_left_is_refused(self):
        said = refusal(rows(label=["a", "b"], problem=["truncated", None]), Curate(classes=("a", "b")))
        assert said.startswith("curate.classes: no image is left of a: 1 unusable; loosen the settings")

    def test_it_is_left_out_where_that_is_asked_for(self):
        settings = Curate(classes=("a", "b"), drop_small_classes=True)
        marked = curate(rows(label=["a", "b"], problem=["truncated", None]), settings)
        assert class_order(marked, settings) == ["b"]


class TestRefusals:
    """What would make a wrong data set is refused."""

    def test_small_classes_are_named(self):
        said = refusal(rows(label=["a"] * 5 + ["b"] * 2 + ["c"]), Curate(min_per_class=3))
        assert said == (
            "curate.min_per_class = 3: 2 classes have fewer images: b (2), c (1); lower it, or leave them out with "
            "--drop-small-classes."
        )

    def test_a_class_of_which_nothing_is_left_is_too_small(self):
        said = refusal(rows(label=["a", "b"], problem=["truncated", None]), Curate(min_per_class=1))
        assert said.startswith("curate.min_per_class = 1: 1 classes have fewer images: a (0);")

    def test_nothing_left_says_why(self):
        said = refusal(rows(problem=["truncated", "empty"]), NOTHING)
        assert said == "curate: nothing is left of 2 files: 2 unusable. Loosen the settings."

    def test_given_without_any_split(self):
        said = refusal(rows(label=["a"]), Curate(split="given"))
        assert said == "curate.split = given: the source states no splits; give fractions: --split 0.8,0.2"

    def test_an_identical_image_in_two_splits_with_dedupe_off_is_a_leak(self):
        table = rows(path=["1", "2"], sha256=[digits(1)] * 2, source_split=["train", "test"])
        assert refusal(table, Curate(dedupe="off")) == (
            "curate.split = given: an identical image stands in two splits, such as 2 (test) and 1 (train); "
            "use --dedupe exact or near."
        )
        assert decided(table, Curate(dedupe="exact")) == {"1": "duplicate: identical to 2", "2": None}


class TestCap:
    """Which images stay is decided by seed and image, so that one more changes at most one other."""

    @settings(max_examples=60, deadline=None)
    @given(st.integers(2, 40), st.integers(1, 30), st.integers(0, 9))
    def test_adding_one_image_changes_at_most_one_other(self, count: int, cap: int, seed: int):
        asked = Curate(max_per_class=cap, seed=seed)
        before, after = (kept(curate(rows(label=["a"] * n), asked))["path"].to_list() for n in (count, count + 1))
        assert len(before) == min(count, cap)
        assert len(set(before) - set(after)) <= 1
        assert set(after) - set(before) <= ({f"{count:04}.png"} if len(after) <= cap else set())

    def test_another_seed_keeps_others(self):
        table = rows(label=["a"] * 40)
        one, other = (set(kept(curate(table, Curate(max_per_class=20, seed=seed)))["path"]) for seed in (0, 1))
        assert one != other

    def test_given_val_and_test_stay_whole_beside_a_large_train(self):
        table = rows(source_split=["train"] * 30 + ["val"] * 8 + ["test"] * 5)
        marked = kept(curate(table, Curate(max_per_class=10)))
        assert dict(marked.group_by("split").len().iter_rows()) == {"train": 10, "val": 8, "test": 5}

    def test_each_given_split_is_capped_by_itself(self):
        table = rows(source_split=["train"] * 30 + ["val"] * 12)
        marked = kept(curate(table, Curate(max_per_class=10)))
        assert dict(marked.group_by("split").len().iter_rows()) == {"train": 10, "val": 10}


class TestStage:
    """The published table, its counts, and the lists of rejections."""

    def test_counts_say_what_became_of_every_file(self, tmp_path: Path):
        source = class_folders(tmp_path / "source", {"cat": 5, "dog": 5})
        write(source, {"cat/copy.png": png_bytes(40, 30, seed=0), "dog/bad.jpg": b"text"})
        (tmp_path / "out.csv").write_text("path,reason\ncat/001.png,blurred\ncat/no.png,gone\n")
        asked = recipe(source, curate={"reject": str(tmp_path / "out.csv")})
        done = brought(asked, tmp_path, until="curate")["curate"]
        assert done.counts == {
            "found": 12,
            "kept": 9,
            "rejected": {"by hand": 1, "duplicate": 1, "unusable": 1},
            "per_class": [
                {"class": "cat", "found": 6, "train": 3, "val": 1, "test": 0},
                {"class": "dog", "found": 6, "train": 4, "val": 1, "test": 0},
            ],
            "conflicts": [],
            "waiting": 0,
            "elsewhere": 0,
            "classes": ["cat", "dog"],
            "unmatched": [f"cat/no.png ({tmp_path}/out.csv:3)"],
        }
        table = pl.read_parquet(folder(tmp_path, done) / "images.parquet")
        rejected = dict(table.filter(pl.col("rejected").is_not_null()).select("path", "rejected").iter_rows())
        assert rejected == {
            "cat/001.png": "by hand: blurred",
            "cat/copy.png": "duplicate: identical to cat/000.png",
            "dog/bad.jpg": "unusable: not an image",
        }
