"""The page of a run, written into its folder."""

from pathlib import Path

from manifests.pages.sections import Inset, page
from manifests.store import write_whole
from training.folders import DATA, REPORT
from training.report import sections
from training.report.evidence import read_evidence
from training.report.templates import TEMPLATES


def write_report(run: Path, shards: Path, story: Inset | None = None) -> Path:
    """Write `RUN/report.html` and return its path. Raises UserError where run and shards do not belong together.

    `story` is how the images came to be what they are (`etl.evidence.inset`); without it, the report says so.
    """
    file = run / REPORT
    if story and story.numbers:
        write_whole(run / DATA, story.numbers)
    write_whole(file, page(TEMPLATES, sections, read_evidence(run, shards, story), {"data": story}))
    return file
