"""What a worker of extract does: read a file of a source and say what it is. What reads it again, later.

Nothing here imports a table: each worker process starts a fifth of a second sooner without polars.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from etl.images import Facts, Sight, Unusable, measured, sight, silence_told
from etl.sources.entries import Container, Entry, TooLarge

FILE_LIMIT = 1 << 30  # bytes of one file: above it, it is refused unread


class Job(NamedTuple):
    """One file to be opened."""

    container: Container
    entry: Entry


def look(jobs: list[Job], *, max_pixels: int, background: str, turned: bool) -> list[Facts]:
    """Read some files and say what they are."""
    found = measured([_sight(job, max_pixels, background) for job in jobs], turned=turned)
    return [silence_told(facts, partial(read, *job), background) for facts, job in zip(found, jobs, strict=True)]


def _sight(job: Job, max_pixels: int, background: str) -> Sight:
    try:
        return sight(read(*job), max_pixels=max_pixels, background=background)
    except Unusable as reason:
        return Sight(Facts(problem=str(reason)))


def read(container: Container, entry: Entry) -> bytes:
    """All of a file's bytes. Raises Unusable."""
    try:
        return container.read(entry, FILE_LIMIT)
    except TooLarge:
        raise Unusable(f"too large: over {FILE_LIMIT:,} bytes") from None
    except OSError as error:
        raise Unusable(f"unreadable: {error.strerror or error}") from None


def lost(_: Job, why: str) -> Facts:
    """What is said of a file whose worker died."""
    return Facts(problem=f"unreadable: {why}")


@dataclass(frozen=True)
class Opener:
    """Reads an image's bytes again by its path in the table; small enough to be sent to workers."""

    containers: tuple[Container, ...]

    def read(self, place: tuple[int, str, int, int, int]) -> bytes:
        """The bytes of (source, member, bytes, stamp, offset), a row of files.parquet. Raises Unusable."""
        source, member, size, stamp, offset = place
        try:
            return self.containers[source].read(Entry(member, size, stamp, offset), FILE_LIMIT)
        except (OSError, TooLarge) as error:
            raise Unusable(f"unreadable: {error}") from None
