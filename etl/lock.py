"""The lock: what a rebuild of a data set must come to, as a small TOML text for version control.

It holds for each stage its settings, what else decides its result (decoder, rules, decisions by hand), its counts and
the digest of its content: of the shards, that of their index, with the sha256 of each file. No machine's paths and no
clocks: a source or a list is named by its last name, for the reader, and compared by its content. Training is not
locked, but the pixels that runs ask for are.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from etl.steps import Step
from manifests.errors import Exit, UserError
from manifests.recipe import SPLITS, STAGE_SETTINGS, Recipe
from manifests.store import Stage

HEAD = "What a rebuild of this data set must come to: written by `alacena lock`, held by `alacena run --locked`."
PATHS = {"path", "labels", "mapping", "reject"}  # settings that name files: kept for the reader, not compared
PINNED = ("reader", "rules", "decisions", "background", "decoder")  # inputs that mean the same on every machine
COUNTED = {  # counts that the content decides; the others say what the work was, which depends on what was there before
    "extract": ("found", "usable", "problems", "classes"),
    "curate": ("found", "kept", "rejected", "classes", "per_class"),
    "augment": ("views", "augmented", "per_class"),
    "transform": ("rows", "shards", "bytes"),
}
CAUSES = {  # why the content may differ where settings, decoder and rules do not
    "extract": "files or label lists were added, removed or changed, or this machine reads them otherwise",
    "curate": "alacena decides otherwise, though its rules call themselves the same",
    "augment": "alacena draws otherwise, though its rules call themselves the same",
    "transform": "the same views give other pixels here: the decoder is built otherwise",
}
DIGITS = 12  # of a digest, in a sentence


class Locked(BaseModel):
    """One stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    settings: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    counts: dict[str, Any] = {}


class Lock(BaseModel):
    """The whole file. A stage that is not in it is not held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    dataset: str
    extract: Locked | None = None
    curate: Locked | None = None
    augment: Locked | None = None
    transform: tuple[Locked, ...] = ()  # several, where runs ask for pixels of their own

    def of(self, stage: str) -> tuple[Locked, ...]:
        held = getattr(self, stage)
        return held if isinstance(held, tuple) else (held,) if held else ()


def lock_of(dataset: str, stages: Iterable[Stage]) -> Lock:
    """The lock of these stages, as `etl.pipeline.bring` tells of them."""
    held: dict[str, list[Locked]] = {}
    for stage in stages:
        held.setdefault(stage.stage, []).append(locked(stage))
    single = {name: entries[0] for name, entries in held.items() if name != "transform"}
    shards = sorted(held.get("transform", []), key=lambda each: json.dumps(each.settings, sort_keys=True))
    return Lock.model_validate({"dataset": dataset, **single, "transform": tuple(shards)})


def locked(stage: Stage) -> Locked:
    """What is held of one stage."""
    counts = {name: stage.counts[name] for name in COUNTED[stage.stage] if name in stage.counts}
    if "per_class" in counts:
        rows = ({key: row[key] for key in ("class", "found", *SPLITS) if key in row} for row in counts["per_class"])
        counts["per_class"] = {row.pop("class"): row for row in rows}
    inputs = {name: stage.inputs[name] for name in PINNED if name in stage.inputs}
    values: dict[str, Any] = {"settings": stage.settings, "inputs": inputs, "counts": counts}
    return Locked(digest=stage.digest, **_portable(values))


def _portable(value: Any, key: str = "") -> Any:
    """Without nulls, which TOML does not have, without folders, and in characters that UTF-8 has."""
    if isinstance(value, dict):
        return {_text(name): _portable(inner, name) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_portable(inner, key) for inner in value]
    if isinstance(value, str):
        return _text(Path(value).name if key in PATHS and Path(value).is_absolute() else value)
    return value


def _text(value: str) -> str:
    """File names that are no UTF-8 come as lone surrogates."""
    return value.encode("utf-8", "backslashreplace").decode()


def lock_text(lock: Lock) -> str:
    """The file's text: sorted, the same for the same lock."""
    values = {name: value for name, value in lock.model_dump(mode="json").items() if value}
    return f"# {HEAD}\n" + "\n".join(toml(values)) + "\n"


def toml(values: Mapping[str, Any], place: tuple[str, ...] = ()) -> Iterator[str]:
    """Lines of TOML: tables two deep or made of tables, what else lies deeper inline, so that each line says one thing.

    Knows tables, lists, strings, numbers and booleans. `place` has the names of the tables around.
    """
    is_table = {key: isinstance(value, dict) and (len(place) < 2 or _is_tables(value)) for key, value in values.items()}
    is_tables = {key: not place and isinstance(value, list) and _is_tables(value) for key, value in values.items()}
    for key in sorted(values):
        if not (is_table[key] or is_tables[key]):
            yield f"{_key(key)} = {_inline(values[key])}"
    for key in sorted(values):
        names = (*place, _key(key))
        if is_table[key]:
            yield from ("", f"[{'.'.join(names)}]", *toml(values[key], names))
        for each in values[key] if is_tables[key] else ():
            yield from ("", f"[[{'.'.join(names)}]]", *toml(each, names))


