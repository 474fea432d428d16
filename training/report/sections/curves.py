"""Loss and accuracy over the epochs, train and val, the best epoch marked."""

from markupsafe import Markup

from manifests.pages.fragments import missing
from training.folders import METRICS
from training.report.charts import Line, line_chart, numbers
from training.report.evidence import Evidence
from training.report.numbers import numbers_in
from training.report.templates import fragment

ORDER = 20
TITLE = "Curves"


def render(evidence: Evidence) -> Markup:
    drawn = [
        chart
        for title, unit, measure in (("Loss", "", "loss"), ("Accuracy", "%", "accuracy"))
        if (chart := curve(evidence, title, unit, measure))
    ]
    if not drawn:
        return missing("No epoch is finished yet, so there is nothing to draw.")
    kinds = [kind for kind in ("train", "val") if numbers(values(evidence, f"{kind}_loss"))]
    monitor = str(evidence.facts["settings"]["monitor"])
    monitor = monitor if "val" in kinds else monitor.replace("val_", "train_")  # what the trainer does then
    drawn += [chart] if (chart := rate(evidence)) else []
    linked = numbers_in(evidence, evidence.run / METRICS)
    return fragment("curves.html", charts=drawn, kinds=kinds, monitor=monitor, numbers=linked)


def curve(evidence: Evidence, title: str, unit: str, measure: str) -> Markup | None:
    """The chart of one measure, or None where no epoch has it."""
    columns = {kind: values(evidence, f"{kind}_{measure}") for kind in ("train", "val")}
    lines = [Line(kind, column) for kind, column in columns.items() if numbers(column)]
    return line_chart(title, unit, evidence.epochs["epoch"].to_list(), lines, evidence.best_epoch) if lines else None


def rate(evidence: Evidence) -> Markup | None:
    """The chart of the learning rate, or None where it never changed."""
    column = values(evidence, "learning_rate")
    if len(set(numbers(column))) < 2:
        return None
    return line_chart("Learning rate", "", evidence.epochs["epoch"].to_list(), [Line("rate", column)], None)


def values(evidence: Evidence, column: str) -> list[float | None]:
    """A column of metrics.csv; one that a run does not keep has no value in any epoch."""
    epochs = evidence.epochs
    return epochs[column].to_list() if column in epochs.columns else [None] * epochs.height
