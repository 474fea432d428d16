"""One module a section: ORDER, TITLE, render(evidence) → HTML. `training.report.page` finds them here."""
