"""What each stage's key is made of: its settings, and the digest of what it reads. Nothing heavy is imported to ask.

A key is made of the *content* of the stage before, not of that stage's own key: what is made again and comes out the
same leaves everything after it fresh.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from etl.decisions import read_decisions
from etl.sources.containers import Container, Entry, open_container
from manifests.digests import digest, file_digest
from manifests.errors import Exit, UserError
from manifests.recipe import Curate, Extract, Source

HASH_VERSION = "4"  # raise it when a hash or a measure of the same pixels changes (etl.measures)
PIXELS_VERSION = "2"  # … when the same bytes and contract give other pixels (etl.images, etl.augmentations)
RULES_VERSION = "3"  # … when the same table and settings give other decisions (etl.curate and its rules, etl.augment)
CODECS = ("libjpeg_turbo", "webp", "avif", "libtiff")


@cache
def decoder() -> str:
    """Name and version of what decodes: other versions may give other pixels, so it is part of every contract."""
    from importlib.metadata import version

    from PIL import Image, features

    codecs = ", ".join(f"{name} {features.version(name)}" for name in CODECS)
    return f"pixels {PIXELS_VERSION}, pillow {Image.__version__}, {codecs}, simplejpeg {version('simplejpeg')}"


@dataclass(frozen=True)
class Listed:
    """One source and the files in it."""

    source: Source
    prefix: str  # before each path of it in the table; empty where there is one source
    container: Container
    entries: list[Entry]


def listings(settings: Extract, spool: Path) -> list[Listed]:
    """The files of every source; none is opened but the archives' own directories."""
    if not settings.source:
        raise UserError("extract: no source named; give a folder or an archive: alacena extract SOURCE", Exit.USAGE)
    found: list[Listed] = []
    for source, prefix in zip(settings.source, _prefixes(settings.source), strict=True):
        container = open_container(Path(source.path), spool)
        found.append(Listed(source, prefix, container, container.entries()))
    return found


def _prefixes(sources: Sequence[Source]) -> list[str]:
    """A distinct first folder for each of several sources: its class, or its own name."""
    if len(sources) == 1:
        return [""]
    names = [source.class_name or Path(source.path).resolve().name for source in sources]
    return [f"{name}-{i}/" if names.count(name) > 1 else f"{name}/" for i, name in enumerate(names, 1)]


def extract_inputs(settings: Extract, found: list[Listed]) -> dict[str, str]:
    """File names, sizes and times; label lists outside the source; decoder and hashes."""
    names = [[each.prefix, *(f"{x.path}\0{x.bytes}\0{x.stamp}" for x in each.entries)] for each in found]
    outside = {str(file): file_digest(file) for file in _outside(settings) if file.is_file()}
    return {"files": digest(names), "lists": digest(outside), "reader": reader(settings)}


def reader(settings: Extract) -> str:
    """What decides the facts of a file besides its bytes; facts of another reader are not used again."""
    turned = " and turned" if settings.turned else ""
    return (
        f"{decoder()}; hashes {HASH_VERSION}{turned}; at most {settings.max_pixels} pixels; over {settings.background}"
    )


def _outside(settings: Extract) -> list[Path]:
    """Lists that may lie outside the source."""
    return [Path(file) for file in (settings.labels, settings.mapping) if file]


def curate_inputs(settings: Curate, images: str) -> dict[str, str]:
    return {
        "images": images,
        "rules": RULES_VERSION,
        "decisions": digest([[d.image, *d[2:5]] for d in read_decisions(settings.reject)]),
    }


def augment_inputs(curated: str) -> dict[str, str]:
    return {"curated": curated, "rules": RULES_VERSION}


def transform_inputs(views: str, background: str) -> dict[str, str]:
    return {"views": views, "background": background, "decoder": decoder()}
