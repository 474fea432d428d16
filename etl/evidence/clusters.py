"""Images that show the same, side by side: the kept one first, why it was kept, and how far off the others are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from etl.copies import KEEP_FIRST, LOSSLESS
from etl.evidence.cards import Card, cards
from etl.evidence.evidence import Evidence
from etl.evidence.thumbnails import Row
from etl.funnel import CONFLICTS, COPIES, step_of
from manifests.recipe import SPLITS, Curate

MEMBERS = 5  # of a cluster that are drawn


@dataclass(frozen=True)
class Cluster:
    """Some images of a cluster as a section shows them."""

    names: list[str]  # of its classes, the kept one's first
    splits: list[str]  # that the source gives its images, where they are not all the same
    cards: list[Card]
    more: int  # images that are not drawn
    about: str = ""  # what is to be said of them together


def chosen(clustered: pl.DataFrame, largest: int, furthest: int, most: int) -> list[str]:
    """Up to `most` clusters: the largest, those with the furthest member, and then as their digests fall."""
    each = clustered.group_by("cluster").agg(pl.len().alias("size"), pl.col("bits").max()).sort("cluster")
    large = each.sort("size", "cluster", descending=[True, False]).head(largest)["cluster"]
    far = each.filter(pl.col("bits") > 0).sort("bits", "cluster", descending=[True, False], nulls_last=True)
    names = dict.fromkeys([*large, *far.head(furthest)["cluster"], *each["cluster"].head(most)])
    return list(names)[:most]


def drawn(evidence: Evidence, clustered: pl.DataFrame, names: Sequence[str]) -> list[Cluster]:
    """These clusters, in this order."""
    rows: dict[str, list[Row]] = {name: [] for name in names}
    for row in clustered.filter(pl.col("cluster").is_in(list(names))).iter_rows(named=True):
        rows[row["cluster"]].append(row)
    return [_cluster(evidence, members) for members in rows.values()]


def _cluster(evidence: Evidence, members: list[Row]) -> Cluster:
    first, shown = members[0], members[:MEMBERS]
    notes = [_note(row, first) for row in shown]
    if is_kept_as(first):
        notes[0] = _kept(first, members[1:], evidence.settings)
    given = {row["source_split"] for row in members}
    splits = [split for split in SPLITS if split in given]
    return Cluster(
        names=list(dict.fromkeys(row["class"] or "no class" for row in members)),
        splits=splits if len(splits) > 1 else [],
        cards=cards(evidence, shown, notes, [_mark(first), *[""] * (len(shown) - 1)]),
        more=len(members) - len(shown),
    )


def is_kept_as(row: Row) -> bool:
    """Whether the first of a cluster is the one that its copies gave way to; a later rule may still have taken it."""
    return row["kind"] is None or step_of(row["kind"]) not in {COPIES, CONFLICTS}


def _mark(first: Row) -> str:
    """The style of the first of a cluster: kept, kept until a later rule took it, or like the others."""
    return ("kept" if first["kind"] is None else "was-kept") if is_kept_as(first) else ""


def why_kept(first: Row, other: Row, settings: Curate) -> str:
    """The first thing in which the kept image is worth more than this copy, in the order that `curate` asks; empty
    where by these measures it is not."""
    ours, theirs = (_worth(row, settings) for row in (first, other))
    differs = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), None)
    if differs is None or ours[differs] > theirs[differs]:
        return ""
    split = settings.given_as.get(first["source_split"], first["source_split"])
    return ("pinned", f"stands in {split}", "more pixels", "lossless", "more bytes a pixel", "first by path")[differs]


def _worth(row: Row, settings: Curate) -> tuple[Any, ...]:
    """Smaller is better."""
    area = max(1, (row["width"] or 0) * (row["height"] or 0))
    split = settings.given_as.get(row["source_split"], row["source_split"])
    is_pinned = "pin" in (row["decided"] or "").split(", ")
    return (
        not is_pinned,
        KEEP_FIRST.get(split or "", 2),
        -area,
        row["format"] not in LOSSLESS,
        -(row["bytes"] or 0) / area,
        row["path"],
    )


def _kept(first: Row, others: list[Row], settings: Curate) -> str:
    why = dict.fromkeys(why_kept(first, other, settings) for other in others)
    stays = "kept" if first["kind"] is None else f"kept before its copies, then left out ({first['kind']})"
    return ": ".join(part for part in (stays, ", ".join(filter(None, why))) if part)


def _note(row: Row, first: Row) -> str:
    """How far it is from the first one."""
    if row["sha256"] == first["sha256"]:
        return "the same file" if row is not first else ""
    return "" if row["bits"] is None or row is first else f"{row['bits']} bits off"
