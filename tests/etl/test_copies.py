from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from etl.curate import curate
from etl.decisions import DUPLICATE, NOT_DUPLICATE, PIN, REJECT, RELABEL, Decision, laid_over
from manifests.errors import UserError
from manifests.recipe import Curate
from tests.makers import brought, digits, encoded, image, recipe, rows, write

BASE = digits("base")


def flipped(bits: int) -> str:
    """The base hash, but for so many of its bits."""
    return f"{int(BASE, 16) ^ ((1 << bits) - 1):064x}"


def alike(bits: list[int], **columns: list[Any]) -> pl.DataFrame:
    """Images a, b, c, … whose hashes differ from the base in so many of 512 bits; two of them in the difference."""
    paths = [chr(ord("a") + n) for n in range(len(bits))]
    made: dict[str, list[Any]] = {
        "path": paths, "phash256": [flipped(n) for n in bits], "dhash256": [BASE] * len(bits),
        "width": [100 - n for n in range(len(bits))],
    }  # fmt: skip
    return rows(**(made | columns))


def curated(table: pl.DataFrame, *by_hand: Decision, **asked: Any) -> pl.DataFrame:
    settings = Curate.model_validate({"split": "0.5,0.5"} | asked)
    return curate(table, settings, laid_over(table, by_hand))


def reasons(table: pl.DataFrame, *by_hand: Decision, **asked: Any) -> dict[str, str | None]:
    return dict(curated(table, *by_hand, **asked).select("path", "rejected").iter_rows())


def said(path: str, kind: str, other: str = "", class_name: str = "") -> Decision:
    return Decision("", path, kind, class_name, other, place="d.csv:2")


class TestPinned:
    """What a person pinned stays, and before its copies."""

    def test_the_pinned_copy_is_kept_instead_of_the_larger_one(self):
        found = reasons(alike([0, 9]), said("b", PIN))
        assert found == {"a": "near duplicate: 9 of 512 bits from b", "b": None}

    def test_two_pinned_copies_both_stay_in_one_split(self):
        table = alike([0, 9, 150, 250])
        marked = curated(table, said("a", PIN), said("b", PIN))
        assert marked.filter(pl.col("path").is_in(["a", "b"]))["split"].n_unique() == 1
        assert marked["rejected"].to_list()[:2] == [None, None]

    def test_a_pin_goes_before_the_cap_and_the_faults(self):
        table = rows(path=list("abcdefgh"), luma_high=[10.0] + [220.0] * 7, width=[8] + [64] * 7)
        found = reasons(table, said("a", PIN), faults={"dark": None}, min_side=32, max_per_class=2)
        assert found["a"] is None
        assert list(found.values()).count(None) == 2

    def test_more_pins_than_the_cap_all_stay(self):
        table = rows(path=list("abcdef"))
        found = reasons(table, *(said(path, PIN) for path in "abc"), max_per_class=1)
        assert [path for path, why in found.items() if why is None] == ["a", "b", "c"]

    def test_a_second_file_of_the_pinned_bytes_adds_nothing(self):
        table = rows(path=["a", "b", "c", "d"], sha256=[digits(1), digits(1), digits(2), digits(3)])
        found = reasons(table, Decision(digits(1), "", PIN))
        assert found == {"a": None, "b": "duplicate: identical to a", "c": None, "d": None}

    def test_a_pin_does_not_make_a_broken_file_usable(self):
        table = rows(path=["a", "b", "c"], problem=["truncated", None, None])
        assert reasons(table, said("a", PIN))["a"] == "unusable: truncated"


