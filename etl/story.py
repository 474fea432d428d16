"""An image's whole story: what it is, what was decided and why, which views and where their pixels lie."""

from typing import Any

import polars as pl

from manifests.errors import Exit, UserError, known
from manifests.store import DatasetStore, Stage
from manifests.table import read_table

LEAST_DIGITS = 6  # of a sha256 given in part


def story(image: str, dataset: DatasetStore, stages: dict[str, Stage]) -> dict[str, Any]:
    """What is known of an image, by its path or by sha256 (at least 6 digits). Raises UserError where there is none."""
    stage = "curate" if "curate" in stages else "extract"
    table = read_table(dataset.folder(stage, stages[stage].key) / "images.parquet")
    row = _row(image, table, dataset.name)
    told: dict[str, Any] = {"image": row}
    if row.get("cluster") is not None:
        cluster = table.filter((pl.col("cluster") == row["cluster"]) & (pl.col("path") != row["path"])).sort("path")
        told["cluster"] = cluster.select("path", "class", "split", "rejected", "bits").to_dicts()
        near = pl.col("sha256").eq(pl.lit(row["like"], pl.String)) | (pl.col("like") == row["sha256"])
        told["alike"] = table.filter(near).sort("path").select("path", "class", "split", "like_bits").to_dicts()
    if "transform" in stages:
        rows = read_table(dataset.folder("transform", stages["transform"].key) / "rows.parquet")
        wanted = ["view", "parameters", "shard", "row", "split"]
        told["views"] = rows.filter(pl.col("path") == row["path"]).select(wanted).sort("view").to_dicts()
    return told


def _row(image: str, table: pl.DataFrame, name: str) -> dict[str, Any]:
    """The one row that the path, its end, a place on disk that ends so, or the beginning of the sha256 names."""
    path = image.removeprefix("./")
    found = table.filter(pl.col("path") == path)
    if found.is_empty():
        ends = pl.col("path").str.ends_with("/" + path) | pl.lit("/" + path).str.ends_with("/" + pl.col("path"))
        begins = pl.col("sha256").str.starts_with(path.lower()) if len(path) >= LEAST_DIGITS else pl.lit(value=False)
        found = table.filter(ends | begins)
    if found.height == 1:
        return found.row(0, named=True)
    if found.height > 1:
        listed = ", ".join(found["path"].head(5)) + (", …" if found.height > 5 else "")
        raise UserError(
            f"{image}: {found.height} images of {name} are meant: {listed}; say the whole path.", Exit.USAGE
        )
    near = known(image, table["path"].to_list()[:2000]).rpartition("Did you mean")
    hint = f" Did you mean{near[2]}" if near[1] else " A hidden or system file has no row."
    raise UserError(f"{image}: no image of {name} has this path or sha256.{hint}", Exit.USAGE)


def lines(told: dict[str, Any]) -> list[str]:
    """The story in sentences."""
    image = told["image"]
    said = [image["path"], f"  sha256 {image['sha256'] or 'unknown: it could not be read'}"]
    if image["width"]:
        turned = f", EXIF orientation {image['orientation']}" if image["orientation"] != 1 else ""
        size = (
            f"{image['width']}×{image['height']} {image['format']} ({image['mode']}), {image['bytes']:,} bytes{turned}"
        )
        said.append(f"  {size}")
        said.append(
            f"  phash {image['phash']:016x}, grey mean {image['luma_mean']:.1f}, deviation {image['luma_std']:.1f}, "
            f"sharpness {image['sharpness']:.0f}, at most {image['chroma']:.0f} of 128 from grey"
        )
    said.append(f"  the source says: class {image['label'] or 'unknown'}, split {image['source_split'] or 'none'}")
    if "rejected" in image:
        kept = (
            f"kept as {image['class']!r} in {image['split']}"
            if not image["rejected"]
            else f"rejected: {image['rejected']}"
        )
        said.append(f"  {kept}")
        said += [f"  a person decided: {image['decided']}"] if image["decided"] else []
    elif image["problem"]:
        said.append(f"  cannot be used: {image['problem']}")
    for other in told.get("cluster", []):
        state = other["rejected"] or f"kept in {other['split']}"
        said.append(f"  same cluster: {other['path']} ({other['class']}), {other['bits']} bits: {state}")
    for other in told.get("alike", []):
        bits = image["like_bits"] if other["like_bits"] is None else other["like_bits"]
        where = f"{other['path']} ({other['class']}, {other['split']})"
        said.append(f"  resembles {where}, {bits} bits: no copy by the rules")
    for view in told.get("views", []):
        how = "as it is" if view["view"] == 0 else f"augmented by {view['parameters']}"
        said.append(f"  view {view['view']}: {view['shard']} row {view['row']} ({view['split']}), {how}")
    for run, guess in told.get("predictions", {}).items():
        said.append(f"  {run}: predicted {guess['predicted']!r} with {guess['probability']:.3f} ({guess['split']})")
    return said
