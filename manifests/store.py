"""The store: `ROOT/DATASET/STAGE/KEY/`, a folder that is there whole or not at all.

A stage writes into a temporary sibling; `publish` writes `stage.json` last, flushes everything to the disk and renames.
KEY is the digest of the stage's settings and of what it read, so two runs at once cannot harm each other and going back
to an earlier setting finds what it made. `settings.json` beside the stages holds what was last asked of each stage.
"""

import errno
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from manifests.digests import digest, file_digest
from manifests.errors import Exit, UserError

FULL = {errno.ENOSPC, errno.EDQUOT}
HOST = re.sub(r"[^0-9A-Za-z]", "_", socket.gethostname())  # temporary names of several hosts may share a store
NO_DIGESTS: Mapping[str, str] = MappingProxyType({})
KEY_DIGITS = 16  # of the digest's 64, in folder names: 64 bits


@dataclass(frozen=True)
class Stage:
    """What one finished stage says of itself; `stage.json`."""

    stage: str
    key: str  # digest of settings and input
    settings: dict[str, Any]
    inputs: dict[str, Any]  # the digests that the key was made of
    digest: str = ""  # of the content: what the next stage's key is made of
    counts: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, str] = field(default_factory=dict[str, str])  # name → sha256, all but stage.json itself


def stage_key(stage: str, settings: dict[str, Any], inputs: dict[str, Any]) -> str:
    return digest([stage, settings, inputs])[:KEY_DIGITS]


class Finish(Protocol):
    """Publishes what was written: the content's digest, what to count, and the sha256 of files that are known."""

    def __call__(self, content: str, counts: dict[str, Any], known: Mapping[str, str] = ...) -> Stage: ...


