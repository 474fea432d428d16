"""Where a picture's numbers lie: a link to the CSV beside the report, for who wants to count again."""

from pathlib import Path

from markupsafe import Markup

from training.folders import evaluation_folder
from training.report.evidence import Evidence


def numbers_of(evidence: Evidence, name: str) -> Markup:
    """The sentence that links a file of the evaluation that the report speaks of."""
    return numbers_in(evidence, evaluation_folder(evidence.run, str(evidence.split)) / name)


def numbers_in(evidence: Evidence, file: Path) -> Markup:
    """The sentence that links a file under the run, as the report sees it; empty where the file is not there."""
    if not file.is_file():
        return Markup("")
    place = file.relative_to(evidence.run).as_posix()
    return Markup('Numbers: <a href="{place}"><code>{place}</code></a>.').format(place=place)
