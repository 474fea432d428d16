"""Writing into a run's folder: by one process at a time, and whole or not at all. Without torch."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError

from manifests.errors import Exit, UserError
from manifests.store import beside, discard, flush, is_alive

LOCK = ".lock"  # in a run's folder: held while it is trained


@contextmanager
def held(run: Path) -> Generator[None]:
    """The run's folder for this process alone while the block runs; made where there is none.

    The kernel lets go of the lock when the process ends, however it ends. Its file stays: a lock on a removed file
    would let a second one in. Raises UserError (exit 2) where another process trains this run.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / LOCK).open("ab")
    except OSError as error:
        raise UserError(f"{run}: cannot be written ({error.strerror}); name another store with --store DIR.") from None
    with lock:
        _take(lock, run)
        for left in run.glob(".*.tmp"):  # of a process that was killed while it wrote
            if not is_alive(left):
                _remove(left)
        yield


def _take(lock: IO[Any], run: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has other locks; two at once go unnoticed there
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{run}: run {run.parent.name} is being trained by another process; wait until it is done, "
            "or train under another name or with other settings.",
            Exit.USAGE,
        ) from None
    except OSError:  # a file system without locks, as some over a network are
        pass


def clear(run: Path) -> None:
    """Remove all that a run has left, but for the lock."""
    for entry in run.iterdir():
        if entry.name != LOCK:
            _remove(entry)


@contextmanager
def replacing(target: Path, remedy: str) -> Generator[Path]:
    """A temporary name beside the target, for a file or a folder; it takes the target's place when the block ends.

    The block flushes what it writes. Where the disk refuses, or anything else goes wrong, what was there before is
    kept and the temporary removed; a disk's refusal is a UserError with the remedy.
    """
    temporary = beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        if target.is_dir():
            discard(target)
        temporary.replace(target)
        flush(target.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error  # safetensors says it in its own words alone
        raise UserError(f"{target}: cannot be written ({reason}); what was there before is kept. {remedy}") from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
