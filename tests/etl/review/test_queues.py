import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from etl.decisions import NOT_DUPLICATE, NOTHING, PIN, RELABEL, Decision, laid_over
from etl.review.queues import (
    NONE,
    QUEUES,
    Filter,
    Group,
    Mark,
    Suggestion,
    Tile,
    filtered,
    known,
    marks_of,
    page_of,
    rows_of,
    tiles_in,
)
from manifests.table import CURATED
from tests.etl.review.desks import row
from tests.makers import digits, rows

OVER = "over the cap: 2 of 3 kept"


def groups(queue: str, *made: object, suggestions: tuple[Suggestion, ...] = ()) -> list[Group]:
    table = [each for each in made if isinstance(each, type(row(0)))]
    return QUEUES[queue][1](known(table, sorted({each.class_name for each in table if each.class_name}), suggestions))


def shown(found: list[Group]) -> list[tuple[str, list[int]]]:
    return [(group.title, [tile.id for tile in group.tiles]) for group in found]


class TestRows:
    """A row of the table is a row of the page, whatever is null in it."""

    def test_nulls_are_empty_and_the_order_is_that_of_the_ids(self):
        table = rows(path=["a/1.png", "b.png"], sha256=[None, digits(2)])
        table = table.with_columns(pl.lit(None, kind).alias(name) for name, kind in CURATED.items())
        found = rows_of(table, {"a/1.png": 1, "b.png": 0})
        assert [(each.id, each.path, each.sha256, each.class_name, each.bits) for each in found] == [
            (0, "b.png", digits(2), "", 0),
            (1, "a/1.png", "", "", 0),
        ]


class TestMarks:
    """What a person decided, by image; pairs are seen from both sides."""

    TABLE = (row(0), row(1), row(2, sha256=digits(0)))

    def marks(self, *decisions: Decision) -> dict[int, Mark]:
        table = rows(path=[each.path for each in self.TABLE], sha256=[each.sha256 for each in self.TABLE])
        return marks_of(laid_over(table, decisions), self.TABLE)

    def test_nothing_decided_marks_nothing(self):
        assert marks_of(NOTHING, self.TABLE) == {}

    def test_rejected_pinned_and_relabelled(self):
        found = self.marks(Decision(digits(1), "", PIN), Decision(digits(1), "", RELABEL, "b"))
        assert found == {1: Mark("pin", "", "b")}

    def test_an_image_that_lies_there_twice_is_meant_twice(self):
        found = self.marks(Decision(digits(0), "", "reject", reason="blurred"))
        assert found == {0: Mark("reject", "blurred"), 2: Mark("reject", "blurred")}

    def test_a_pair_is_marked_on_both_images(self):
        found = self.marks(Decision(digits(1), "", NOT_DUPLICATE, reason=digits(0)))
        assert {number: mark.pairs for number, mark in found.items()} == {
            0: ((1, NOT_DUPLICATE),),
            1: ((0, NOT_DUPLICATE),),
            2: ((1, NOT_DUPLICATE),),
        }


