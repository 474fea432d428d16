"""One module a section: ORDER, TITLE, render(evidence) → HTML. `etl.evidence.page` finds them here."""
