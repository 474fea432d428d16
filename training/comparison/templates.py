"""The comparison's own templates: those of this folder and of `sections/`."""

from pathlib import Path

from manifests.pages.fragments import Templates

FOLDER = Path(__file__).parent
TEMPLATES = Templates(FOLDER, FOLDER / "sections")
fragment = TEMPLATES.fragment
