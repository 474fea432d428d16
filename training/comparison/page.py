"""The page of a comparison and its numbers, in a folder of their own: whole or not at all."""

from dataclasses import asdict
from pathlib import Path

import polars as pl

from manifests.digests import digest
from manifests.pages.sections import page
from manifests.store import DatasetStore, flush, sweep
from training.compare import Comparison
from training.comparison import sections
from training.comparison.templates import TEMPLATES
from training.paired import Contrast
from training.writing import replacing

PAGE = "comparison.html"
LONGEST = 150  # characters of a folder's name made of the runs'; file systems take 255 bytes


def write_comparison(dataset: DatasetStore, comparison: Comparison) -> Path:
    """Write `STORE/DATASET/comparisons/NAME-vs-NAME…/`, comparison.html and the numbers as CSV; the page's path.

    What a comparison of the same runs left there is replaced. Raises UserError on a full disk.
    """
    target = dataset.root / "comparisons" / folder_name(comparison)
    made = page(TEMPLATES, sections, comparison)
    sweep(target.parent)
    with replacing(target, "If the disk is full, free some space (prune); compare again.") as folder:
        folder.mkdir()
        (folder / PAGE).write_text(made, "utf-8")
        for name, table in tables(comparison).items():
            (folder / f"{name}.csv").write_text(table.write_csv(), "utf-8")
        for file in (*folder.iterdir(), folder):
            flush(file)
    return target / PAGE


def folder_name(comparison: Comparison) -> str:
    """`small-vs-large`, and the split where it is not test; of many or long names the first, and a digest of all."""
    names = comparison.names
    split = "" if comparison.split == "test" else f"-on-{comparison.split}"
    whole = "-vs-".join(names) + split
    if len(whole.encode()) <= LONGEST:
        return whole
    first = names[0] if len(names[0].encode()) <= LONGEST else "runs"
    return f"{first}-vs-{len(names) - 1}-others-{digest(names)[:8]}{split}"


def tables(comparison: Comparison) -> dict[str, pl.DataFrame]:
    """Name of the CSV → its table."""
    found = {
        "comparison": pl.DataFrame([asdict(row) for row in comparison.rows], infer_schema_length=None),
        "pairs": contrasts_table(comparison.pairs),
        "classes": comparison.classes,
        "disagreements": comparison.disagreements.drop("view"),
    }
    return found | ({"groups": contrasts_table(comparison.group_pairs)} if comparison.group_pairs else {})


def contrasts_table(pairs: tuple[Contrast, ...]) -> pl.DataFrame:
    """A row a pair; counts only where it is a pair of runs."""
    rows = [
        {"a": pair.a, "b": pair.b, "images": pair.images}
        | (asdict(pair.counts) if pair.counts else {})
        | {"difference": pair.difference, "low": pair.interval[0], "high": pair.interval[1]}
        | {"p": pair.p, "p_holm": pair.p_holm, "tests": pair.tests, "verdict": pair.verdict}
        for pair in pairs
    ]
    return pl.DataFrame(rows, infer_schema_length=None)