class TestPairsByHand:
    """A person's word about a pair goes before its hashes."""

    def test_what_is_no_duplicate_stays(self):
        assert reasons(alike([0, 9]), said("b", NOT_DUPLICATE, "a")) == {"a": None, "b": None}
        assert reasons(alike([0, 9]), said("a", NOT_DUPLICATE, "b")) == {"a": None, "b": None}

    def test_told_apart_from_one_it_may_still_be_a_copy_of_another(self):
        found = reasons(alike([0, 9, 10]), said("c", NOT_DUPLICATE, "a"))
        assert found == {"a": None, "b": "near duplicate: 9 of 512 bits from a", "c": None}
        found = reasons(alike([0, 90, 100]), said("c", NOT_DUPLICATE, "a"))
        assert found == {"a": None, "b": None, "c": "near duplicate: 10 of 512 bits from b"}

    def test_an_image_can_be_a_copy_of_none(self):
        assert reasons(alike([0, 9, 10]), said("c", NOT_DUPLICATE))["c"] is None

    def test_equal_hashes_can_be_told_apart(self):
        found = reasons(alike([0, 0, 0]), said("b", NOT_DUPLICATE, "a"))
        assert found == {"a": None, "b": None, "c": "near duplicate: 0 of 512 bits from a"}

    def test_what_is_a_duplicate_goes_however_far_apart(self):
        marked = curated(alike([0, 200]), said("b", DUPLICATE, "a"))
        assert marked["rejected"].to_list() == [None, "duplicate by hand: of a"]
        assert marked["bits"].to_list() == [0, 200]

    def test_a_copy_of_a_copy_is_one_too(self):
        decisions = said("b", DUPLICATE, "a"), said("c", DUPLICATE, "b"), said("d", DUPLICATE, "c")
        found = reasons(alike([0, 100, 200, 256]), *decisions)
        assert found == {"a": None} | dict.fromkeys("bcd", "duplicate by hand: of a")

    def test_a_rejected_keeper_leaves_its_place_to_the_next(self):
        found = reasons(alike([0, 9, 18]), said("a", REJECT, "dark"))
        assert found == {"a": "by hand: dark", "b": None, "c": "near duplicate: 9 of 512 bits from b"}


class TestConflicts:
    """Copies under several classes: none is believed, unless the settings or a person decide."""

    TABLE = alike([0, 9, 18], label=["cat", "dog", "cat"])

    def test_by_default_all_go(self):
        assert {str(why).partition(":")[0] for why in reasons(
            pl.concat([self.TABLE, rows(path=["x", "y"], label=["cat", "dog"])])
        ).values()} == {"label conflict", "None"}  # fmt: skip

    def test_keep_believes_the_best_copy(self):
        found = reasons(self.TABLE, on_conflict="keep")
        near = "near duplicate: {} of 512 bits from a"
        assert found == {"a": None, "b": near.format(9), "c": near.format(18)}

    def test_a_pin_decides_it(self):
        found = reasons(self.TABLE, said("c", PIN))
        assert found == {
            "a": "near duplicate: 18 of 512 bits from c",
            "b": "label conflict: a copy of c, which a person pinned as 'cat'",
            "c": None,
        }

    def test_a_relabel_ends_it(self):
        marked = curated(self.TABLE, said("b", RELABEL, class_name="cat"))
        assert marked["class"].to_list() == ["cat"] * 3
        assert marked["label"].to_list() == ["cat", "dog", "cat"]
        assert marked["rejected"].is_null().to_list() == [True, False, False]
        assert marked["decided"].to_list() == [None, "relabel cat", None]

    @pytest.mark.parametrize("name", ["x", "y"])
    def test_a_class_by_hand_is_not_renamed_again(self, name: str):
        table = rows(path=["a", "b", "c"], label=["x", "x", "y"])
        marked = curated(table, said("a", RELABEL, class_name=name), rename={"x": "y", "y": "x"})
        assert marked["class"].to_list() == [name, "y", "x"]

    def test_what_had_no_label_may_get_one(self):
        table = rows(path=["a", "b", "c"], label=[None, "x", "x"], problem=["file without a label", None, None])
        assert curated(table, said("a", RELABEL, class_name="x"))["rejected"].null_count() == 3
        assert curated(table)["rejected"].to_list() == ["unusable: file without a label", None, None]

    def test_members_that_are_only_copies_of_the_same_one_are_called_so(self):
        far = f"{int(BASE, 16) ^ (((1 << 60) - 1) << 60):064x}"
        table = alike([0, 0, 0], phash256=[BASE, flipped(60), far], label=["cat", "cat", "dog"])
        found = reasons(pl.concat([table, rows(path=["x", "y"], label=["cat", "dog"])]))
        assert found["b"] == "label conflict: a copy of the same image as c, which is 'dog'"
        assert found["c"] == "label conflict: near duplicate of a, which is 'cat'"

    def test_rejecting_the_wrong_one_ends_it(self):
        assert reasons(self.TABLE, said("b", REJECT, "wrong"))["a"] is None

    def test_a_class_that_nobody_knows_is_refused_with_its_place(self):
        with pytest.raises(UserError, match=r"d\.csv:2: relabel: there is no class 'catt'.*Did you mean 'cat'\?"):
            curated(self.TABLE, said("a", RELABEL, class_name="catt"))


