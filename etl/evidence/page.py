"""The page of a curation, written beside its table."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from etl.evidence import sections
from etl.evidence.evidence import Evidence
from etl.evidence.templates import TEMPLATES
from etl.evidence.thumbnails import Thumbnails
from manifests.pages.sections import page
from manifests.recipe import Curate
from manifests.store import write_whole

FILE = "curation.html"


def write_curation(
    folder: Path,
    table: pl.DataFrame | pl.LazyFrame,
    classes: list[str],
    counts: dict[str, Any],
    settings: Curate,
    read: Callable[[str], bytes] | None,
    *,
    name: str,
    digests: Mapping[str, str] | None = None,
) -> None:
    """Write `FOLDER/curation.html`. The same input gives the same bytes: it holds no clock.

    `table` is the marked image table, `counts` what `etl.curate.funnel` makes of it, `name` the data set's. `read`
    gives an image's bytes by its path and may raise `etl.images.Unusable`; None where the source is away. `digests`
    says what this is the curation of; without it, the digest of the table is stated.
    """
    evidence = Evidence(name, table.lazy(), classes, counts, settings, Thumbnails(read), digests)
    write_whole(folder / FILE, page(TEMPLATES, sections, evidence))
