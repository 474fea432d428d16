"""Curves for TensorBoard, where somebody asks for them: a listener that writes `RUN/tensorboard/`. Off by default."""

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

    def started(self, info: dict[str, Any]) -> None:
        run = self._runs / info["run"] / info["key"]
        metrics = run / METRICS
        done = max(len(metrics.read_text("utf-8").splitlines()) - 1, 0) if metrics.is_file() else 0
        self._writer = summary_writer()(str(run / FOLDER), purge_step=done + 1)

    def epoch(self, record: "Record", eta_seconds: float) -> None:
        for name in MEASURES:
            if (value := getattr(record, name)) is not None:
                self._writer.add_scalar(name, value, record.epoch)
        self._writer.flush()
