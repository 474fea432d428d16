"""The commands that compare, hold, check and free what is there; those of the stages are in `etl.commands`."""

from pathlib import Path
from typing import Any

import typer

from etl.commands import WORKERS, asked, make
from manifests.commands import Call, argument, command, option
from manifests.console import plain, table
from manifests.errors import Exit, UserError


@command("alacena diff previous current")
def diff(
    call: Call,
    before: str | None = argument("previous, current, a data set, a key, or a folder. [default: previous]", "[A]"),
    after: str | None = argument("The same. [default: current]", "[B]"),
) -> None:
    """What changed between two curations or two sources: files, decisions, splits and counts. Exit code 0: nothing.

    A key is that of a curate or extract stage (4 digits or more), a folder one that holds images.parquet.
    """
    from etl.difference import compared, shown

    one, other, what = compared(before, after, call.store, call.name)
    call.face.show(*shown(one, other, what))
    call.face.result({"before": one.name, "after": other.name} | what.as_json())
    if not what.is_same:
        raise typer.Exit(Exit.DIFFERS)


@command("alacena lock")
def lock(
    call: Call,
    file: Path | None = argument("Where it is written. [default: DATASET.lock]", "[FILE]"),
    workers: int | None = WORKERS,
) -> None:
    """Write down what a rebuild must come to (settings, counts, digests), for version control and run --locked."""
    from etl.lock import lock_file, lock_of, lock_text
    from manifests.store import write_whole

    recipe, stages = asked(call), list[Any]()
    make(call, recipe, "transform", workers, heard=lambda _, stage: stages.append(stage))
    file = file or lock_file(recipe.dataset, None)
    write_whole(file, lock_text(lock_of(recipe.dataset, stages)))
    call.face.show(plain(f"{file}: {len(stages)} stages of {recipe.dataset}. Hold it with: alacena run --locked"))
    call.face.result({"file": str(file), "stages": {stage.stage: stage.digest for stage in stages}})


@command("alacena audit")
def audit(
    call: Call,
    folder: Path | None = argument("Shards, made here or elsewhere, to be judged by their pixels.", "[FOLDER]"),
    radius: int = option(
        "Bits of 512 up to which two images are copies. [default: 64]", "--radius", default=64, min=0, max=511
    ),
    workers: int | None = WORKERS,
) -> None:
    """Prove that no copy of an image stands in two splits, or under two classes; or say which. Exit code 4: it does.

    Without FOLDER the curation in force and its shards are judged by their tables, whatever rule removed duplicates.
    """
    from etl.audit import shown

    audits = _audited(call, folder, radius, workers)
    for each in audits:
        call.face.show(*shown(each), "")
    call.face.result([each.as_json() for each in audits])
    if any(each.is_refused for each in audits):
        raise typer.Exit(Exit.REFUSED)


def _audited(call: Call, folder: Path | None, radius: int, workers: int | None) -> list[Any]:
    """What was looked at, and found: shards by their pixels; else the curated table, and the rows of each shard set."""
    from etl.audit import audit_shards, audit_table, audit_views
    from etl.decisions import laid_over, read_decisions
    from etl.engine import default_workers
    from etl.pipeline import plan
    from etl.splits import is_given
    from manifests.table import kept, read_table

    if folder is not None:
        workers = default_workers() if workers is None else workers
        return [audit_shards(folder, radius, workers=workers, progress=call.face.tell)]
    recipe, dataset = asked(call), call.dataset
    curated = make(call, recipe, "curate", workers)["curate"]
    table = read_table(dataset.folder("curate", curated.key) / "images.parquet")
    decided = laid_over(table, read_decisions(recipe.curate.reject))
    audits = [audit_table(table, radius, decided, is_given=is_given(kept(table), recipe.curate))]
    shards = [step.found.key for step in plan(recipe, dataset) if step.stage == "transform" and step.found]
    rows = (read_table(dataset.folder("transform", key) / "rows.parquet") for key in shards)
    return audits + [audit_views(each, table) for each in rows]


@command("alacena verify")
def verify(call: Call) -> None:
    """Read every byte of a data set's store against the digests that were written with it."""
    from manifests import store

    folders = sorted(file.parent for file in call.dataset.root.glob("**/stage.json"))
    wrong: list[str] = []
    for done, folder in enumerate(folders, 1):
        stage = store.read_stage(folder)
        wrong += store.verify(folder, stage) if stage else []
        call.face.tell("verifying folders", done, len(folders))
    call.face.result({"folders": len(folders), "wrong": wrong})
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{more}; remove the folder and run again.", Exit.STALE)
    call.face.show(f"{len(folders)} folders of {call.dataset.name}, every byte as it was written")


@command("alacena prune --yes")
def prune(
    call: Call, yes: bool = option("Remove them; without it they are only listed.", "--yes", default=False)
) -> None:
    """Free what no recipe in force and no run uses."""
    from etl.prune import remove, unused

    found = unused(asked(call), call.dataset)
    if found:
        rows = [(str(each.path), f"{each.bytes / 1e6:,.1f}", each.why) for each in found]
        call.face.show(table(("folder", "MB", "why"), rows))
    total = sum(each.bytes for each in found) / 1e6
    if yes:
        remove(found)
    verb = "freed" if yes else "could be freed; do it with --yes"
    call.face.show(f"{total:,.1f} MB {verb}" if found else "nothing to free")
    call.face.result(
        {"bytes": sum(each.bytes for each in found), "removed": yes, "folders": [str(each.path) for each in found]}
    )
