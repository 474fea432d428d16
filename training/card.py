"""`card.md`, which travels with an exported model: what it learned from, what it takes, how good it is, its limits.

Every line is of run.json, the shard set or an evaluation of these very weights; what is not known is said to be so.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract
from manifests.recipe import SPLITS
from manifests.table import read_table
from training.folders import FIGURES, evaluation_folder

SPECIAL = re.compile(r"([\\`*_\[\]|~])")  # what Markdown reads as something else in the middle of a line
CALIBRATION = "calibration_error"
SHRUNK = {
    "crop": "shrunk or grown until it fills that, and its middle is used",
    "pad": "shrunk or grown until it fits in, and surrounded by {background}",
    "squash": "shrunk or grown to exactly that, whatever its aspect",
}


@dataclass(frozen=True)
class Known:
    """All that a card is written from."""

    facts: dict[str, Any]  # run.json
    weights: str  # sha256 of the checkpoint
    contract: PixelContract
    counts: pl.DataFrame | None  # class, and images of each split; None where the shards are gone
    evaluations: dict[str, dict[str, Any]]  # split → metrics.json, of these weights; the split to speak of first
    outdated: tuple[str, ...] = ()  # splits whose evaluation is of other weights


def known(run: Path, shards: Path, facts: dict[str, Any], weights: str) -> Known:
    """Read what there is of a run, whose checkpoint has this digest."""
    order = [split for split in reversed(SPLITS) if (evaluation_folder(run, split) / FIGURES).is_file()]
    figures = {split: _figures(evaluation_folder(run, split) / FIGURES) for split in order}
    current = {split: each for split, each in figures.items() if each.get("weights") == weights}
    rows = shards / "rows.parquet"
    return Known(
        facts=facts,
        weights=weights,
        contract=PixelContract.model_validate(facts["contract"]),
        counts=counted(read_table(rows), facts["classes"]) if rows.is_file() else None,
        evaluations=current,
        outdated=tuple(split for split in order if split not in current),
    )


def _figures(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError:
        raise UserError(f"{file}: not readable as JSON; run evaluate again.", Exit.STALE) from None


def counted(rows: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Images of each class and split, in class order; augmented copies are none of them."""
    images = rows.filter(pl.col("view") == 0)
    columns = [
        pl.Series(
            split, [images.filter((pl.col("class") == name) & (pl.col("split") == split)).height for name in classes]
        )
        for split in SPLITS
    ]
    return pl.DataFrame([pl.Series("class", list(classes), dtype=pl.String), *columns])


def card(given: Known, files: Iterable[str], checked: str | None = None) -> str:
    """The card as Markdown. `files`: what was exported, in words; `checked`: what the check of the graph found."""
    parts = [
        _head(given), _section("Files", files), _section("What it takes and gives", _taken(given)),
        _section("What it learned from", _learned(given)), _section("Scores", _scores(given)),
        _section("Agreement of the exported graph", [checked] if checked else []), _section("Limits", _limits(given)),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, lines: Iterable[str]) -> str:
    return f"## {title}\n\n{text}" if (text := "\n".join(lines)) else ""


def _head(given: Known) -> str:
    facts = given.facts
    return (
        f"# {_plain(facts['run'])}\n\nAn image classifier of {len(facts['classes'])} classes: "
        f"{_plain(facts['settings']['model'])}, {facts['parameters']:,} parameters, trained by alacena on the data set "
        f"{_plain(facts['dataset'])}. Weights: sha256 `{given.weights}`."
    )


def _taken(given: Known) -> Iterator[str]:
    contract, facts = given.contract, given.facts
    size = f"{contract.height}×{contract.width}"
    how = SHRUNK[contract.resize].format(background=contract.background)
    kind = contract.interpolation + ("" if contract.interpolation == "nearest" else ", antialiased")
    colours = "in grey" if contract.channels == "gray" else "in colour (RGB)"
    yield f"- A picture is seen at {size} pixels {colours}: {how} ({kind})."
    yield f"- It should be upright (EXIF orientation applied), and what is transparent over {contract.background}."
    yield f"- Normalised by {facts['normalise']}, inside the model; pixel contract `{contract.digest}`."
    yield f"- One answer of: {', '.join(map(_plain, facts['classes']))}."


