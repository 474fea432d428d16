"""Which views each training image gets: decisions over a table. The pixels are made by the transform.

A view's parameters are drawn from (seed, sha256, view) alone, so they do not change with what stands beside the image.
"""

import json
from random import Random
from typing import Any

import polars as pl

from etl.augmentations import drawn, policy
from etl.steps import Site, Step
from manifests.digests import digest, rank
from manifests.errors import Exit, UserError, known
from manifests.recipe import SPLITS, Augment, ClassAugment
from manifests.store import Stage
from manifests.table import VIEWS, kept, read_table, table_digest, write_table


def make(step: Step, done: dict[str, Stage], site: Site) -> Stage:
    """Publish the view table of these settings."""
    assert isinstance(step.settings, Augment)
    curated = done["curate"]
    classes = curated.counts["classes"]
    views = augment(read_table(site.dataset.folder("curate", curated.key) / "images.parquet"), step.settings)
    with site.dataset.publish(step.begun) as (folder, finish):
        write_table(views, folder / "views.parquet")
        per_split = {(name, split): size for name, split, size in views.group_by("class", "split").len().iter_rows()}
        rows = [{"class": name, **{split: per_split.get((name, split), 0) for split in SPLITS}} for name in classes]
        counts = {
            "views": views.height,
            "augmented": views.filter(pl.col("view") > 0).height,
            "per_class": rows,
            "classes": classes,
        }
        return finish(digest([table_digest(views), classes]), counts)


def augment(table: pl.DataFrame, settings: Augment) -> pl.DataFrame:
    """The view table of a curated image table: view 0 of every kept row, views 1…K of train rows only."""
    images = kept(table).select("path", "sha256", "class", "split").sort("path")
    if unknown := sorted(set(settings.classes) - set(images["class"])):
        names = sorted(set(images["class"]))
        raise UserError(f"augment.classes: no class {unknown[0]!r} is kept. {known(unknown[0], names)}", Exit.RECIPE)
    rows: list[dict[str, Any]] = []
    for (name, split), members in images.group_by("class", "split", maintain_order=True):
        own = settings.classes.get(str(name), ClassAugment())
        stated = policy(settings.policy if own.policy is None else own.policy, "augment.policy")
        copies = settings.copies if own.copies is None else own.copies
        counts = _copies(members, copies, settings) if split == "train" else [0] * members.height
        for image, count in zip(members.iter_rows(named=True), counts, strict=True):
            rows += ({**image, **view} for view in _views(image["sha256"], count, stated, settings.seed))
    return pl.DataFrame(rows, schema=pl.Schema(VIEWS)).select(VIEWS.names()).sort("path", "view")


def _copies(members: pl.DataFrame, copies: int, settings: Augment) -> list[int]:
    """How many copies each image of a class gets: `copies`, or so many that the class has `balance_to` views."""
    missing = (settings.balance_to or 0) - members.height * (1 + copies)
    if missing <= 0:
        return [copies] * members.height
    each, rest = divmod(missing, members.height)
    ranked = sorted(range(members.height), key=lambda i: rank(settings.seed, "balance", members["sha256"][i]))
    lucky = set(ranked[:rest])
    return [copies + each + (i in lucky) for i in range(members.height)]


def _views(sha256: str, copies: int, stated: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    views: list[dict[str, Any]] = [{"view": 0, "parameters": "[]"}]
    for view in range(1, copies + 1):
        parameters = drawn(stated, Random(rank(seed, sha256, view)))
        views.append({"view": view, "parameters": json.dumps(parameters, separators=(",", ":"))})
    return views
