"""A run: `STORE/DATASET/runs/NAME/KEY/`, from its first file to its last.

`run.json` says what is trained on what and `environment.json` where, at the start; `last.safetensors` and `metrics.csv`
follow every epoch and `best.safetensors` every better one; `stage.json` comes last and only when the run has finished.
A folder without it is an unfinished run, which `resume` continues; `.lock` is held by the process that trains it.
Names, keys and finding a run: `training.folders`; whether a sitting may begin: `training.admission`.
"""

import csv
import io
import json
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.memory import keep_freed_memory
from manifests.pixels import Statistics, normalisation
from manifests.recipe import Train
from manifests.shards import Index, read_index
from manifests.store import DatasetStore, Stage, read_stage, versions, write_whole
from training import checkpoints
from training.admission import admit, kept
from training.batches import Batches, fit
from training.environment import ENVIRONMENT, deterministic, environment, library_versions, only_deterministic
from training.features import cached
from training.folders import BEST, FACTS, LAST, METRICS, key_settings, run_folder
from training.folders import describe as describe  # for who names, finds and reads runs, and has torch loaded anyway
from training.folders import find_run as find_run
from training.folders import read_facts as read_facts
from training.listening import Interrupted as Interrupted
from training.listening import Listener, Silent
from training.loop import Inputs, Record, Stopped, Trainer
from training.models import Classifier, build, normalise_name
from training.step import check_class_names
from training.turns import images_of
from training.weights import licence
from training.writing import held

ETA_EPOCHS = 3  # epochs whose mean duration foretells the rest


