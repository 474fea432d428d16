"""Copies among the images that are left: which resemble each other, which of them stays, and whose label is believed.

`etl.likeness` finds all pairs of similar images from their hashes, `decide` makes clusters of the rows that are left
and says of each why it is a copy or in conflict, `lookalikes` names what a person should look at.
"""

from itertools import combinations

import numpy as np
import polars as pl

from etl import duplicates
from etl.decisions import Decided
from etl.duplicates import Hashes, Indices, Pairs, Stars
from etl.likeness import Likeness
from etl.measures import SILENT
from etl.splits import given_split
from manifests.recipe import DEDUPE_BITS, Curate

LOSSLESS = ["PNG", "BMP", "TIFF"]
KEEP_FIRST = {"test": 0, "val": 1, "train": 2}  # of two copies, the one in a split that judges is kept
NEEDED = [
    "path", "sha256", "class", "source_split", "width", "height", "format", "bytes", "luma_std", "pinned",
]  # fmt: skip


def decide(rows: pl.DataFrame, settings: Curate, alike: Likeness, decided: Decided) -> pl.DataFrame:
    """Row by row: cluster, bits, group, `copy` (why it is a copy) and `conflict` (why its label cannot be believed).

    Rows that are a copy of none of these may be left out: they change nothing.
    """
    rows = rows.select(NEEDED).with_row_index("row").sort(_preference(settings)).with_row_index("order")
    images = rows.unique("sha256", keep="first", maintain_order=True)
    point, found, words = _present(images, alike, decided)
    same = _by_hand(images, point, words, decided)
    near = Pairs(*(part[found.bits <= alike.radius] for part in found))
    star = duplicates.clusters(point, Pairs(*map(np.concatenate, zip(near, same, strict=True))), _own(images))
    rows = rows.join(_clustered(images, star, point, (words, alike.radius), decided), on="sha256", how="left")
    return (
        rows.with_columns(copy=_why(settings))
        .join(_conflicts(rows, settings), on="path", how="left")
        .sort("row")
        .select("cluster", "bits", "group", "copy", "conflict")
    )


def _preference(settings: Curate) -> list[pl.Expr]:
    """What is kept of a cluster: what a person pinned, the preferred split, more pixels, lossless, more bytes a pixel,
    the first path."""
    area = pl.col("width").cast(pl.Int64) * pl.col("height")
    return [
        ~pl.col("pinned"),
        given_split(settings).replace_strict(KEEP_FIRST, default=2, return_dtype=pl.Int8),
        -area,
        ~pl.col("format").is_in(LOSSLESS),
        -(pl.col("bytes") / area),
        pl.col("path"),
    ]


def _own(images: pl.DataFrame) -> Indices:
    return np.arange(images.height)


def _present(images: pl.DataFrame, alike: Likeness, decided: Decided) -> tuple[Indices, Pairs, Hashes]:
    """Each image's point among those that are here, the pairs of these points, and their hashes.

    An image that a person told apart from another gets a point of its own: what holds for it holds for no other.
    """
    apart = {sha256 for pair in decided.unlike for sha256 in pair} | decided.like_none
    here = alike.points.filter(pl.col("sha256").is_in(images["sha256"].implode())).unique("sha256", keep="any")
    old = images.select("sha256").join(here, on="sha256", how="left", maintain_order="left")["point"].to_numpy()
    alone = np.where(images["sha256"].is_in(list(apart)).to_numpy(), _own(images) + 1, 0)
    key, point = np.unique(old * (images.height + 1) + alone, return_inverse=True)
    of = key // (images.height + 1)
    found = alike.pairs
    starts, sizes = zip(*(_ranges(of, ends) for ends in (found.first, found.second)), strict=True)
    first, second = duplicates.products(starts[0], sizes[0], starts[1], sizes[1])
    bits = np.repeat(found.bits, sizes[0] * sizes[1])
    shared, count = np.unique(of, return_counts=True)
    twins = _ranges(of, shared[count > 1])
    one, other = duplicates.products(*twins, *twins)
    ahead = one < other
    every = Pairs(
        np.concatenate([first, one[ahead]]),
        np.concatenate([second, other[ahead]]),
        np.concatenate([bits, np.zeros(int(ahead.sum()), bits.dtype)]),
    )
    return point, _without(every, images, point, decided), alike.words[of]


