"""What nothing asks for any more, and how much room it takes."""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from etl.keys import listings
from etl.pipeline import plan
from etl.sources.containers import Tar
from manifests.errors import Exit, UserError
from manifests.recipe import Recipe
from manifests.store import DatasetStore, discard, is_alive


class Unused(NamedTuple):
    """A folder or file of the store that no recipe in force and no run needs."""

    path: Path
    bytes: int
    why: str


def unused(asked: Recipe, dataset: DatasetStore) -> list[Unused]:
    """Stage folders that are neither in force nor the data of a run, features of such data, spooled archives, and
    what killed processes left."""
    steps = list(plan(asked, dataset))
    needed = {(step.stage, step.key) for step in steps if step.found}
    for facts in dataset.root.glob("runs/*/*/run.json"):
        try:
            needed.add(("transform", json.loads(facts.read_text("utf-8"))["transform"]))
        except (ValueError, KeyError):
            raise UserError(f"{facts}: damaged; remove {facts.parent} and train again.", Exit.STALE) from None
    found: list[tuple[Path, str]] = []
    data = {stage.digest for stage in dataset.published("transform") if ("transform", stage.key) in needed}
    for stage in ("extract", "curate", "augment", "transform", "features"):
        for entry in dataset.published(stage):
            is_needed = (stage, entry.key) in needed or (stage == "features" and entry.inputs.get("transform") in data)
            if not is_needed and all(step.found for step in steps if step.stage == stage):
                found.append((dataset.folder(stage, entry.key), "no recipe in force and no run uses it"))
    pictures = dataset.root / "thumbnails"
    found += [(pictures, "pictures of the review page; made again when looked at")] if pictures.is_dir() else []
    found += [
        (dataset.folder("suggest", old.key), "suggestions that newer ones took the place of")
        for old in dataset.published("suggest")[1:]
    ]
    patterns = (".*.tmp", "*/.*.tmp", "runs/*/*/.*.tmp")
    left = sorted(each for pattern in patterns for each in dataset.root.glob(pattern) if not is_alive(each))
    found += [(folder, "left by a process that was killed") for folder in left]
    spool = dataset.root / "spool"
    if spooled := {file.name for file in spool.glob("*")}:
        sources = [each.container for each in listings(asked.extract, spool)]
        used = {file.name for each in sources if isinstance(each, Tar) for file in (each.path, each.listing)}
        found += [(spool / name, "an archive that is no source any more") for name in sorted(spooled - used)]
    return _weighed(found)


def remove(found: list[Unused]) -> None:
    for each in found:
        if each.path.is_dir():
            discard(each.path)
        else:
            each.path.unlink(missing_ok=True)


def _weighed(found: list[tuple[Path, str]]) -> list[Unused]:
    """With the bytes that are free when all of these are gone: shard sets share files, also with those that stay."""
    files = [[file.stat() for file in (path, *path.rglob("*")) if file.is_file()] for path, _ in found]
    names = Counter(status.st_ino for part in files for status in part)
    freed = [sum(s.st_size // s.st_nlink for s in part if names[s.st_ino] == s.st_nlink) for part in files]
    return [Unused(path, size, why) for (path, why), size in zip(found, freed, strict=True)]
