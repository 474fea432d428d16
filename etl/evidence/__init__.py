"""The evidence of a curation: `curation.html`, one file that needs nothing else.

`page` gathers the sections, `sections/` holds one module a section, `evidence` is what they read, `steps` the order in
which images leave, `cards` shows images, `histograms` draws. A new section is a new module in `sections/`, with a
template and, where it wants one, a style sheet of the same name beside it. `inset` tells the essentials of it to the
report of a run.
"""

from etl.evidence.page import write_curation

__all__ = ["write_curation"]
