"""One module a section: ORDER, TITLE, render(comparison) → HTML. `training.comparison.page` finds them here."""