class TestQueues:
    """Each queue in its order."""

    def test_classes_in_their_order_and_what_has_none_last(self):
        assert shown(groups("class", row(0, "b"), row(1, "a"), row(2, ""))) == [
            ("a", [1]), ("b", [0]), ("without a class", [2]),
        ]  # fmt: skip

    def test_a_cluster_has_its_kept_image_first_and_the_others_by_distance(self):
        near = {"cluster": digits(5), "rejected": "near duplicate: …"}
        found = groups("duplicates", row(1, bits=30, **near), row(2, bits=8, **near), row(5), row(7))
        assert shown(found) == [("a/005.png", [5, 2, 1])]
        assert [(tile.note, tile.against) for tile in found[0].tiles] == [
            ("a, kept", None), ("a, 8 bits", 5), ("a, 30 bits", 5),
        ]  # fmt: skip

    def test_label_conflicts_come_first_and_name_the_classes(self):
        copy = row(1, cluster=digits(0), rejected="duplicate: …")
        clash = {"rejected": "label conflict: …", "cluster": digits(3)}
        found = groups("duplicates", row(0), copy, row(3, "b", **clash), row(4, "c", **clash))
        assert [(group.title, group.note) for group in found] == [
            ("b/003.png", "label conflict: b, c; relabel one (1–9), or n if they differ"), ("a/000.png", "2 images"),
        ]  # fmt: skip

    def test_the_same_bytes_are_compared_with_nothing(self):
        found = groups("duplicates", row(0), row(1, sha256=digits(0), cluster=digits(0), rejected="duplicate: …"))
        assert [(tile.id, tile.note, tile.against) for tile in found[0].tiles] == [
            (0, "a, kept", None), (1, "a, the same bytes", None),
        ]  # fmt: skip

    def test_look_alikes_are_pairs_and_the_nearest_comes_first(self):
        found = groups("alike", row(0, like=digits(2), like_bits=90), row(1, like=digits(2), like_bits=70), row(2))
        assert shown(found) == [("a/001.png", [2, 1]), ("a/000.png", [2, 0])]
        assert {group.compared for group in found} == {True}
        assert [group.note for group in found] == ["70 of 512 bits differ", "90 of 512 bits differ"]

    def test_suggestions_keep_their_order_and_those_of_images_that_are_gone_are_left_out(self):
        said = [Suggestion(digits(n), f"a/{n:03}.png", "b", 0.1, 0.876) for n in (9, 1, 0)]
        found = groups("suggested", row(0), row(1), suggestions=tuple(said))
        assert [(tile.id, tile.note, tile.likely) for tile in found[0].tiles] == [
            (1, "a → b 88\u202f%", "b"),
            (0, "a → b 88\u202f%", "b"),
        ]

    def test_the_class_that_is_doubted_stays_the_one_that_was_looked_at(self):
        found = groups("suggested", row(0, "b"), suggestions=(Suggestion(digits(0), "b/000.png", "b", 0.1, 0.9, "a"),))
        assert [(tile.labelled, tile.likely) for tile in found[0].tiles] == [("a", "b")]

    def test_reasons_by_how_many_they_left_out(self):
        found = groups("rejected", row(0, rejected="unusable: truncated"), row(1, rejected=OVER), row(2, rejected=OVER))
        assert shown(found) == [("over the cap", [1, 2]), ("unusable", [0])]
        assert [group.tiles[0].note for group in found] == ["a, 2 of 3 kept", "a, truncated"]

    def test_a_queue_without_images_has_no_groups(self):
        assert {name: groups(name) for name in QUEUES} == {name: [] for name in QUEUES}


class TestFilter:
    """What is shown of a queue."""

    ROWS = (row(0, "hat"), row(1, "hat", rejected=OVER, split=""), row(2, "shoe", split="val"))

    def shown(self, **wanted: str) -> list[int]:
        found = filtered(groups("all", *self.ROWS), self.ROWS, {1: Mark("pin")}, Filter(**wanted))
        return [tile.id for group in found for tile in group.tiles]

    def test_by_class_split_state_and_words_of_the_path(self):
        assert self.shown() == [0, 1, 2]
        assert self.shown(class_name="hat") == [0, 1]
        assert self.shown(split="val") == [2]
        assert [self.shown(state=state) for state in ("kept", "rejected", "decided", "undecided")] == [
            [0, 2], [1], [1], [0, 2],
        ]  # fmt: skip
        assert self.shown(search="HAT 1.png") == [1]
        assert self.shown(search="nothing of the kind") == []

    def test_compared_images_stay_together(self):
        pair = [Group("a", "", (Tile(0), Tile(2, "", 0)), compared=True)]
        assert filtered(pair, self.ROWS, {}, Filter(class_name="shoe")) == pair
        assert filtered(pair, self.ROWS, {}, Filter(class_name="coat")) == []


class TestPages:
    """Every tile is on one page, in order."""

    @given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12), st.integers(1, 7))
    def test_all_pages_together_are_the_queue(self, sizes: list[tuple[int, bool]], size: int):
        numbers = iter(range(1000))
        made = [Group("", "", tuple(Tile(next(numbers)) for _ in range(n)), compared) for n, compared in sizes]
        count = page_of(made, 0, size)[1]
        pages = [page_of(made, number, size)[0] for number in range(count)]
        assert [tile for page in pages for group in page for tile in group.tiles] == [t for g in made for t in g.tiles]
        assert all(tiles_in(page) <= size or any(group.compared for group in page) for page in pages)

    def test_compared_images_are_not_torn_apart(self):
        made = [Group("", "", (Tile(0), Tile(1)), compared=True), Group("", "", (Tile(2), Tile(3)), compared=True)]
        assert page_of(made, 1, 3) == (made[1:], 2)

    def test_a_page_beyond_the_last_is_the_last(self):
        assert page_of([Group("", "", (Tile(0),))], 7) == ([Group("", "", (Tile(0),))], 1)


def test_nobody_decided_is_no_mark():
    assert not any(NONE)
