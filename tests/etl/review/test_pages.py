from xml.etree import ElementTree as ET

from etl.review.moment import Moment, counted
from etl.review.pages import missing, shown
from etl.review.queues import Group, Mark, Tile
from tests.etl.review.desks import row


class TestMissing:
    """What stands in for an image that cannot be shown says why."""

    def test_the_reason_is_text_whatever_it_holds(self):
        drawn = ET.fromstring(missing("<script>\x00 & \ud800"))
        assert [each.text for each in drawn.iter() if each.tag.endswith("text")] == ["<script>  &  "]
        assert not [each for each in drawn.iter() if each.tag.endswith("script")]


class TestShown:
    """A tile knows whether the page's own file decided on it."""

    def test_what_another_list_rejected_is_foreign(self):
        rows = [row(0), row(1), row(2)]
        now = Moment(rows, {0: Mark("reject"), 1: Mark("reject")}, ["a"], counted(rows, ["a"]))
        (group,) = shown([Group("a", "", (Tile(0), Tile(1), Tile(2)))], now, {(rows[1].sha256, "stays")})
        assert [tile.foreign for tile in group["chunks"][0]] == [True, False, False]
