from typing import Any

import pytest
from pydantic import ValidationError

from manifests.errors import Exit, UserError
from manifests.pixels import NAMED, PixelContract, normalisation
from tests.makers import contract


class TestNormalisation:
    """Mean and deviation by name, for three channels or one."""

    def test_named_ones_for_colour(self):
        assert {name: normalisation(name, 3) for name in NAMED} == {
            "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        }

    def test_grey_is_the_mean_over_the_three(self):
        mean, deviation = normalisation("imagenet", 1)
        assert mean == pytest.approx((0.449,), abs=1e-12)
        assert deviation == pytest.approx((0.226,), abs=1e-12)

    def test_the_data_sets_own_is_given_back(self):
        assert normalisation("dataset", 1, ((0.3,), (0.2,))) == ((0.3,), (0.2,))

    def test_the_data_sets_own_must_be_there(self):
        with pytest.raises(UserError, match="state no mean and deviation") as raised:
            normalisation("dataset", 3)
        assert raised.value.code == Exit.STALE


class TestPixelContract:
    """Equal contracts have equal digests; two that differ say in what."""

    def test_equal_contracts_have_equal_digests(self):
        assert contract(8).digest == contract(8).digest

    @pytest.mark.parametrize(
        "change",
        [
            {"height": 9}, {"width": 9}, {"resize": "pad"}, {"interpolation": "box"}, {"channels": "gray"},
            {"dtype": "float16"}, {"normalise": "half"}, {"mean": (0.5,)}, {"deviation": (0.5,)},
            {"background": "#000000"}, {"decoder": "another"},
        ],
    )  # fmt: skip
    def test_every_field_is_part_of_the_digest_and_of_the_differences(self, change: dict[str, Any]):
        one, other = contract(8), contract(**{"height": 8, "width": 8} | change)
        assert one.digest != other.digest
        assert [said.split(":")[0] for said in one.differences(other)] == list(change)
        assert set(PixelContract.model_fields) == set(contract().model_dump())

    def test_differences_show_both_sides(self):
        assert contract(8).differences(contract(8, 9)) == ["width: 8 here, 9 there"]
        assert contract(8).differences(contract(8)) == []

    def test_shape_is_height_width_channels(self):
        assert (contract(4, 6).shape, contract(4, 6, channels="gray").shape) == ((4, 6, 3), (4, 6, 1))

    def test_it_round_trips_through_json(self):
        one = contract(8, dtype="float32", normalise="half", mean=(0.1, 0.2, 1 / 3), deviation=(0.5, 0.5, 0.5))
        assert PixelContract.model_validate_json(one.model_dump_json()) == one

    def test_it_cannot_be_changed_nor_extended(self):
        with pytest.raises(ValidationError):
            contract().height = 3  # type: ignore[misc] # that is the point
        with pytest.raises(ValidationError):
            contract(scale=2)