def _learned(given: Known) -> Iterator[str]:
    facts, counts = given.facts, given.counts
    yield f"- Data set {_plain(facts['dataset'])}, shards `{facts['data']}`."
    yield f"- {_weights(facts)}"
    if given.evaluations and (epoch := next(iter(given.evaluations.values())).get("epoch")):
        yield f"- The weights are those after epoch {epoch}."
    yield ""
    if counts is None:
        rows = ", ".join(f"{split} {number:,}" for split, number in facts["rows"].items())
        yield f"Rows, augmented copies among them: {rows}. The counts of each class are gone with the shards."
        return
    there = [split for split in SPLITS if counts[split].sum()]
    yield from _table(["class", *there], counts.select("class", *there).rows())
    yield _line(["all", *(f"{counts[split].sum():,}" for split in there)])
    copies = int(facts["rows"].get("train", 0)) - int(counts["train"].sum())
    yield f"\nImages; on top of them {copies:,} augmented copies of train images." if copies else "\nImages."


def _weights(facts: dict[str, Any]) -> str:
    if facts["weights"] in {None, "none"}:
        return "It began with random weights."
    said = f"It began with pretrained weights ({_plain(facts['weights'])}), "
    licence = facts.get("licence")
    return said + (f"whose licence is: {_plain(licence)}." if licence else "whose licence is not recorded.")


def _scores(given: Known) -> Iterator[str]:
    if not given.evaluations:
        yield "These weights were not evaluated."
    for split, figures in given.evaluations.items():
        low, high = figures["interval"]
        yield (
            f"- **{split}**, {figures['images']:,} images: accuracy {figures['accuracy']:.4f} (95 % interval {low:.3f} "
            f"to {high:.3f}), macro F1 {figures['macro']['f1']:.4f}, top-5 {figures['top5']:.4f}, "
            f"cross-entropy {figures['loss']:.4f}."
        )
    if given.outdated:
        yield f"- Evaluations of other weights are left out: {', '.join(given.outdated)}."
    if given.evaluations:
        split, figures = next(iter(given.evaluations.items()))
        yield f"\nOn {split}, class by class:\n"
        rows = [
            (each["name"], each["precision"], each["recall"], each["f1"], each["support"])
            for each in figures["classes"]
        ]
        yield from _table(["class", "precision", "recall", "F1", "images"], rows)


def _limits(given: Known) -> Iterator[str]:
    facts, evaluations = given.facts, given.evaluations
    yield (
        f"- It names one of its {len(facts['classes'])} classes for every picture, also for one that shows none of "
        "them; a high probability does not say that it is one."
    )
    yield (
        f"- All it knows are pictures of {_plain(facts['dataset'])}. How it does on those of another source, camera or "
        "time was not measured."
    )
    if "test" not in evaluations:
        yield "- No test split was evaluated: the epoch was chosen by val, so that figures on val flatter it."
    if counts := _few(given):
        yield f"- Fewer than 20 train images: {counts}."
    yield _calibrated(evaluations)


def _few(given: Known) -> str:
    if given.counts is None:
        return ""
    few = given.counts.filter(pl.col("train") < 20).select("class", "train").rows()
    return ", ".join(f"{_plain(name)} ({number})" for name, number in few)


def _calibrated(evaluations: dict[str, dict[str, Any]]) -> str:
    for split, figures in evaluations.items():
        if (error := figures.get(CALIBRATION)) is not None:
            said = f"by {error:.4f} on average (expected calibration error on {split})"
            return f"- The probabilities that it states miss its accuracy {said}."
    return "- Whether its probabilities mean what they say was not measured."


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "| --- |" + " ---: |" * (len(columns) - 1)
    for name, *values in rows:
        yield _line([_plain(name), *(f"{v:.3f}" if isinstance(v, float) else f"{v:,}" for v in values)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: object) -> str:
    """Text that comes from outside, so that neither Markdown nor HTML reads anything in it."""
    visible = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in str(text))
    return SPECIAL.sub(r"\\\1", html.escape(visible, quote=False))
