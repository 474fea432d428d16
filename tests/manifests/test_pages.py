"""How numbers and paths read."""

import pytest

from manifests.pages.fragments import breakable, count, duration, nested, percent


@pytest.mark.parametrize(
    ("fraction", "digits", "expected"),
    [
        (0.853, 1, "85.3 %"),
        (1.0, 1, "100.0 %"),
        (0.0, 1, "0.0 %"),
        (0.9999, 1, "> 99.9 %"),
        (0.0001, 1, "< 0.1 %"),
        (0.999, 0, "> 99 %"),
    ],
)
def test_percent_never_rounds_to_all_or_nothing(fraction: float, digits: int, expected: str):
    assert percent(fraction, digits).replace("\u202f", " ") == expected


def test_thousands_stand_apart():
    assert count(1234567) == "1\u202f234\u202f567"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.42, "0.4 s"), (59.6, "1 min 0 s"), (75.2, "1 min 15 s"), (7322, "2 h 2 min")],
)
def test_durations_have_their_two_largest_units(seconds: float, expected: str):
    assert duration(seconds).replace("\u202f", " ") == expected


def test_a_path_breaks_after_its_slashes_and_is_escaped():
    assert breakable("a/<b>.jpg") == "a/<wbr>&lt;b&gt;.jpg"


def test_a_style_can_be_held_to_one_place():
    assert nested(".flow > li { color: red; }", "#data") == "\n#data {\n.flow > li { color: red; }\n}"