class TestSilent:
    """An image that says nothing matches by identical pixels only, and has a reason of its own."""

    def test_the_same_pixels_in_another_file_are_a_blank_duplicate(self):
        table = alike([0, 0, 0], luma_std=[0.0] * 3, pixels=["one", "one", "two"])
        assert reasons(table) == {
            "a": None, "b": "blank duplicate: says nothing, and has the same pixels as a", "c": None,
        }  # fmt: skip

    def test_blank_ones_under_two_classes_are_a_conflict(self):
        table = alike([0, 0, 250], luma_std=[0.0, 0.0, 50.0], pixels=["one", "one", None], label=["p", "q", "p"])
        assert str(reasons(table, drop_small_classes=True)["a"]).startswith("label conflict: ")


class TestTurned:
    """Mirrored and quarter-turned copies, where they are asked for."""

    def table(self, bits: int) -> pl.DataFrame:
        far = digits("far")
        turns = [digits(f"turn {n}") * 2 for n in range(7)]
        turns[3] = flipped(bits) + BASE
        return rows(
            path=["a", "b"], phash256=[BASE, far], dhash256=[BASE, far], width=[99, 64],
            turned=[digits("other") * 14, "".join(turns)],
        )  # fmt: skip

    def test_a_turned_copy_is_found_and_said_to_be_turned(self):
        found = reasons(self.table(12), turned=True)
        assert found == {"a": None, "b": "near duplicate: 12 of 512 bits from a, mirrored or turned"}
        assert reasons(self.table(12)) == {"a": None, "b": None}

    def test_of_dhash_alone_too(self):
        assert reasons(self.table(12), turned=True, dedupe="dhash:0")["b"] is not None
        assert reasons(self.table(200), turned=True)["b"] is None

    def test_without_the_hashes_it_says_what_to_do(self):
        with pytest.raises(UserError, match=r"hashed only as they stand; run extract again with --turned"):
            curated(alike([0, 200]), turned=True)

    def test_from_the_files_to_the_decision(self, tmp_path: Path):
        photo = image(300, 200, seed=5)
        turned = {
            "a/mirrored.png": photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "a/quarter.png": photo.transpose(Image.Transpose.ROTATE_90),
            "a/upside down.jpg": photo.transpose(Image.Transpose.ROTATE_180),
        }
        files = {path: encoded(each, "JPEG" if path.endswith("jpg") else "PNG") for path, each in turned.items()}
        others = {f"a/{seed}.png": encoded(image(320, 240, seed=seed)) for seed in range(4)}
        source = write(tmp_path / "source", {"a/photo.png": encoded(photo)} | files | others)
        counts = [
            brought(recipe(source, extract=asked, curate=asked), tmp_path, until="curate")["curate"].counts["rejected"]
            for asked in ({"turned": True}, {})
        ]
        assert counts == [{"near duplicate": 3}, {}]


class TestLookalikes:
    """What resembles a kept image without being a copy waits for a person."""

    @pytest.mark.parametrize(("bits", "waits"), [(64, False), (65, True), (96, True), (97, False)])
    def test_from_65_to_96_bits(self, bits: int, waits: bool):
        marked = curated(alike([0, bits]))
        expected = (marked["sha256"][0], bits) if waits else (None, None)
        assert (marked["like"][1], marked["like_bits"][1]) == expected
        assert marked["like"][0] is None

    def test_what_a_person_decided_waits_no_more(self):
        for kind in (DUPLICATE, NOT_DUPLICATE):
            assert curated(alike([0, 80]), said("b", kind, "a"))["like"].null_count() == 2

    def test_the_rejected_do_not_wait(self):
        marked = curated(alike([0, 80, 250]), said("a", REJECT, "dark"))
        assert marked["like"].null_count() == 3

    def test_each_waits_once(self):
        one, other = flipped(70), f"{int(flipped(150), 16) ^ int(flipped(70), 16) ^ int(BASE, 16):064x}"
        marked = curated(alike([0, 0, 0], phash256=[BASE, one, other]))
        first = marked["sha256"][0]
        assert marked.select("like", "like_bits").rows() == [(None, None), (first, 70), (first, 80)]
