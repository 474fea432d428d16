"""Loss and accuracy over the epochs, train and val, the best epoch marked."""

from markupsafe import Markup

from manifests.pages.fragments import missing
from training.report.charts import Line, line_chart, numbers
from training.report.evidence import Evidence
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
    kinds = [kind for kind in ("train", "val") if numbers(evidence.epochs[f"{kind}_loss"].to_list())]
    monitor = str(evidence.facts["settings"]["monitor"])
    monitor = monitor if "val" in kinds else monitor.replace("val_", "train_")  # what the trainer does then
    return fragment("curves.html", charts=drawn, kinds=kinds, monitor=monitor)


def curve(evidence: Evidence, title: str, unit: str, measure: str) -> Markup | None:
    """The chart of one measure, or None where no epoch has it."""
    columns = {kind: evidence.epochs[f"{kind}_{measure}"].to_list() for kind in ("train", "val")}
    lines = [Line(kind, values) for kind, values in columns.items() if numbers(values)]
    return line_chart(title, unit, evidence.epochs["epoch"].to_list(), lines, evidence.best_epoch) if lines else None
