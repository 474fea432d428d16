import polars as pl
import pytest

from etl.curate import curate, sieved
from etl.faults import FAULTS, check, explain
from manifests.errors import Exit, UserError
from manifests.recipe import Curate
from tests.makers import rows

BAD = {  # fault → what a picture that has it measures, and the reason it gets
    "aspect": ({"width": 301, "height": 100}, "extreme aspect: 3.01 to 1, over 3"),
    "uniform": ({"luma_std": 3.9}, "nearly uniform: grey deviation 3.9, under 4"),
    "dark": ({"luma_high": 40.0}, "very dark: 99 % lies below 40.0 of 255, under 64"),
    "bright": ({"luma_low": 230.0}, "very bright: 95 % lies above 230.0 of 255, over 215"),
    "blurred": ({"sharpness": 9.26}, "blurred: variance of the Laplacian 9.26, under 90"),
    "grey": ({"chroma": 1.0}, "grey among colour: at most 1.0 of 128 from grey, under 4"),
    "extension": ({"format": "JPEG"}, "wrong extension: the file is a JPEG"),
    "animated": ({"animated": True}, "animated: only the first frame would be used"),
    "mode": ({"mode": "CMYK"}, "odd mode: CMYK"),
}  # fmt: skip


def with_one(fault: str) -> pl.DataFrame:
    """Four good pictures, and one with the fault."""
    table = rows(path=[f"{n}.png" for n in range(5)])
    first = pl.col("path") == "0.png"
    values = {
        name: pl.when(first).then(pl.lit(value, table.schema[name])).otherwise(name)
        for name, value in BAD[fault][0].items()
    }
    return table.with_columns(**values)


class TestFaults:
    """Each has its figure, its limit and its reason; none is looked for unless it is asked for."""

    def test_every_fault_is_tried(self):
        assert list(BAD) == list(FAULTS)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_only_the_picture_that_has_it_is_rejected(self, fault: str):
        found = curate(with_one(fault), Curate(faults={fault: None}, split="0.5,0.5"))
        assert found["rejected"].to_list() == [BAD[fault][1], None, None, None, None]

    def test_none_is_looked_for_by_default(self):
        for fault in FAULTS:
            assert curate(with_one(fault), Curate(split="0.5,0.5"))["rejected"].null_count() == 5

    def test_a_limit_of_ones_own_goes_before_the_usual_one(self):
        table = rows(sharpness=[10.0, 20.0, 30.0, 50.0])
        found = curate(table, Curate(faults={"blurred": 25.0}, split="0.5,0.5"))["rejected"].to_list()
        assert found == [
            "blurred: variance of the Laplacian 10.0, under 25", "blurred: variance of the Laplacian 20.0, under 25",
            None, None,
        ]  # fmt: skip

    def test_where_half_are_grey_grey_is_no_fault(self):
        table = rows(chroma=[0.0, 0.0, 90.0, 90.0])
        assert curate(table, Curate(faults={"grey": None}, split="0.5,0.5"))["rejected"].null_count() == 4

    @pytest.mark.parametrize(
        ("path", "kind", "wrong"),
        [
            ("a.JPG", "JPEG", False), ("a.jpeg", "JPEG", False), ("a.png", "JPEG", True), ("a", "PNG", False),
            ("dir.png/a", "JPEG", False), ("a.jpg", "WEBP", True), ("a.jpg", "MPO", False), ("a.tif", "TIFF", False),
        ],
    )  # fmt: skip
    def test_a_name_is_wrong_where_its_suffix_is_of_another_format(self, path: str, kind: str, wrong: bool):
        table = rows(path=[path, "x.png", "y.png"], format=[kind, "PNG", "PNG"])
        found = curate(table, Curate(faults={"extension": None}, split="0.5,0.5"))
        assert found["rejected"].is_not_null().to_list() == [wrong, False, False]

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"blured": None}, r"here: unknown fault 'blured'\. Known: .*Did you mean 'blurred'\?"),
            ({"animated": 3.0}, r"here: animated takes no limit"),
        ],
    )
    def test_what_cannot_be_asked_is_refused(self, asked: dict[str, float | None], words: str):
        with pytest.raises(UserError, match=words) as raised:
            check(asked, "here")
        assert raised.value.code == Exit.RECIPE


class TestExplain:
    """What each fault would reject, before it does."""

    @pytest.mark.parametrize("fault", FAULTS)
    def test_it_says_what_curate_then_does(self, fault: str):
        table = with_one(fault)
        found = {each.fault: each for each in explain(sieved(table, Curate()), Curate())}
        assert list(found) == list(FAULTS)
        assert (found[fault].rejects, found[fault].examples, found[fault].asked) == (1, ["0.png"], False)

    def test_the_worst_come_first_and_the_spread_is_told(self):
        table = rows(path=list("abcde"), sharpness=[30.0, 10.0, 20.0, 5.0, 500.0])
        found = {each.fault: each for each in explain(sieved(table, Curate()), Curate(faults={"blurred": 25.0}))}
        blurred = found["blurred"]
        assert (blurred.rejects, blurred.examples, blurred.limit) == (3, ["d", "b", "c"], 25.0)
        assert (blurred.quantiles, blurred.asked) == ([5.0, 20.0, 500.0], True)

    def test_of_nothing_there_is_nothing_to_say(self):
        assert explain(sieved(rows(path=["a"], problem=["truncated"]), Curate()), Curate()) == []
