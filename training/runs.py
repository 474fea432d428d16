"""A run: `STORE/DATASET/runs/NAME/KEY/`, from its first file to its last.

`run.json` says what is trained on what, at the start; `last.safetensors` and `metrics.csv` follow every epoch and
`best.safetensors` every better one; `stage.json` comes last and only when the run has finished. A folder without it is
an unfinished run, which `resume` continues; `.lock` is held by the process that trains it. Names, keys and finding a
run: `training.folders`.
"""

import csv
import io
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from manifests.digests import file_digest
from manifests.errors import Exit, UserError
from manifests.pixels import Statistics, normalisation
from manifests.recipe import Train
from manifests.shards import Index, read_index
from manifests.store import DatasetStore, Stage, read_stage, versions, write_whole
from training import checkpoints
from training.batches import Batches, fit
from training.features import cached
from training.folders import BEST, FACTS, LAST, METRICS, differences, key_settings, newest, run_folder
from training.folders import describe as describe  # for who names, finds and reads runs, and has torch loaded anyway
from training.folders import find_run as find_run
from training.folders import read_facts as read_facts
from training.loop import Record, Stopped, Trainer
from training.models import Classifier, build, normalise_name
from training.writing import clear, held

ETA_EPOCHS = 3  # epochs whose mean duration foretells the rest