def _is_tables(value: Any) -> bool:
    """Whether a list or a table holds tables and nothing else."""
    inner = list(value.values()) if isinstance(value, dict) else value
    return bool(inner) and all(isinstance(each, dict) for each in inner)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_inline(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return _string(value) if isinstance(value, str) else json.dumps(value)  # true, false, whole numbers


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    """JSON's escapes are TOML's; only DEL must be escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def lock_file(dataset: str, recipe: Path | None) -> Path:
    """Where a data set's lock lies: beside the recipe's file, else in the folder one is in."""
    return recipe.with_suffix(".lock") if recipe and recipe.is_file() else Path(f"{dataset}.lock")


def read_lock(file: Path) -> Lock:
    """Read and validate a lock. Raises UserError."""
    import tomllib

    try:
        return Lock.model_validate(tomllib.loads(file.read_bytes().decode("utf-8")))
    except FileNotFoundError:
        raise UserError(f"{file}: no such lock; write it with: alacena lock {file}", Exit.USAGE) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{file}: not readable as a lock: {error}.", Exit.STALE) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{file}: no lock of this version: {place}: {first['msg'].lower()}.", Exit.STALE) from None


def compare_settings(lock: Lock, recipe: Recipe) -> list[str]:
    """Which settings of a recipe are not the locked ones: known before any work."""
    asked = {"extract": [recipe.extract], "curate": [recipe.curate], "augment": [recipe.augment]}
    said: list[str] = []
    for name, settings in {**asked, "transform": recipe.transforms}.items():
        now = [_portable(each.asked()) for each in settings] if lock.of(name) else []
        held = [each.settings for each in lock.of(name)]
        new = [each for each in now if not any(_is_same(name, other, each) for other in held)]
        gone = [each for each in held if not any(_is_same(name, each, other) for other in now)]
        for one, other in zip(gone, new, strict=False):
            said += _settings(name, one, other)
        said += [f"{name}: locked with {_inline(each)}, not asked for now" for each in gone[len(new) :]]
        said += [f"{name}: {_inline(each)} is not locked" for each in new[len(gone) :]]
    return said


def compare(lock: Lock, stage: Stage) -> list[str]:
    """What of one stage is not as it was locked, in sentences; empty where all is."""
    name, now = stage.stage, locked(stage)
    if not lock.of(name):
        return []
    held = next((each for each in lock.of(name) if _is_same(name, each.settings, now.settings)), None)
    if held is None:
        return [f"{name}: {_inline(now.settings)} is not locked"]
    inputs = [
        f"{name}: {key}: {_parts(one, other)} locked, {_parts(other, one)} now"
        for key in PINNED
        if (one := held.inputs.get(key, "")) != (other := now.inputs.get(key, ""))
    ]
    before, after = dict(_flat(held.counts)), dict(_flat(now.counts))
    counts = [
        f"{name}: {', '.join(key)}: {before.get(key, 0)} locked, {after.get(key, 0)} now"
        for key in sorted(before | after)
        if before.get(key, 0) != after.get(key, 0)
    ]
    if held.digest == now.digest:
        return inputs + counts
    cause = "" if inputs else f": {CAUSES[name]}"
    return [*inputs, *counts, f"{name}: content {held.digest[:DIGITS]} locked, {now.digest[:DIGITS]} now{cause}"]


def _is_same(name: str, held: dict[str, Any], now: dict[str, Any]) -> bool:
    return not _settings(name, held, now)


def _settings(name: str, held: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A setting that was not known when it was locked had what is its default now."""
    defaults = _portable(STAGE_SETTINGS[name]().asked())
    pairs = {key: (held.get(key, defaults.get(key)), now.get(key)) for key in sorted(held | now) if key not in PATHS}
    return [
        f"{name}: setting {key}: {_said(one)} locked, {_said(other)} now"
        for key, (one, other) in pairs.items()
        if _without_paths(one) != _without_paths(other)
    ]


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(inner) for key, inner in value.items() if key not in PATHS}
    return [_without_paths(inner) for inner in value] if isinstance(value, list | tuple) else value


def _said(value: Any) -> str:
    return "none" if value is None else _inline(value)


def _flat(counts: Mapping[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(`per_class`, `hat`, `train`) → 12. A name that is no plain word is quoted."""
    for key, value in counts.items():
        named = (*place, key if re.fullmatch(r"[\w-]+", key) else repr(key))
        if isinstance(value, dict):
            yield from _flat(value, named)
        else:
            yield named, value


def _parts(one: str, other: str) -> str:
    """Of two lists of versions, what the first one has of its own."""
    theirs = set(re.split(r"[,;] ", other))
    own = [part for part in re.split(r"[,;] ", one) if part not in theirs]
    return ", ".join(part[:DIGITS] if re.fullmatch("[0-9a-f]{64}", part) else part for part in own) or "nothing"


class Held:
    """The lock while the pipeline goes: each stage is compared as soon as it is there, before the next one begins.

    `heard` is what `etl.pipeline.bring` takes as `tell`. Raises UserError (exit 5) with all that differs.
    """

    def __init__(self, file: Path, recipe: Recipe) -> None:
        self.file, self.lock = file, read_lock(file)
        self._refuse(compare_settings(self.lock, recipe))

    def heard(self, _: Step, stage: Stage) -> None:
        self._refuse(compare(self.lock, stage))

    def _refuse(self, differences: list[str]) -> None:
        if differences:
            listed = "".join(f"\n  {_printable(line)}" for line in differences)
            raise UserError(
                f"{self.file}: what comes out is not what was locked; where that is meant, run: alacena lock{listed}",
                Exit.STALE,
            )


def _printable(line: str) -> str:
    """Control characters in names from outside as codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
