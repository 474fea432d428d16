"""Pictures that no data set knows → pixels as a contract stores them, or why there are none: what predict is fed.

Images, folders and archives are listed whole (names alone); the pictures are opened one after the other, in any number
of processes, and none is kept. The decoding, the resize and the rounding are those of `etl.images`, the type is that of
`etl.filling`: a file that went into a shard gives that row again, bit for bit.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from etl import engine
from etl.filling import Stored, as_stored
from etl.images import Unusable, pixels
from etl.keys import decoder
from etl.opening import read
from etl.sources.containers import PACKED, Container, Entry, Folder, open_container
from etl.sources.entries import readable
from etl.sources.listing import is_image, is_system
from manifests.errors import Exit, UserError
from manifests.pixels import PixelContract
from manifests.progress import Progress, silent, told

ARCHIVES = (".zip", ".tar", *PACKED)


class Place(NamedTuple):
    """One file to be opened."""

    container: Container
    entry: Entry

    @property
    def name(self) -> str:
        """What a person would call it: its path from where they stand, through an archive if it lies in one."""
        return f"{readable(str(self.container))}/{self.entry.path}".removeprefix("./")


class Found(NamedTuple):
    """The files of some sources."""

    places: list[Place]
    others: int  # files in folders and archives whose names are no image's: they are left alone


class Opened(NamedTuple):
    """One picture, or why there is none."""

    name: str
    pixels: Stored | None
    problem: str | None


def find(sources: Sequence[Path], spool: Path) -> Found:
    """Images by their names, below folders and in archives; a file that is named itself is tried, whatever its name.

    Hidden and system files are left out. A packed tar is unpacked into `spool`. Raises UserError where a source is not
    there or cannot be listed, and (exit 4) where there is no image at all.
    """
    places: list[Place] = []
    others = 0
    for source in sources:
        if not source.exists():
            raise UserError(f"{source}: no such file; name images, folders or archives.", Exit.USAGE)
        listed = _listed(source, spool)
        images = listed if _is_picture(source) else [place for place in listed if is_image(place.entry.path)]
        places += images
        others += len(listed) - len(images)
    if not places:
        named = ", ".join(readable(str(source)) for source in sources)
        raise UserError(f"{named}: no image found among {others:,} files; name images, folders or archives of images.")
    return Found(places, others)


def _listed(source: Path, spool: Path) -> list[Place]:
    if _is_picture(source):
        status, folder = source.stat(), Folder(source.parent)
        return [Place(folder, Entry(readable(source.name), status.st_size, status.st_mtime_ns, -1))]
    container = open_container(source, spool)
    return [Place(container, entry) for entry in container.entries() if not is_system(entry.path)]


def _is_picture(source: Path) -> bool:
    """Whether it is a file to be tried by itself: any file that is no archive by its name."""
    return source.is_file() and not source.name.lower().endswith(ARCHIVES)


def opened(
    places: Sequence[Place], contract: PixelContract, *, workers: int, progress: Progress = silent
) -> Iterator[Opened]:
    """Each file as the contract's pixels, in the order of the places; whatever is wrong with one becomes its reason."""
    results = engine.ordered_map(engine.each(partial(_open, contract=contract)), places, workers=workers, lost=_lost)
    return told(results, progress, "predicting pictures", len(places))


def _open(place: Place, *, contract: PixelContract) -> Opened:
    """In a worker: read and decode one file."""
    try:
        return Opened(place.name, as_stored(pixels(read(*place), contract), contract), None)
    except Unusable as reason:
        return Opened(place.name, None, str(reason))


def _lost(place: Place, why: str) -> Opened:
    return Opened(place.name, None, f"unreadable: {why}")


def decoder_note(contract: PixelContract) -> str | None:
    """What to say where the contract's pixels were decoded by other versions than those here; None where it is these.

    Such a model can still be asked: its own shards could not be made again bit for bit, but a level here and there is
    no other picture.
    """
    here = decoder()
    if contract.decoder == here:
        return None
    return f"the model learned from pixels decoded by {contract.decoder}; here it is {here}: they may differ by a level"
