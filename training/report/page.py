"""The page of a run, written into its folder."""

from pathlib import Path

from manifests.pages.sections import page
from manifests.store import write_whole
from training.folders import REPORT
from training.report import sections
from training.report.evidence import read_evidence
from training.report.templates import TEMPLATES


def write_report(run: Path, shards: Path) -> Path:
    """Write `RUN/report.html` and return its path. Raises UserError where run and shards do not belong together."""
    file = run / REPORT
    write_whole(file, page(TEMPLATES, sections, read_evidence(run, shards)))
    return file
