import threading
import time
from pathlib import Path

from etl.decisions import Decision
from etl.review.moment import ClassCount, Moment, Watch, counted, differences
from etl.review.queues import Mark, Row
from tests.etl.review.desks import desk, row

OVER = "over the cap: 1 of 2 kept"


def moment(*rows: Row, marks: dict[int, Mark] | None = None) -> Moment:
    names = sorted({each.class_name for each in rows})
    return Moment(rows, marks or {}, names, counted(rows, names))


class TestCounts:
    """Each class: found, kept, kept by split, over the cap."""

    def test_they_add_up(self):
        rows = [row(0, "hat"), row(1, "hat", split="val"), row(2, "hat", rejected=OVER, split=""), row(3, "coat")]
        assert counted(rows, ["hat", "coat", "none"]) == [
            ClassCount("hat", 3, 2, (1, 1, 0), 1),
            ClassCount("coat", 1, 1, (1, 0, 0), 0),
            ClassCount("none", 0, 0, (0, 0, 0), 0),
        ]


class TestDifferences:
    """What a decision changed is said in counts and in images that moved by themselves."""

    def test_one_is_taken_from_over_the_cap_for_the_one_that_went(self):
        before = moment(row(0, "hat"), row(1, "hat", rejected=OVER, split=""), row(2, "hat"))
        after = moment(
            row(0, "hat", rejected="by hand: dark", split=""), row(1, "hat"), row(2, "hat"), marks={0: Mark("reject")}
        )
        assert differences(before, after) == ["1 taken from over the cap"]

    def test_a_class_with_fewer_images_says_so(self):
        after = moment(row(0, "hat", rejected="by hand: dark", split=""), row(1, "hat"), marks={0: Mark("reject")})
        assert differences(moment(row(0, "hat"), row(1, "hat")), after) == ["hat 2 → 1"]

    def test_another_number_in_a_reason_is_no_movement(self):
        before = moment(row(0, rejected="over the cap: 400 of 795 kept", split=""))
        after = moment(row(0, rejected="over the cap: 400 of 794 kept", split=""))
        assert differences(before, after) == []

    def test_nothing_moved_says_nothing(self):
        assert differences(moment(row(0)), moment(row(0))) == []


class TestLooking:
    """Curate itself says what a decision changes, exactly."""

    def test_a_rejected_image_makes_room_under_the_cap(self, tmp_path: Path):
        here = desk(tmp_path, {"hat": 4, "coat": 3}, max_per_class=2, split="0.5,0.5")
        kept = next(each for each in here.moment.rows if each.class_name == "hat" and not each.rejected)
        after = here._look(here.moment)  # pyright: ignore[reportPrivateUsage]
        assert differences(here.moment, after) == []
        here.ledger.grant([_reject(kept)])
        here.refresh()
        after = here._look(here.moment)  # pyright: ignore[reportPrivateUsage]
        assert [each.kept for each in after.counts] == [2, 2]
        assert "1 taken from over the cap" in differences(here._moment, after)  # pyright: ignore[reportPrivateUsage]
        here.close()

    def test_where_nothing_is_left_the_reason_is_said_and_what_was_there_stands(self, tmp_path: Path):
        here = desk(tmp_path, {"hat": 2}, split="0.5,0.5")
        before = here.moment
        for each in before.rows:
            here.ledger.grant([_reject(each)])
        after = here._look(before)  # pyright: ignore[reportPrivateUsage]
        assert after.trouble.startswith("curate: nothing is left of 2 files")
        assert (after.counts, {mark.stays for mark in after.marks.values()}) == (before.counts, {"reject"})
        here.close()


def _reject(of: Row):
    from etl.review.ledger import Wish

    return Wish(of.sha256, of.path, "stays", to={"decision": "reject", "reason": "dark"})


class TestWatching:
    """Decisions that come while curate runs wait for one more run, not for one each."""

    def test_many_askings_are_few_runs(self):
        runs: list[int] = []
        asked: list[Decision] = []
        idle = threading.Event()

        def make(before: Moment | None) -> Moment:
            runs.append(len(asked))
            time.sleep(0.05)
            return moment(row(0))

        watch = Watch(make, moment(row(0)))
        for number in range(200):
            asked.append(Decision("", str(number), "pin"))
            watch.ask()
        while watch.is_busy:
            idle.wait(0.01)
        watch.stop()
        assert (runs[-1], len(runs) <= 3) == (200, True)