def train(
    dataset: DatasetStore,
    transform_key: str,
    settings: Train,
    *,
    resume: bool = False,
    restart: bool = False,
    device: str = "auto",
    feature_cache: bool = True,
    listen: Listener | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train to the end and give back the run's folder; a finished run is fresh and nothing happens.

    `stop` is asked between steps: once it says yes, `last` is saved and Interrupted raised. An unfinished run needs
    `resume` to go on or `restart` to begin again; with neither, UserError says what is kept. `resume` also goes on with
    a run of fewer epochs. A non-finite loss is UserError (exit 8), and the last good checkpoint stays. While another
    process trains it: UserError (exit 2).
    """
    listen = listen or Silent()
    shards = dataset.folder("transform", transform_key)
    index = read_index(shards)
    folder = run_folder(dataset, settings, index)
    if read_stage(folder) and not restart:
        listen.said(f"run {folder.parent.name} is fresh: trained on these rows with these settings")
        return folder
    with ExitStack() as stack:
        stack.enter_context(deterministic(settings.deterministic))
        place = chosen_device(device)
        stack.enter_context(seeded(settings.seed, place))
        model = made_model(settings, index, place)  # what is refused here has left no folder
        stack.enter_context(held(folder))
        admit(folder, settings, index, resume=resume, restart=restart, listen=listen)
        has_features = feature_cache and model.is_frozen
        info = _info(folder, settings, index, model) | {"transform": transform_key, "feature_cache": has_features}
        write_whole(folder / FACTS, json.dumps(info, indent=1, ensure_ascii=False) + "\n")
        write_whole(folder / ENVIRONMENT, json.dumps(environment(settings, index, place), indent=1) + "\n")
        listen.started(info)
        feeder = stack.enter_context(Feeder(dataset, shards, index, model, settings, listen, stop, feature_cache))
        trainer, records = _begun(folder, settings, model, feeder, listen)
        with only_deterministic(settings.deterministic):
            _learn(folder, trainer, records, listen, stop)
        _finish(folder, trainer, index)
    return folder


@contextmanager
def seeded(seed: int, place: torch.device) -> Generator[None]:
    """Torch's global generators from a seed, and as they were afterwards.

    Initialisation and dropout know no other; the order of the rows has a generator of its own.
    """
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def made_model(settings: Train, index: Index, place: torch.device) -> Classifier:
    """The classifier for these shards, on the device. UserError where the settings weigh a class that is not there."""
    check_class_names(settings, index.classes)
    statistics = run_statistics(settings, index)
    return build(settings, classes=index.classes, contract=index.contract, statistics=statistics).to(place)


class Feeder:
    """What a run's model is fed, phase by phase: pixels, or while its backbone is frozen the backbone's features."""

    def __init__(
        self,
        dataset: DatasetStore,
        shards: Path,
        index: Index,
        model: Classifier,
        settings: Train,
        listen: Listener,
        stop: Callable[[], bool],
        feature_cache: bool,
    ) -> None:
        self.dataset = dataset
        self.shards = shards
        self.index = index
        self.model = model
        self.settings = settings
        self._listen = listen
        self._stop = stop
        self._cache = feature_cache
        self._opened: ExitStack | None = None

    def inputs(self) -> Inputs:
        """For the model as it is frozen now; what was given before is closed."""
        if self._opened is not None:
            self._listen.said(f"what was frozen begins to learn: {self.model.learning:,} parameters from here on")
        self.close()
        self._opened = ExitStack()
        settings, shards, forward = self.settings, self.shards, Classifier.outputs
        if self._cache and self.model.is_frozen:
            shards, forward = self._features(), Classifier.head_outputs
        place, size = self.model.normalise.scale.device, settings.batch_size
        images = images_of(self.shards, "train") if settings.views == "rotate" else None
        both_fit = fit(shards, ["train", "val"], place)  # asked before train takes its part; where not, val streams
        learned = self._opened.enter_context(Batches(shards, "train", size, place, seed=settings.seed, images=images))
        val = None
        if self.index.rows("val"):
            val = self._opened.enter_context(Batches(shards, "val", size, place, resident=both_fit))
        return Inputs(forward, learned, val)

    def _features(self) -> Path:
        """The shard set of the frozen backbone's features, made now if need be."""
        self._listen.said("the backbone is frozen: each image passes it once, and the head learns from the features")
        folder, was_there = cached(
            self.dataset, self.shards, self.index, self.model, self.settings, progress=self._passing
        )
        self._listen.said(f"features {'of an earlier run' if was_there else 'are kept'}: {folder}")
        return folder

    def _passing(self, done: int, total: int) -> None:
        if self._stop():
            raise Interrupted(
                f"stopped when asked to, after {done} of {total} images had passed the frozen backbone; "
                "features are kept only whole, so the same command begins with them again."
            )
        self._listen.progress("frozen backbone", done, total)

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


def _begun(
    folder: Path, settings: Train, model: Classifier, feeder: Feeder, listen: Listener
) -> tuple[Trainer, list[Record]]:
    """The trainer, put back to what `last` keeps if anything, and the records until then.

    The weights come first: the features of what is frozen, and its statistics, are those of the run as it stands.
    """
    if not (folder / LAST).is_file():
        return Trainer(settings, model, feeder.inputs), []
    before = checkpoints.read(folder / LAST)
    checkpoints.load_model(model, before)
    trainer = Trainer(settings, model, feeder.inputs, phase=before.said["phase"])
    trainer.restore(before.tensors, before.said)
    records = [Record(**values) for values in before.said["history"]]
    write_metrics(folder, records)
    listen.said(f"run {folder.parent.name} goes on after {kept(before.said)}")
    return trainer, records


def _learn(folder: Path, trainer: Trainer, records: list[Record], listen: Listener, stop: Callable[[], bool]) -> None:
    """Every epoch that is still to come, after those of the records; saved as they end."""
    facts, name = checkpoints.model_facts(trainer.model, trainer.settings), folder.parent.name

    def save_last() -> None:
        history = {"history": [asdict(record) for record in records]}
        tensors = checkpoints.model_tensors(trainer.model) | trainer.tensors()
        checkpoints.save(folder / LAST, tensors, facts | trainer.facts() | history)

    try:
        for record in trainer.epochs(stop, partial(listen.progress, "training")):
            records.append(record)
            if record.best:  # without seconds, so that the same run gives the same bytes
                best = {"epoch": record.epoch, trainer.monitored: getattr(record, trainer.monitored)}
                checkpoints.save(folder / BEST, checkpoints.model_tensors(trainer.judged), facts | best)
            write_metrics(folder, records)
            save_last()  # after best and metrics: a crash between them only repeats this epoch
            recent = [past.seconds for past in records[-ETA_EPOCHS:]]
            listen.epoch(record, (trainer.settings.epochs - trainer.epoch) * sum(recent) / len(recent))
    except Stopped:
        save_last()
        raise Interrupted(
            f"run {name}: stopped when asked to, with {kept(trainer.facts())} kept. "
            f"Go on with: alacena train --resume --run {name}"
        ) from None


def _finish(folder: Path, trainer: Trainer, index: Index) -> None:
    """`stage.json`, the last file."""
    best = checkpoints.read_said(folder / BEST)
    counts = {
        "epochs": trainer.epoch,
        "best_epoch": best["epoch"],
        "best_value": best[trainer.monitored],
        "monitored": trainer.monitored,
        "stopped": "patience" if trainer.epoch < trainer.settings.epochs else "epochs",
    }
    files = {name: file_digest(folder / name) for name in (FACTS, METRICS, LAST, BEST, ENVIRONMENT)}
    seconds = round(sum(row["seconds"] for row in checkpoints.read_said(folder / LAST)["history"]), 3)
    done = Stage(
        "train", folder.name, key_settings(trainer.settings, index.contract), {"transform": index.digest}, files[BEST],
        counts, seconds, versions(), files,
    )  # fmt: skip
    write_whole(folder / "stage.json", json.dumps(asdict(done), indent=1, ensure_ascii=False) + "\n")


def write_metrics(folder: Path, records: list[Record]) -> None:
    """`metrics.csv`, a row an epoch; an empty cell where there is no validation split."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(field.name for field in fields(Record))
    rows.writerows([int(v) if isinstance(v, bool) else v for v in asdict(record).values()] for record in records)
    write_whole(folder / METRICS, text.getvalue())


def run_statistics(settings: Train, index: Index) -> Statistics:
    """Mean and deviation that the run normalises by; those that float shards were stored with."""
    contract = index.contract
    name = normalise_name(settings, contract)
    if contract.mean is not None and contract.deviation is not None:
        return contract.mean, contract.deviation
    return normalisation(name, contract.shape[2], (index.mean, index.deviation))


def chosen_device(name: str) -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU. UserError for all but these two kinds.

    Whoever computes asks here first: so this process keeps the memory that it frees from now on.
    """
    keep_freed_memory()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in {"cpu", "cuda"}:
        raise UserError(f"device = {name!r}: batches cannot be brought there; use auto, cpu or cuda.", Exit.USAGE)
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"device = {name!r}: not to be had here ({reason}); use auto, cpu or cuda.", Exit.USAGE
        ) from None


def _learning_later(model: Classifier, settings: Train) -> int | None:
    """Parameters that learn in the second phase; None where there is none."""
    if settings.unfreeze_after is None:
        return None
    model.freeze(settings.unfreeze_to)
    count = model.learning
    model.freeze(settings.freeze)
    return count


def _info(folder: Path, settings: Train, index: Index, model: Classifier) -> dict[str, Any]:
    """What `run.json` says, but for what `train` alone knows."""
    facts = checkpoints.model_facts(model, settings)
    place = model.normalise.scale.device
    return {"run": folder.parent.name, "key": folder.name, "dataset": index.dataset, "data": index.digest} | facts | {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable": model.learning,
        "trainable_later": _learning_later(model, settings),
        "weights": key_settings(settings)["weights"],
        "licence": licence(settings),
        "device": f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place),
        "versions": library_versions(),
        "rows": {split: index.rows(split) for split in index.splits},
    }  # fmt: skip