@dataclass(frozen=True)
class DatasetStore:
    """The folder of one data set in the store."""

    root: Path  # ROOT/DATASET

    @property
    def name(self) -> str:
        return self.root.name

    def folder(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def find(self, stage: str, key: str) -> Stage | None:
        """The stage as it was published under this key, or None."""
        return read_stage(self.folder(stage, key))

    def published(self, stage: str) -> list[Stage]:
        """Every published folder of a stage, newest first."""
        folders = sorted(
            self._folders(stage), key=lambda folder: (folder / "stage.json").stat().st_mtime_ns, reverse=True
        )
        return [found for folder in folders if (found := read_stage(folder))]

    def _folders(self, stage: str) -> list[Path]:
        parent = self.root / stage
        return [f for f in parent.iterdir() if (f / "stage.json").is_file()] if parent.is_dir() else []

    @contextmanager
    def publish(self, begun: Stage) -> Generator[tuple[Path, Finish]]:
        """A temporary folder to write into, and `finish(digest, counts, known)` that publishes it.

        `known` has the sha256 of files that were digested already; the rest are read here.

        Leaving the block without `finish`, by an error or not, removes the temporary folder. Where the same key is
        there already with the same content, from another process, that one stays. With another content (of files that
        could not be read then, and can be now) it is replaced.
        """
        parent = self.root / begun.stage
        temporary = beside(parent / begun.key)
        started = time.monotonic()
        try:
            parent.mkdir(parents=True, exist_ok=True)
            sweep(parent)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        except OSError as error:
            raise UserError(
                f"{parent}: the store cannot be written here ({error.strerror}); name another with --store DIR."
            ) from None

        def finish(content: str, counts: dict[str, Any], known: Mapping[str, str] = NO_DIGESTS) -> Stage:
            names = [f.relative_to(temporary).as_posix() for f in sorted(temporary.rglob("*")) if f.is_file()]
            files = {name: known.get(name) or file_digest(temporary / name) for name in names}
            seconds = round(time.monotonic() - started, 3)
            done = replace(begun, digest=content, counts=counts, seconds=seconds, versions=versions(), files=files)
            for file in files:
                flush(temporary / file)
            write_whole(temporary / "stage.json", json.dumps(asdict(done), indent=1, ensure_ascii=False) + "\n")
            flush(temporary)
            target = self.folder(begun.stage, begun.key)
            if there := read_stage(target):
                if there.digest == content:
                    return there
                discard(target)
            try:
                temporary.rename(target)
            except OSError:
                if (there := read_stage(target)) is not None:  # another process was quicker
                    return there
                remedy = "a folder without stage.json stands in the way; remove it and run again."
                raise UserError(f"{target}: {remedy}") from None
            flush(parent)
            return done

        try:
            yield temporary, finish
        except Exception as error:  # polars wraps what the disk said
            if getattr(error, "errno", None) in FULL or "No space left" in str(error):  # ENOSPC, EDQUOT
                raise UserError(
                    f"{parent}: the disk is full; nothing was changed. Free some space (prune) and run again."
                ) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def asked(self) -> dict[str, Any]:
        """What was last asked of the stages, a recipe; empty before the first extract."""
        file = self.root / "settings.json"
        try:
            return json.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise UserError(
                f"{file}: not readable as JSON; remove it and name the settings again.", Exit.STALE
            ) from None

    def ask(self, recipe: dict[str, Any]) -> None:
        """Remember what is asked of the stages from now on."""
        if recipe != self.asked():  # a store that cannot be written can still be read
            write_whole(self.root / "settings.json", json.dumps(recipe, indent=1, ensure_ascii=False) + "\n")


def open_dataset(store: Path, name: str | None) -> DatasetStore:
    """The data set of that name, or the only one there."""
    names = dataset_names(store)
    if name is None:
        if not names:
            raise UserError(
                f"{store}: no data set here yet; begin with: alacena extract SOURCE --dataset NAME", Exit.USAGE
            )
        if len(names) > 1:
            raise UserError(f"{store}: holds {', '.join(names)}; say which with --dataset NAME.", Exit.USAGE)
        name = names[0]
    elif name not in names:
        there = f"it holds {', '.join(names)}" if names else "it is empty"
        raise UserError(
            f"{store}: no data set {name!r} here; {there}. Begin with: alacena extract SOURCE --dataset {name}",
            Exit.USAGE,
        )
    return DatasetStore(store / name)


def dataset_names(store: Path) -> list[str]:
    return sorted(f.name for f in store.iterdir() if (f / "settings.json").is_file()) if store.is_dir() else []


def read_stage(folder: Path) -> Stage | None:
    file = folder / "stage.json"
    try:
        return Stage(**json.loads(file.read_text("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        raise UserError(f"{file}: damaged; remove {folder} and run the stage again.", Exit.STALE) from None


def write_whole(file: Path, text: str) -> None:
    """Replace a file's text at once: temporary sibling, flush, rename."""
    temporary = beside(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        flush(temporary)
        temporary.replace(file)
        flush(file.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"{file}: cannot be written ({error.strerror}); the one before is kept.") from None


def flush(path: Path) -> None:
    """Down to the disk: a file's bytes, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def beside(target: Path) -> Path:
    """A temporary name next to the target, which says whose it is: host and process."""
    return target.with_name(f".{target.name}.{HOST}-{os.getpid()}.tmp")


def discard(folder: Path) -> None:
    """Remove a folder so that it is there whole or not at all, also when this process is killed meanwhile."""
    if folder.exists():
        doomed = beside(folder.with_name(f"{folder.name}.old"))
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove the temporary folders of processes that are gone."""
    for folder in parent.glob(".*.tmp"):
        if not is_alive(folder):
            shutil.rmtree(folder, ignore_errors=True)


def is_alive(temporary: Path) -> bool:
    """Whether the process that something temporary is named after may still be at work: on another host, it may."""
    host, _, owner = temporary.name.split(".")[-2].rpartition("-")
    if host != HOST or not owner.isdecimal():
        return True
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return False
    except OSError:  # there, and somebody else's
        pass
    return True


def verify(folder: Path, stage: Stage) -> list[str]:
    """Read every byte of a published stage against stage.json; what is wrong, in words."""
    found: list[str] = []
    for name, expected in stage.files.items():
        file = folder / name
        if not file.is_file():
            found.append(f"{file}: missing")
        elif (actual := file_digest(file)) != expected:
            found.append(f"{file}: sha256 {actual[:16]}…, stage.json says {expected[:16]}…")
    return found


def versions() -> dict[str, str]:
    """The versions that could change a result: Python and the packages already imported that the stage used."""
    import sys

    names = {
        "polars": "polars",
        "PIL": "pillow",
        "numpy": "numpy",
        "imagehash": "imagehash",
        "torch": "torch",
        "sklearn": "scikit-learn",
    }
    found = {names[m]: str(sys.modules[m].__version__) for m in names if m in sys.modules}
    return {"python": sys.version.split()[0]} | found
