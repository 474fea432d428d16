from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from etl import decisions
from etl.curate import beside, class_order, curate, funnel, marks, needed, resemblances
from etl.decisions import Decided, Decision, laid_over
from manifests.errors import UserError
from manifests.recipe import Curate
from manifests.table import EXTRACTED, kept
from tests.makers import digits, flipped, rows


def anything(seed: int, count: int) -> pl.DataFrame:
    """A table with every kind of fault, copies and near copies, from a few classes and splits."""
    generator = np.random.default_rng(seed)

    def any_of(*values: Any) -> list[Any]:
        return [values[i] for i in generator.integers(0, len(values), count)]

    shas = [digits(int(i)) for i in generator.integers(0, max(2, count * 3 // 4), count)]
    states = any_of("train", "val", "test", None) if seed % 3 == 0 else [None] * count
    labels = dict(zip(shas, any_of("a", "b", "c"), strict=True))
    base = [digits(labels[sha] if int(sha[0], 16) % 3 else f"{sha} alone") for sha in shas]
    given = dict(zip(shas, states, strict=True)) if seed % 2 else {}
    return rows(
        path=[f"{i:04}" for i in generator.permutation(count)],
        sha256=shas,
        label=[
            labels[sha] if int(sha[1:3], 16) > 8 else label for sha, label in zip(shas, any_of("a", "b"), strict=True)
        ],
        source_split=[given.get(sha, state) for sha, state in zip(shas, states, strict=True)],
        phash256=[flipped(b, int(sha[2], 16) * 5) for b, sha in zip(base, shas, strict=True)],
        dhash256=base,
        phash=[int(b[:16], 16) ^ int(sha[3], 16) for b, sha in zip(base, shas, strict=True)],
        width=any_of(20, 40, 64, 640),
        format=any_of("PNG", "JPEG"),
        sampled=any_of(True, True, True, False),
        luma_std=[0.0 if int(sha[4], 16) < 3 else 50.0 for sha in shas],
        pixels=[f"pixels {labels[sha]}" if int(sha[4], 16) < 3 else None for sha in shas],
        problem=any_of(None, None, None, None, "truncated"),
    )


def by_hand_of(table: pl.DataFrame, lines: int) -> Decided:
    """Decisions of every kind about images of the table, drawn from their number."""
    generator = np.random.default_rng(lines)
    shas = table["sha256"].drop_nulls().to_list()
    kinds = (decisions.REJECT, decisions.PIN, decisions.DUPLICATE, decisions.NOT_DUPLICATE, decisions.RELABEL)
    said = [
        Decision(one, "", kinds[kind], "b" if kinds[kind] == "relabel" else "", other)
        for kind in generator.integers(0, 5, lines)
        for one, other in [generator.choice(shas, 2).tolist()]
        if "b" in table["label"].to_list()
    ]
    found = laid_over(table, said)
    # Two splits are given for one image only where a person pins it in both: that is refused, and tested by itself.
    return found if table["source_split"].is_null().all() else found._replace(pinned=frozenset[str]())


ASKED = st.builds(
    Curate,
    classes=st.sampled_from([(), ("a", "b"), ("c", "a")]),
    rename=st.sampled_from([{}, {"a": "b"}]),
    max_per_class=st.sampled_from([None, 2, 4]),
    min_per_class=st.sampled_from([None, 2]),
    drop_small_classes=st.just(value=True),
    min_side=st.sampled_from([None, 32]),
    dedupe=st.sampled_from(["near:64", "phash:4", "dhash:24", "exact"]),
    on_conflict=st.sampled_from(["reject", "keep"]),
    faults=st.sampled_from([{}, {"uniform": None}]),
    split=st.sampled_from(["auto", "0.8,0.2", "0.6,0.2,0.2"]),
    seed=st.integers(0, 3),
)


class TestLaws:
    """Whatever the table and the settings: nothing is lost, nothing leaks, and the order of rows says nothing."""

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 60), ASKED, st.integers(0, 99), st.integers(0, 12))
    def test_kept_and_rejected_are_all_that_was_found(
        self, seed: int, count: int, asked: Curate, order: int, lines: int
    ):
        table = anything(seed, count)
        by_hand = by_hand_of(table, lines)
        try:
            marked = curate(table, asked, by_hand)
        except UserError as refused:
            assert "nothing is left" in str(refused) or "no class" in str(refused)  # noqa: PT017
            return
        assert marked.select(EXTRACTED.names()).equals(table)
        summary = funnel(marked, class_order(marked, asked))
        assert summary["kept"] + sum(summary["rejected"].values()) == summary["found"] == count
        assert (marked["split"].is_null() == marked["rejected"].is_not_null()).all()
        placed = sum(row[split] for row in summary["per_class"] for split in ("train", "val", "test"))
        assert placed == summary["kept"]
        images = kept(marked)
        unpinned = images.filter(~pl.col("path").is_in(list(by_hand.pinned)))
        assert unpinned["sha256"].is_unique().all()
        assert unpinned["cluster"].is_unique().all()
        assert unpinned["cluster"].equals(unpinned["sha256"].alias("cluster"))
        assert marked.filter(pl.col("path").is_in(list(by_hand.rejected)))["rejected"].is_not_null().all()
        if images["source_split"].is_null().all() or asked.split != "auto":
            assert images.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
        shuffled = curate(table.sample(fraction=1, shuffle=True, seed=order), asked, by_hand)
        assert shuffled.sort("path").equals(marked.sort("path"))
        assert curate(table, asked, by_hand, resemblances(table, asked)).equals(marked)
        narrow = marks(table.select(needed(asked)), asked, by_hand)
        assert beside(table.lazy(), narrow).collect().equals(marked)

    def test_the_tables_that_are_tried_have_every_fault(self):
        marked = [curate(anything(seed, 60), Curate(max_per_class=4, min_side=32)) for seed in range(30)]
        said = {reason.split(": ")[0] for table in marked for reason in table["rejected"].drop_nulls()}
        assert said == {
            "unusable", "not in the random sample", "too small", "no split in the source", "duplicate",
            "near duplicate", "label conflict", "over the cap", "blank duplicate",
        }  # fmt: skip

    def test_copies_share_a_split_where_they_are_kept(self):
        table = rows(sha256=[digits(i // 2) for i in range(40)])
        marked = curate(table, Curate(dedupe="off", split="0.5,0.5"))
        assert set(marked["split"]) == {"train", "val"}
        assert marked.group_by("sha256").agg(pl.col("split").n_unique())["split"].max() == 1
