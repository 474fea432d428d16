"""What the stages found, as tables for a terminal. Nothing is decided or computed here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from etl.funnel import flow
from etl.steps import Step
from manifests.console import duration, plain, table
from manifests.recipe import SPLITS
from manifests.store import Stage

if TYPE_CHECKING:  # they bring polars, which status does without, and rich, which is imported to draw
    from rich.table import Table

    from etl.explain import Explanation

SHOWN = 12  # conflicts or entries named on screen; all of them are in the table


def extracted(stage: Stage) -> Iterable["str | Table"]:
    counts = stage.counts
    yield from (f"Layout {line}" for line in map(plain, counts["layouts"]))
    yield from (f"Note: {plain(note)}" for note in counts["notes"])
    rows: list[tuple[str, int]] = [("files found", counts["found"]), ("usable images", counts["usable"])]
    rows += [(f"  {problem}", count) for problem, count in counts["problems"].items()]
    rows += [("classes", counts["classes"]), ("hidden and system files, apart", counts["system_files"])]
    rows += [("label files, apart", len(counts["label_files"]))] if counts["label_files"] else []
    yield table(("", ""), rows)


def curated(stage: Stage) -> Iterable["str | Table"]:
    counts = stage.counts
    rows: list[tuple[str, int]] = [("found", counts["found"])]
    rows += [(f"– {kind}", count) for step in flow(counts) for kind, count in step.kinds.items()]
    yield table(("", "images"), [*rows, ("kept", counts["kept"])])
    per_class = counts["per_class"]
    body = [(row["class"], row["found"], sum(row[s] for s in SPLITS), *(row[s] for s in SPLITS)) for row in per_class]
    if counts["elsewhere"]:
        body.append(("(no class, or not asked for)", counts["elsewhere"], 0, 0, 0, 0))
    sums = [f"{sum(row[column] for row in body):,}" for column in range(1, 6)]
    yield ""
    yield table(("class", "found", "kept", *SPLITS), body, foot=("all", *sums))
    yield from _listed("Label conflicts, rejected on both sides:", counts["conflicts"])
    yield from _listed("Decisions that match no image:", counts["unmatched"])

    if counts["waiting"]:
        yield (
            f"\n{counts['waiting']:,} kept images resemble another one without being a copy: look at them with "
            "alacena review"
        )


def since(before: Stage | None, after: Stage) -> Iterable[str]:
    """What became different, in one line; nothing where it is the first curation, or the same."""
    if before is None or before.digest == after.digest:
        return
    old, new = ({"kept": each.counts["kept"]} | each.counts["rejected"] for each in (before, after))
    changed = [
        f"{kind} {old.get(kind, 0):,} → {new.get(kind, 0):,}" for kind in old | new if old.get(kind) != new.get(kind)
    ]
    what = ", ".join(changed) or "the same numbers, other images"
    yield f"\nSince the curation before: {what}. Image by image: alacena diff"


def explained(found: "Explanation") -> Iterable["str | Table"]:
    """What the rules would reject, and what each fault would."""
    if found.refused:
        yield f"[bold]With these settings curate would refuse:[/bold] {plain(found.refused)}\n"
    else:
        yield f"With these settings curate would keep {found.kept:,} of {found.found:,}:"
        yield table(("kind", "rejects", "such as"), [(each.kind, each.rejects, each.example) for each in found.rules])
        yield ""
    yield "Faults, each by itself, before copies and the cap (none is looked for unless asked):"
    rows = [
        (
            each.fault + (" (asked)" if each.asked else ""),
            "" if each.limit is None else f"{each.limit:g}",
            each.rejects,
            " / ".join(f"{value:.4g}" for value in each.quantiles),
            each.examples[0] if each.examples else "",
        )
        for each in found.faults
    ]
    yield table(("fault", "limit", "rejects", "1 % / middle / 99 %", "the worst"), rows)
    yield "\nLeave them out with --faults NAME,NAME:LIMIT. What each measures:"
    yield table(("", ""), [(f"  {each.fault}", each.what) for each in found.faults])


def _listed(title: str, lines: list[str]) -> Iterable[str]:
    if lines:
        yield f"\n[bold]{title}[/bold]"
        yield from (f"  {plain(line)}" for line in lines[:SHOWN])
        if len(lines) > SHOWN:
            yield f"  … and {len(lines) - SHOWN} more"


def augmented(stage: Stage) -> Iterable["str | Table"]:
    counts = stage.counts
    plain = counts["views"] - counts["augmented"]
    yield f"{counts['views']:,} views: {plain:,} as they are, {counts['augmented']:,} augmented (train only)"
    body = [(row["class"], *(row[split] for split in SPLITS)) for row in counts["per_class"]]
    yield table(("class", *SPLITS), body)


def transformed(stage: Stage, index: Any) -> Iterable["str | Table"]:
    """`index`: manifests.shards.Index."""
    counts, contract = stage.counts, index.contract
    height, width, channels = contract.shape
    yield (
        f"{height}×{width}×{channels} {contract.dtype}, {contract.resize}, {contract.interpolation}"
        + (f", normalised ({contract.normalise})" if contract.normalise else "")
    )
    rows = [
        (split, counts["rows"][split], len(shards), sum(s.bytes for s in shards) / 1e6)
        for split, shards in index.splits.items()
    ]
    yield table(("split", "rows", "shards", "MB"), [(a, b, c, f"{mb:,.1f}") for a, b, c, mb in rows])
    yield (
        "train mean "
        + " ".join(f"{v:.4f}" for v in index.mean)
        + ", deviation "
        + " ".join(f"{v:.4f}" for v in index.deviation)
    )
    yield f"{counts['decoded']:,} images decoded, {counts['copied']:,} rows taken from earlier shard sets"
    yield f"digest {stage.digest}"


def statuses(steps: Iterable[Step]) -> "Table":
    rows = [
        (
            step.stage,
            "fresh" if step.is_fresh else "stale",
            step.why or (step.found.key if step.found else ""),
            _cost(step),
        )
        for step in steps
    ]
    return table(("stage", "state", "why, or which", "cost"), rows)


def _cost(step: Step) -> str:
    """What it cost the last time it was made; of a fresh stage, what it saves."""
    return "" if step.seconds is None else f"{'took' if step.is_fresh else 'last took'} {duration(step.seconds)}"