class Listener(Protocol):
    """Who prints, plots or draws a bar."""

    def started(self, info: dict[str, Any]) -> None:
        """What `run.json` holds, once it is written."""
        ...

    def epoch(self, record: Record, eta_seconds: float) -> None: ...

    def said(self, line: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None:
        """`frozen backbone`: images that have passed it; `training`: steps of the whole run."""
        ...


class Silent:
    """The listener that says nothing."""

    def started(self, info: dict[str, Any]) -> None: ...

    def epoch(self, record: Record, eta_seconds: float) -> None: ...

    def said(self, line: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


class Interrupted(UserError):  # noqa: N818 # what happened, and no error
    """Stopped between two steps when asked to; what was done is kept and can be resumed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.INTERRUPTED)


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
    `resume` to go on or `restart` to begin again; with neither, UserError says what is kept. A non-finite loss is
    UserError (exit 8), and the last good checkpoint stays. While another process trains it: UserError (exit 2).
    """
    listen = listen or Silent()
    shards = dataset.folder("transform", transform_key)
    index = read_index(shards)
    folder = run_folder(dataset, settings, index)
    if read_stage(folder) and not restart:
        listen.said(f"run {folder.parent.name} is fresh: trained on these rows with these settings")
        return folder
    place = chosen_device(device)
    with ExitStack() as stack:
        stack.enter_context(held(folder))
        _admit(folder, settings, resume=resume, restart=restart, listen=listen)
        # The one place that touches torch's global generators: initialisation and dropout know no other. The caller
        # gets them back as they were; the order of the rows has a generator of its own.
        stack.enter_context(torch.random.fork_rng([place] if place.type == "cuda" else []))
        torch.manual_seed(settings.seed)
        statistics = run_statistics(settings, index)
        model = build(settings, classes=index.classes, contract=index.contract, statistics=statistics).to(place)
        outputs = model.outputs
        has_features = feature_cache and model.is_frozen
        info = _info(folder, settings, index, model) | {"transform": transform_key, "feature_cache": has_features}
        write_whole(folder / FACTS, json.dumps(info, indent=1, ensure_ascii=False) + "\n")
        listen.started(info)
        if has_features:
            shards, outputs = _features(dataset, shards, index, model, settings, listen, stop), model.head_outputs
        both_fit = fit(shards, ["train", "val"], place)  # asked before train takes its part; where not, val streams
        size, seed = settings.batch_size, settings.seed
        learned = stack.enter_context(Batches(shards, "train", size, place, seed=seed))
        val = stack.enter_context(Batches(shards, "val", size, place, resident=both_fit)) if index.rows("val") else None
        trainer = Trainer(settings, model, outputs, learned, val)
        _learn(folder, trainer, listen, stop)
        _finish(folder, trainer, index)
    return folder


def _learn(folder: Path, trainer: Trainer, listen: Listener, stop: Callable[[], bool]) -> None:
    """Every epoch that is still to come, from what is kept on; saved as they end."""
    facts, records = checkpoints.model_facts(trainer.model, trainer.settings), _restore(folder, trainer, listen)

    def save_last() -> None:
        history = {"history": [asdict(record) for record in records]}
        tensors = checkpoints.model_tensors(trainer.model) | trainer.tensors()
        checkpoints.save(folder / LAST, tensors, facts | trainer.facts() | history)

    try:
        for record in trainer.epochs(stop, partial(listen.progress, "training")):
            records.append(record)
            if record.best:  # without seconds, so that the same run gives the same bytes
                best = {"epoch": record.epoch, trainer.monitored: getattr(record, trainer.monitored)}
                checkpoints.save(folder / BEST, checkpoints.model_tensors(trainer.model), facts | best)
            write_metrics(folder, records)
            save_last()  # after best and metrics: a crash between them only repeats this epoch
            recent = [past.seconds for past in records[-ETA_EPOCHS:]]
            listen.epoch(record, (trainer.settings.epochs - trainer.epoch) * sum(recent) / len(recent))
    except Stopped:
        save_last()
        raise Interrupted(
            f"run {folder.parent.name}: stopped when asked to, with {_kept(trainer.facts())} kept. "
            f"Go on with: alacena train --resume --run {folder.parent.name}"
        ) from None


def _restore(folder: Path, trainer: Trainer, listen: Listener) -> list[Record]:
    """Put the trainer back to what `last` keeps, if anything; the records until then."""
    if not (folder / LAST).is_file():
        return []
    kept = checkpoints.read(folder / LAST)
    checkpoints.load_model(trainer.model, kept)
    trainer.restore(kept.tensors, kept.said)
    records = [Record(**values) for values in kept.said["history"]]
    write_metrics(folder, records)
    listen.said(f"run {folder.parent.name} goes on after {_kept(kept.said)}")
    return records


def _finish(folder: Path, trainer: Trainer, index: Index) -> None:
    """`stage.json`, the last file."""
    best = checkpoints.read_said(folder / BEST)
    counts = {
        "epochs": trainer.epoch,
        "best_epoch": best["epoch"],
        "best_value": best[trainer.monitored],
        "monitored": trainer.monitored,
        "stopped": "patience" if trainer.waiting.is_over and trainer.epoch < trainer.settings.epochs else "epochs",
    }
    files = {name: file_digest(folder / name) for name in (FACTS, METRICS, LAST, BEST)}
    seconds = round(sum(row["seconds"] for row in checkpoints.read_said(folder / LAST)["history"]), 3)
    done = Stage(
        "train", folder.name, key_settings(trainer.settings, index.contract), {"transform": index.digest}, files[BEST],
        counts, seconds, versions(), files,
    )  # fmt: skip
    write_whole(folder / "stage.json", json.dumps(asdict(done), indent=1, ensure_ascii=False) + "\n")


def _features(
    dataset: DatasetStore,
    shards: Path,
    index: Index,
    model: Classifier,
    settings: Train,
    listen: Listener,
    stop: Callable[[], bool],
) -> Path:
    """The shard set of the frozen backbone's features, made now if need be."""

    def progress(done: int, total: int) -> None:
        if stop():
            raise Interrupted(
                f"stopped when asked to, after {done} of {total} images had passed the frozen backbone; "
                "features are kept only whole, so the same command begins with them again."
            )
        listen.progress("frozen backbone", done, total)

    listen.said("the backbone is frozen: each image passes it once, and the head learns from the features")
    folder, was_there = cached(dataset, shards, index, model, settings, progress=progress)
    listen.said(f"features {'of an earlier run' if was_there else 'are kept'}: {folder}")
    return folder


def _admit(folder: Path, settings: Train, *, resume: bool, restart: bool, listen: Listener) -> None:
    """Whether this sitting may begin: UserError where something is kept and nobody said what to do with it."""
    name = folder.parent.name
    if restart:
        clear(folder)
    elif (folder / LAST).is_file() and not resume:
        raise UserError(
            f"run {name}: not finished, {_kept(checkpoints.read_said(folder / LAST))} kept; "
            "--resume goes on from there, --restart throws that away and begins again.",
            Exit.USAGE,
        )
    elif resume and not (folder / LAST).is_file():
        others = [other for other in newest(folder.parent.glob("*")) if (other / LAST).is_file()]
        if unfinished := [other for other in others if not read_stage(other)]:
            raise UserError(
                f"run {name}: what is kept was asked for otherwise ({differences(unfinished[0], settings)}); "
                "resume with the same settings and data, or leave --resume out to train anew.",
                Exit.USAGE,
            )
        listen.said(f"run {name}: nothing is kept yet; it begins with the first epoch")


def _kept(facts: dict[str, Any]) -> str:
    """`2 epochs and step 13 of the next`."""
    epochs = f"{facts['epoch']} epoch{'' if facts['epoch'] == 1 else 's'}"
    return f"{epochs} and step {facts['step']} of the next" if facts["step"] else epochs


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
    """`auto` is the first GPU where there is one, else the CPU. UserError for all but these two kinds."""
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


def _info(folder: Path, settings: Train, index: Index, model: Classifier) -> dict[str, Any]:
    """What `run.json` says, but for what `train` alone knows."""
    facts = checkpoints.model_facts(model, settings)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    place = model.normalise.scale.device
    libraries = {name: str(sys.modules[name].__version__) for name in ("torchvision", "timm") if name in sys.modules}
    return {"run": folder.parent.name, "key": folder.name, "dataset": index.dataset, "data": index.digest} | facts | {
        "parameters": sum(size for size, _ in sizes),
        "trainable": sum(size for size, learns in sizes if learns),
        "weights": key_settings(settings)["weights"],
        "device": f"{place} ({torch.cuda.get_device_name(place)})" if place.type == "cuda" else str(place),
        "versions": versions() | libraries,
        "rows": {split: index.rows(split) for split in index.splits},
    }  # fmt: skip
