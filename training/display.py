"""What a run says while it learns, and what an evaluation found, for a terminal. Imports no torch by itself."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from manifests.console import Face, duration, plain, table
from training.results import seeds_of

if TYPE_CHECKING:
    from training.evaluate import Evaluation
    from training.loop import Record

MATRIX_CLASSES = 15  # above it, a terminal shows the most-confused pairs alone
WORST = 30  # classes listed on screen; all are in metrics.json


class Teller:
    """Listens to a run: what is trained at the start, a line an epoch, remarks on stderr."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.info: dict[str, Any] = {}

    def started(self, info: dict[str, Any]) -> None:
        self.info, later = info, info.get("trainable_later")
        height, width = info["contract"]["height"], info["contract"]["width"]
        rows = f"{info['rows']['train']:,} train and {info['rows'].get('val', 0):,} val rows of {height}×{width}"
        self.face.show(
            f"[bold]{plain(info['run'])}[/bold]: {plain(str(info['settings']['model']))} on "
            f"{len(info['classes'])} classes, {rows}, on {plain(info['device'])}",
            f"normalised by {info['normalise']}; weights {plain(weights_name(info))}"
            + (f", licence {plain(str(info['licence']))}" if info.get("licence") else "")
            + f"; {info['trainable']:,} of {info['parameters']:,} parameters learn"
            + (f", {later:,} after epoch {info['settings']['unfreeze_after']}" if later else ""),
            "epoch  train loss  accuracy   val loss  accuracy       rate  images/s      left",
        )

    def epoch(self, record: "Record", eta_seconds: float) -> None:
        val = [f"{value:.4f}" if value is not None else "–" for value in (record.val_loss, record.val_accuracy)]
        self.face.show(
            f"{record.epoch:5d}  {record.train_loss:10.4f}  {record.train_accuracy:8.4f} {val[0]:>10}  {val[1]:>8}"
            f"  {record.learning_rate:9.2e}  {record.images_per_second:8,.0f}  {duration(eta_seconds):>8}"
            + (" best" if record.best else "")
        )

    def said(self, line: str) -> None:
        self.face.say(line)

    def progress(self, what: str, done: int, total: int) -> None:
        self.face.tell(what, done, total)


def weights_name(info: dict[str, Any]) -> str:
    """`none`, `default`, or a file's name and the first digits of its digest."""
    known, asked = str(info["weights"]), str(info["settings"].get("weights"))
    digest = known.removeprefix("sha256:")
    return known if known == digest else f"{Path(asked).name} ({digest[:12]})"


def evaluated(evaluation: "Evaluation") -> Iterable[str | Table]:
    figures = evaluation.scores
    low, high = figures.interval
    yield (
        f"[bold]{plain(evaluation.run)}[/bold] on {evaluation.split}: accuracy [bold]{figures.accuracy:.4f}[/bold] "
        f"(95 % interval {low:.3f} to {high:.3f}, n = {figures.images:,}), "
        f"loss {figures.loss:.4f}, top-5 {figures.top5:.4f}"
    )
    timing = evaluation.timing
    yield (
        f"balanced accuracy {figures.balanced_accuracy:.4f}, calibration error {figures.calibration_error:.4f}; "
        f"{timing.milliseconds_per_image:.3g} ms an image on {plain(evaluation.device)}, "
        f"the whole model alone in batches of {timing.timed_batch_size}"
    )
    yield from (f"Note: {plain(note)}" for note in evaluation.notes)
    worst = sorted(figures.classes, key=lambda score: score.f1)[:WORST]
    shown = figures.classes if len(figures.classes) <= WORST else worst
    rows = [(score.name, score.precision, score.recall, score.f1, score.support) for score in shown]
    means = [("macro mean", figures.macro), ("weighted mean", figures.weighted)]
    rows += [(name, mean.precision, mean.recall, mean.f1, figures.images) for name, mean in means]
    yield table(
        (
            "class" if len(shown) == len(figures.classes) else f"{WORST} worst classes",
            "precision",
            "recall",
            "F1",
            "support",
        ),
        rows,
    )
    if len(figures.classes) <= MATRIX_CLASSES:
        yield "\nConfusion (rows: truth, columns: predicted)"
        names = [score.name for score in figures.classes]
        short = [str(number) for number in range(1, len(names) + 1)]
        body = [(f"{short[i]} {name}", *figures.confusion[i]) for i, name in enumerate(names)]
        yield table(("", *short), body)
    elif figures.confused:
        yield "\nMost confused"
        yield table(("truth", "predicted", "images"), [(p.truth, p.predicted, p.images) for p in figures.confused[:10]])


def runs_shown(rows: Sequence[dict[str, Any]]) -> Iterable[str | Table]:
    """`rows`: run, state, epochs, split, accuracy, loss, reported; below, runs that differ by their seed, as one."""
    columns = ("run", "state", "epochs", "split", "accuracy", "loss", "reported")
    yield table(columns, [[row.get(column) for column in columns] for row in rows])
    yield from (plain(f"{name}: {what} {said}") for name, what, said in seeds_of(rows))
