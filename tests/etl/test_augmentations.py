from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from etl.augmentations import OPERATIONS, PRESETS, augmented, drawn, policy
from manifests.errors import Exit, UserError
from tests.makers import UINT8, array, image, quarters

SINGLE = {name: {name: of.default} for name, of in OPERATIONS.items()}


def refusal(asked: Any) -> str:
    with pytest.raises(UserError) as raised:
        policy(asked, "augment.policy")
    assert raised.value.code == Exit.RECIPE
    return str(raised.value)


def mean(picture: Image.Image) -> float:
    return float(array(picture).mean())


class TestPolicy:
    """A policy is a preset, a list by name, or a table; what it does not know it refuses with the nearest."""

    @pytest.mark.parametrize("name", ["light", "strong"])
    def test_presets_are_lists_of_what_is_known(self, name: str):
        assert policy(name, "x") == PRESETS[name]
        assert policy(PRESETS[name], "x") == PRESETS[name]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("rotate:15,flip:vertical", {"rotate": 15.0, "flip": "vertical"}),
            (" flip , blur:2 ", {"flip": "horizontal", "blur": 2.0}),
            ({"rotate": 30, "flip": True, "noise": None}, {"rotate": 30, "flip": "horizontal", "noise": 8}),
            ("rotate:180", {"rotate": 180.0}),
        ],
    )
    def test_operations_with_strengths_or_their_defaults_in_the_order_stated(
        self, asked: Any, expected: dict[str, Any]
    ):
        assert list(policy(asked, "x").items()) == list(expected.items())

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_every_default_is_accepted(self, name: str):
        assert policy(name, "x") == SINGLE[name]

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("rotate:181", "rotate = 181.0: expected degrees at the most, either way, such as 15."),
            ("rotate:0", "rotate = 0.0: expected degrees at the most, either way, such as 15."),
            ("rotate:-5", "rotate = -5.0: expected degrees at the most, either way, such as 15."),
            ("rotate:nan", "rotate = nan: expected degrees at the most, either way, such as 15."),
            ("rotate:much", "rotate = 'much': expected degrees at the most, either way, such as 15."),
            ("flip:sideways", "flip = 'sideways': expected horizontal, vertical or both, such as horizontal."),
            ({"crop": False}, "crop = False: expected least share of the area that stays, such as 0.8."),
            ({"flip": ["both"]}, "flip = ['both']: expected horizontal, vertical or both, such as horizontal."),
        ],
    )
    def test_a_strength_out_of_range_is_refused_with_what_is_expected(self, asked: Any, said: str):
        assert refusal(asked) == f"augment.policy: {said}"

    def test_an_unknown_name_is_refused_with_the_nearest(self):
        assert refusal("rotat:10").startswith("augment.policy: unknown augmentation 'rotat'. Known: rotate, scale,")
        assert refusal("rotat:10").endswith("Did you mean 'rotate'?")

    @pytest.mark.parametrize("asked", ["", " , ", {}])
    def test_a_policy_of_nothing_is_refused(self, asked: Any):
        assert refusal(asked).startswith("augment.policy: names no augmentation. Known: light, strong,")


class TestDrawn:
    """Parameters are plain JSON, within their strength, and those of the generator alone."""

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_equal_generators_draw_equal_parameters(self, name: str):
        assert drawn(SINGLE[name], Random("a")) == drawn(SINGLE[name], Random("a"))
        if name != "flip":
            assert drawn(SINGLE[name], Random("a")) != drawn(SINGLE[name], Random("b"))

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 10**9))
    def test_they_stay_within_the_strength(self, seed: int):
        one = {name: values for name, *values in drawn({n: of.default for n, of in OPERATIONS.items()}, Random(seed))}
        assert abs(one["rotate"][0]) <= 15
        assert 0.9 <= one["scale"][0] <= 1.1
        assert max(map(abs, one["shift"])) <= 0.1
        side, x, y = one["crop"]
        assert side**2 >= 0.8 - 1e-5
        assert max(abs(x), abs(y)) <= 1 - side + 1e-5
        left, top, width, height = one["erase"]
        assert width * height <= 0.1 + 1e-5
        assert 0 <= left <= left + width <= 1 + 1e-5
        assert 0 <= top <= top + height <= 1 + 1e-5
        assert 0 <= one["blur"][0] <= 1
        assert 0 <= one["noise"][0] <= 8

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("horizontal", {(0, 0), (1, 0)}),
            ("vertical", {(0, 0), (0, 1)}),
            ("both", {(0, 0), (0, 1), (1, 0), (1, 1)}),
        ],
    )
    def test_flips_go_the_ways_asked_for_and_no_other(self, kind: str, expected: set[tuple[int, int]]):
        assert {tuple(drawn({"flip": kind}, Random(seed))[0][1:]) for seed in range(60)} == expected