def _ranges(ordered: Indices, values: Indices) -> tuple[Indices, Indices]:
    """Where each value's run begins in the ordered array, and how long it is: 0 where it is not there."""
    start = np.searchsorted(ordered, values)
    return start, np.searchsorted(ordered, values, side="right") - start


def _without(found: Pairs, images: pl.DataFrame, point: Indices, decided: Decided) -> Pairs:
    """The pairs but those that a person called no duplicates."""
    places = dict(zip(images["sha256"], point.tolist(), strict=True)) if decided.unlike or decided.like_none else {}
    alone = [places[sha256] for sha256 in decided.like_none if sha256 in places]
    told = [sorted((places[a], places[b])) for a, b in decided.unlike if a in places and b in places]
    span = int(point.max(initial=0)) + 1
    low, high = np.minimum(found.first, found.second), np.maximum(found.first, found.second)
    gone = np.isin(low * np.int64(span) + high, [a * span + b for a, b in told])
    gone |= np.isin(low, alone) | np.isin(high, alone)
    return Pairs(*(part[~gone] for part in found))


def _by_hand(images: pl.DataFrame, point: Indices, words: Hashes, decided: Decided) -> Pairs:
    """The pairs that a person called duplicates, however far apart their hashes are; what is a copy of a copy too."""
    places = dict(zip(images["sha256"], point.tolist(), strict=True)) if decided.same else {}
    groups = [{places[sha256] for sha256 in group if sha256 in places} for group in told_alike(decided)]
    ends = np.array([pair for group in groups for pair in combinations(sorted(group), 2)], np.int64).reshape(-1, 2)
    return Pairs(ends[:, 0], ends[:, 1], duplicates.distance(words[ends[:, 0]], words[ends[:, 1]]))


def told_alike(decided: Decided) -> list[list[str]]:
    """Groups of sha256 that a person's duplicates connect."""
    names = sorted({sha256 for pair in decided.same for sha256 in pair})
    number = {sha256: n for n, sha256 in enumerate(names)}
    ends = np.array([[number[one], number[other]] for one, other in sorted(decided.same)], np.int64).reshape(-1, 2)
    group = duplicates.components(len(names), ends[:, 0], ends[:, 1])
    return [[names[n] for n in np.flatnonzero(group == each)] for each in np.unique(group)]


def _clustered(
    images: pl.DataFrame, star: Stars, point: Indices, alike: tuple[Hashes, int], decided: Decided
) -> pl.DataFrame:
    """sha256 → cluster, bits, group, and of its keeper: where it is, and how the image came to be its copy."""
    words, radius = alike
    sha256, path, silent = images["sha256"], images["path"], images["luma_std"] < SILENT
    centre = pl.Series(star.centre, dtype=pl.Int64)
    group = {name: number for number, names in enumerate(told_alike(decided)) for name in names}
    told = sha256.replace_strict(group, default=None, return_dtype=pl.Int64)
    return images.select(
        "sha256",
        cluster=sha256[centre],
        bits=pl.Series(star.bits, dtype=pl.Int16),
        group=pl.Series(star.group),
        original="path",
        keeper=path[centre],
        by_hand=(told == told[centre]).fill_null(value=False),
        blank=silent & silent[centre],
        was_turned=pl.Series(duplicates.distance(words[point], words[point[star.centre]]) > radius),
    ).with_columns(group=pl.col("sha256").min().over("group"))


