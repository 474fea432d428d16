"""Runs as folders, `STORE/DATASET/runs/NAME/KEY/`: their names and keys, and finding and reading them. Without torch.

KEY is made of the settings and the data's digest; who fills the folder is `training.runs`, and
`evaluation/SPLIT/` in it `training.evaluate`.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manifests.digests import digest, file_digest
from manifests.errors import Exit, UserError, known
from manifests.pixels import PixelContract
from manifests.recipe import Train
from manifests.shards import Index
from manifests.store import DatasetStore, stage_key

LAST, BEST, FACTS, METRICS = "last.safetensors", "best.safetensors", "run.json", "metrics.csv"
REPORT, DATA = "report.html", "data.csv"  # the page, and the numbers of its story of the data
FIGURES, PREDICTIONS, CONFUSION = "metrics.json", "predictions.csv", "confusion.csv"  # of an evaluation
CLASSES, CALIBRATION = "classes.csv", "calibration.csv"  # the same
SEED = re.compile(r"(?P<group>.+)-seed(?P<seed>\d+)")  # how `Train.repeated` names the runs of several seeds
NOT_IN_KEY = (
    "run",
    "reported",
    "transform",
    "licence",
    "seeds",
)  # the name, the report's figures; the data's digest says the pixels


def key_settings(settings: Train, contract: PixelContract | None = None) -> dict[str, Any]:
    """What of the settings decides the run's numbers: a weights file by its content, the normalisation in effect.

    Without a contract, as on uint8 pixels.
    """
    asked = {name: value for name, value in settings.asked().items() if name not in NOT_IN_KEY}
    asked = {name: value for name, value in asked.items() if decides(name, settings)}
    asked["normalise"] = settings.normalise or default_normalise(contract)
    asked["pool"] = settings.pool or ("flatten" if settings.model == "simple" else "average")
    if settings.weights not in {"none", "default"}:
        try:
            asked["weights"] = f"sha256:{_content(Path(settings.weights))}"
        except OSError as error:
            raise UserError(
                f"weights = {settings.weights!r}: cannot be read ({error.strerror}). "
                "Known: none, default, or FILE (.safetensors, .pth).",
                Exit.RECIPE,
            ) from None
    return asked


def decides(name: str, settings: Train) -> bool:
    """Whether a setting has a part in this run's numbers: the gamma of no schedule has none."""
    waits = settings.patience is not None or settings.schedule == "plateau"
    needs = {
        "widths": settings.model == "simple",
        "momentum": settings.optimizer == "sgd",
        "gamma": settings.schedule in {"step", "exponential", "plateau"},
        "step_epochs": settings.schedule == "step",
        "plateau_epochs": settings.schedule == "plateau",
        "semantics": waits,
        "min_delta": waits,
        "unfreeze_to": settings.unfreeze_after is not None,
        "unfreeze_learning_rate": settings.unfreeze_after is not None,
    }
    return needs.get(name, True)


def deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """Of settings as `run.json` has them, those that have a part in the run; all where they are another version's."""
    try:
        asked = Train.model_validate(settings)
    except ValidationError:
        return settings
    return {name: value for name, value in settings.items() if decides(name, asked)}


def default_normalise(contract: PixelContract | None) -> str:
    """What a run normalises by that states nothing: what float shards were stored with; imagenet for uint8."""
    if contract is None or contract.dtype == "uint8":
        return "imagenet"
    return contract.normalise or "none"


def _content(file: Path) -> str:
    """A file's sha256, read again only where size or time of change differ: weights have hundreds of megabytes."""
    found = file.stat()
    return _digest(file, found.st_size, found.st_mtime_ns)


@cache
def _digest(file: Path, _size: int, _mtime_ns: int) -> str:
    return file_digest(file)


def describe(settings: Train) -> str:
    """The default name of a run: the model, how it learns, and the settings' digest: `mobilenet_v2-frozen-3f9a1c2b`."""
    model = re.sub(r"[^\w.+-]", "_", settings.model.rpartition("/")[2])
    is_frozen = settings.freeze == "backbone" and settings.unfreeze_after is None
    kind = "-frozen" if is_frozen else "" if settings.weights == "none" else "-tuned"
    return f"{model}{kind}-{digest(key_settings(settings))[:8]}"


def run_folder(dataset: DatasetStore, settings: Train, index: Index) -> Path:
    """Where the run of these settings on these rows lives, whether it is there or not."""
    key = stage_key("train", key_settings(settings, index.contract), {"transform": index.digest})
    return dataset.root / "runs" / (settings.run or describe(settings)) / key


def find_run(dataset: DatasetStore, name: str | None = None) -> Path:
    """The newest run of that name, finished or not; without a name, the newest of all."""
    folders = newest((dataset.root / "runs").glob("*/*"))
    if found := [folder for folder in folders if name in {None, folder.parent.name}]:
        return found[0]
    if name is None or not folders:
        raise UserError(f"{dataset.root}: no run here yet; begin with: alacena train", Exit.USAGE)
    names = sorted({folder.parent.name for folder in folders})
    raise UserError(f"{dataset.root}: no run {name!r}. {known(name, names)}", Exit.USAGE)


def newest(folders: Iterable[Path]) -> list[Path]:
    """Folders of runs, the one that changed last first."""
    runs = [folder for folder in folders if (folder / FACTS).is_file()]
    return sorted(runs, key=lambda folder: (_changed(folder), str(folder)), reverse=True)


def _changed(folder: Path) -> int:
    return max(file.stat().st_mtime_ns for name in (FACTS, LAST, "stage.json") if (file := folder / name).is_file())


def read_facts(folder: Path) -> dict[str, Any]:
    """`run.json`, what `train` was asked and of what; its `settings` make a `Train` again."""
    file = folder / FACTS
    try:
        return json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder}: no run here ({FACTS} is missing); make one with: alacena train", Exit.STALE
        ) from None
    except (OSError, ValueError):
        raise UserError(f"{file}: damaged; train again with --restart.", Exit.STALE) from None


def evaluation_folder(run: Path, split: str) -> Path:
    """Where the evaluation of a run on a split lies, whether it is there or not."""
    return run / "evaluation" / split


def differences(kept: Path, settings: Train) -> str:
    """`epochs: 5 kept, 10 asked`."""
    there, here = read_facts(kept)["settings"], settings.asked()
    changed = [n for n in here if n not in NOT_IN_KEY and here[n] != there.get(n)]
    return "; ".join(f"{n}: {there.get(n)} kept, {here[n]} asked" for n in changed) or "the shards have changed since"


def chosen_checkpoint(run: Path) -> tuple[Path, str | None]:
    """A run's best checkpoint; where there is none its last, and what is to be said of that. UserError for neither."""
    if (run / BEST).is_file():
        return run / BEST, None
    if (run / LAST).is_file():
        return run / LAST, f"{run.parent.name}: there is no best checkpoint in this run; the last one is used"
    raise UserError(f"{run}: neither {BEST} nor {LAST}; train the run first.", Exit.STALE)