class TestGeometry:
    """Turns and flips are exact where the pixels allow it."""

    def test_nothing_asked_is_the_picture_itself(self):
        assert array(augmented(image(), [])).tolist() == array(image()).tolist()

    @pytest.mark.parametrize(
        "parameters",
        [["rotate", 0.0], ["scale", 1.0], ["shift", 0, 0], ["flip", 0, 0], ["crop", 1, 0, 0], ["shear", 0]],
    )
    def test_a_geometry_that_does_nothing_changes_no_pixel(self, parameters: list[Any]):
        assert array(augmented(image(), [parameters])).tolist() == array(image()).tolist()

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    @pytest.mark.parametrize(("flip", "axes"), [((1, 0), 1), ((0, 1), 0), ((1, 1), (0, 1))])
    @pytest.mark.parametrize("size", [(64, 48), (33, 57)])
    def test_a_flip_is_exact(self, size: tuple[int, int], flip: tuple[int, int], axes: Any, mode: str):
        picture = image(*size, mode=mode)
        assert np.array_equal(array(augmented(picture, [["flip", *flip]])), np.flip(array(picture), axes))

    @pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, -1), (180, 2), (-180, 2)])
    def test_quarter_turns_of_a_square_are_exact_within_a_level(self, degrees: float, turns: int):
        picture = image(40, 40)
        expected = [np.rot90(array(picture), k).astype(int) for k in (turns, -turns)]
        turned = array(augmented(picture, [["rotate", degrees]])).astype(int)
        assert min(np.abs(turned - each).max() for each in expected) <= 1

    def test_a_positive_rotation_and_its_negative_turn_opposite_ways(self):
        one, other = (array(augmented(image(40, 40), [["rotate", d]])).astype(int) for d in (90, -90))
        assert np.abs(np.rot90(one, 2) - other).max() <= 1

    def test_a_shift_by_whole_pixels_moves_them_and_mirrors_the_rest(self):
        picture = image(40, 20)
        moved = array(augmented(picture, [["shift", 0.25, 0.1]]))
        assert np.array_equal(moved[2:, 10:], array(picture)[:-2, :-10])
        assert np.array_equal(moved[2:, :10], array(picture)[:-2, :10][:, ::-1])

    def test_a_crop_of_the_middle_half_is_the_middle_enlarged(self):
        values = np.zeros((40, 40), UINT8)
        values[10:30, 10:30] = 200
        cropped = array(augmented(Image.fromarray(values), [["crop", 0.5, 0, 0]]))
        assert set(cropped[4:-4, 4:-4].ravel().tolist()) == {200}

    @pytest.mark.parametrize("size", [(40, 80), (80, 40)])
    def test_a_crop_in_the_corner_is_the_corner_whatever_the_shape(self, size: tuple[int, int]):
        width, height = size
        values = np.full((height, width), 50, UINT8)
        values[: height // 2, : width // 2] = 200
        cropped = array(augmented(Image.fromarray(values), [["crop", 0.5, -0.5, -0.5]]))
        assert set(cropped[4:-4, 4:-4].ravel().tolist()) == {200}

    def test_a_scale_of_two_enlarges_the_middle(self):
        values = np.zeros((40, 40), UINT8)
        values[10:30, 10:30] = 200
        assert set(array(augmented(Image.fromarray(values), [["scale", 2.0]]))[4:-4, 4:-4].ravel().tolist()) == {200}

    def test_beyond_the_border_is_the_mirror_image_and_no_black(self):
        picture = Image.new("RGB", (50, 30), (90, 120, 150))
        for seed in range(10):
            asked = {"rotate": 180, "scale": 0.9, "shift": 1, "shear": 60}
            assert (
                array(augmented(picture, drawn(asked, Random(seed)))).reshape(-1, 3).tolist() == [[90, 120, 150]] * 1500
            )

    def test_a_rotation_of_a_wide_picture_does_not_shear_it(self):
        values = np.zeros((60, 120), UINT8)
        values[20:40, 50:70] = 255  # a square of 20 in the middle: turned by 90° it is the same square
        turned = array(augmented(Image.fromarray(values), [["rotate", 90.0]])).astype(int)
        assert np.abs(turned - values)[:, 30:90].max() <= 1  # further out is the mirror image


class TestAnyView:
    """Whatever is drawn: the same size and mode, and the same pixels again."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from([*SINGLE.values(), *PRESETS.values()]),
        st.integers(0, 10**9),
        st.sampled_from(["L", "RGB"]),
        st.sampled_from([(1, 1), (1, 9), (32, 32), (48, 20)]),
    )
    def test_size_and_mode_stay_and_pixels_are_determined(
        self, stated: dict[str, Any], seed: int, mode: str, size: tuple[int, int]
    ):
        picture = image(*size, mode=mode)
        parameters = drawn(stated, Random(seed))
        before = picture.tobytes()
        one, other = augmented(picture, parameters), augmented(picture, parameters)
        assert (one.size, one.mode) == (size, mode)
        assert one.tobytes() == other.tobytes()
        assert picture.tobytes() == before


class TestAppearance:
    """The rest changes what it says, and only that."""

    def test_brightness_multiplies(self):
        assert array(augmented(Image.new("RGB", (2, 2), (100, 50, 0)), [["brightness", 1.5]]))[0, 0].tolist() == [
            150,
            75,
            0,
        ]

    def test_contrast_spreads_around_the_mean(self):
        picture = Image.fromarray(np.array([[100, 140]], UINT8))
        assert array(augmented(picture, [["contrast", 0.5]])).tolist() == [[110, 130]]

    def test_saturation_0_is_grey_and_a_grey_picture_stays(self):
        assert np.ptp(array(augmented(quarters(), [["saturation", 0.0]])), axis=-1).max() == 0
        assert augmented(image(mode="L"), [["saturation", 0.0]]).tobytes() == image(mode="L").tobytes()

    def test_blur_smooths_more_in_a_larger_picture(self):
        edges = [np.ptp(array(augmented(quarters(s, s), [["blur", 8.0]]))[0, :, 0]) for s in (32, 224)]
        assert edges == [255, 255]
        widths = [
            int(((row := array(augmented(quarters(s, s), [["blur", 8.0]]))[1, :, 0]) > 5)[row < 250].sum())
            for s in (56, 224)
        ]
        assert 0 < widths[0] < widths[1]

    def test_noise_is_that_of_its_seed_with_about_its_deviation(self):
        picture = Image.new("L", (200, 200), 128)
        one, same, other = (augmented(picture, [["noise", 8.0, seed]]) for seed in (1, 1, 2))
        assert one.tobytes() == same.tobytes() != other.tobytes()
        assert 7.5 < float(array(one).std()) < 8.5
        assert 127.5 < mean(one) < 128.5

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_erase_paints_its_box_grey_and_nothing_else(self, mode: str):
        picture = image(40, 20, mode=mode)
        erased = array(augmented(picture, [["erase", 0.25, 0.5, 0.5, 0.25]]))
        assert set(erased[10:15, 10:30].ravel().tolist()) == {128}
        changed = np.argwhere((erased != array(picture)).reshape(20, 40, -1).any(-1))
        assert changed.min(0).tolist() >= [10, 10]
        assert changed.max(0).tolist() <= [14, 29]