def _why(settings: Curate) -> pl.Expr:
    """Why a row is a copy, in words; null where it is the one that is kept, or pinned."""
    method = settings.dedupe.partition(":")[0]
    near = pl.format(
        f"near duplicate: {{}} of {DEDUPE_BITS.get(method, 0)} bits from {{}}{{}}",
        "bits",
        "keeper",
        pl.when("was_turned").then(pl.lit(", mirrored or turned")).otherwise(pl.lit("")),
    )
    return (
        pl.when(pl.col("path") == pl.col("keeper"))
        .then(None)
        .when(pl.col("path") != pl.col("original"))  # pinned or not: the image stays, its second file adds nothing
        .then(pl.format("duplicate: identical to {}", "original"))
        .when("pinned")
        .then(None)
        .when("by_hand")
        .then(pl.format("duplicate by hand: of {}", "keeper"))
        .when("blank")
        .then(pl.format("blank duplicate: says nothing, and has the same pixels as {}", "keeper"))
        .otherwise(near)
    )


def _conflicts(rows: pl.DataFrame, settings: Curate) -> pl.DataFrame:
    """path → reason, for the images of a cluster with more than one class of which none, or not theirs, is believed."""
    rows = rows.sort("order")
    mixed = rows.group_by("cluster").agg(pl.col("class").n_unique().alias("classes"))
    members = rows.join(mixed.filter(pl.col("classes") > 1), on="cluster", how="semi", maintain_order="left")
    pins = members.filter("pinned").group_by("cluster", maintain_order=True)
    pins = pins.agg(pl.col("class").alias("believed"), pl.col("path").first().alias("pin"))
    decided = members.join(pins, on="cluster").filter(~pl.col("class").is_in("believed"))
    why = "label conflict: a copy of {}, which a person pinned as '{}'"
    found = [decided.select("path", conflict=pl.format(why, "pin", pl.col("believed").list.first()))]
    if settings.on_conflict == "reject":
        found.append(_disbelieved(members.join(pins, on="cluster", how="anti", maintain_order="left")))
    return pl.concat(found)


def _disbelieved(members: pl.DataFrame) -> pl.DataFrame:
    """path → reason: every member with another one of another class, the one it would be kept as where that is one."""
    ends = ("path", "sha256", "class")
    firsts = members.unique("cluster", keep="first", maintain_order=True)
    firsts = firsts.select("cluster", *(pl.col(name).alias(f"first_{name}") for name in ends))
    both = members.join(firsts, on="cluster", maintain_order="left")
    others = both.filter(pl.col("class") != pl.col("first_class")).unique("cluster", keep="first", maintain_order=True)
    others = others.select("cluster", *(pl.col(name).alias(f"other_{name}") for name in ends))
    is_first = pl.col("class") == pl.col("first_class")
    told = both.join(others, on="cluster", maintain_order="left").with_columns(
        pl.when(is_first).then(f"other_{name}").otherwise(f"first_{name}").alias(f"other_{name}") for name in ends
    )
    is_near = (pl.col("cluster") == pl.col("sha256")) | (pl.col("cluster") == pl.col("other_sha256"))
    likeness = (  # two members may be twice as far from each other as from what they are copies of
        pl.when(pl.col("sha256") == pl.col("other_sha256")).then(pl.lit("identical to"))
        .when(is_near).then(pl.lit("near duplicate of"))
        .otherwise(pl.lit("a copy of the same image as"))
    )  # fmt: skip
    why = pl.format("label conflict: {} {}, which is '{}'", likeness, "other_path", "other_class")
    return told.select("path", conflict=why)


def lookalikes(rows: pl.DataFrame, settings: Curate, alike: Likeness, decided: Decided) -> pl.DataFrame:
    """Row by row: like, like_bits, of the kept images those that resemble another one without being a copy of it.

    Stars again: each is named once, with the kept image that one would keep of the two. Rows that resemble none of
    these may be left out: they change nothing.
    """
    images = rows.sort(_preference(settings)).unique("sha256", keep="first", maintain_order=True)
    point, found, _ = _present(images, alike, decided)
    star = duplicates.clusters(point, Pairs(*(part[found.bits > alike.radius] for part in found)), _own(images))
    like = images["sha256"][pl.Series(star.centre, dtype=pl.Int64)]
    marked = images.select("sha256", like=like, like_bits=pl.Series(star.bits, dtype=pl.Int16))
    marked = marked.filter(pl.col("like_bits") > 0)
    return rows.select("sha256").join(marked, on="sha256", how="left", maintain_order="left").drop("sha256")
