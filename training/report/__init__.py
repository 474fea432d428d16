"""The report of a run: one HTML file that needs nothing else.

`page` gathers the sections, `sections/` holds one module a section, `evidence` is what they read, `charts` what they
draw with, `templates` fills their HTML in. A new section is a new module in `sections/`, with a template and, where it
wants one, a style sheet of the same name beside it.
"""

from training.report.page import write_report

__all__ = ["write_report"]
