"""Curves for TensorBoard, where somebody asks for them: a listener that writes `RUN/tensorboard/`. Off by default."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.errors import Exit, UserError
from training.folders import METRICS
from training.listening import Silent

if TYPE_CHECKING:
    from training.loop import Record

FOLDER = "tensorboard"  # in a run's folder
MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second")


def summary_writer() -> Any:
    """TensorBoard's own writer class. UserError (exit 6) where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            '--track tensorboard: tensorboard is not installed; get it with: uv pip install "alacena[tensorboard]"',
            Exit.MISSING,
        ) from None
    return SummaryWriter  # pyright: ignore[reportPrivateImportUsage]


class Tracker(Silent):
    """Hears of epochs and writes them; a run that goes on goes on in the same curves."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._writer: Any = None
        self._metrics = runs
        self._written = 0

    def started(self, info: dict[str, Any]) -> None:
        run = self._runs / info["run"] / info["key"]
        self._metrics = run / METRICS
        self._written = len(self._rows()) if (run / FOLDER).is_dir() else 0  # epochs
        self._writer = summary_writer()(str(run / FOLDER), purge_step=self._written + 1)

    def _rows(self) -> list[dict[str, str]]:
        if not self._metrics.is_file():
            return []
        with self._metrics.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))

    def epoch(self, record: "Record", eta_seconds: float) -> None:
        """All epochs that are not there yet: a run that took over a shorter one's has more than this one."""
        for row in self._rows()[self._written :]:
            for name in MEASURES:
                if row[name]:
                    self._writer.add_scalar(name, float(row[name]), int(row["epoch"]))
        self._written = record.epoch
        self._writer.flush()
