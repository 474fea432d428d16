"""What a worker of extract does: read a file of a source and say what it is. What reads it again, later.

Nothing here imports a table: each worker process starts a fifth of a second sooner without polars.
"""

from dataclasses import dataclass
from typing import NamedTuple

from etl.images import Facts, Sight, Unusable, hashed, sight
from etl.sources.entries import Container, Entry, TooLarge

FILE_LIMIT = 1 << 30  # bytes of one file: above it, it is refused unread


class Job(NamedTuple):
    """One file to be opened."""

    container: Container
    entry: Entry


def look(jobs: list[Job], *, max_pixels: int, background: str, turned: bool) -> list[Facts]:
    """Read some files and say what they are."""
    return hashed([_sight(job, max_pixels, background) for job in jobs], turned=turned)


def _sight(job: Job, max_pixels: int, background: str) -> Sight:
    try:
        return sight(job.container.read(job.entry, FILE_LIMIT), max_pixels=max_pixels, background=background)
    except TooLarge:
        return Sight(Facts(problem=f"too large: over {FILE_LIMIT:,} bytes"))
    except OSError as error:
        return Sight(Facts(problem=f"unreadable: {error.strerror or error}"))


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
