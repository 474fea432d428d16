"""Whether a sitting may begin: what a run's folder keeps, and what was asked to be done with it."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manifests.errors import Exit, UserError
from manifests.recipe import Train
from manifests.shards import Index
from manifests.store import flush, read_stage
from training import checkpoints
from training.folders import BEST, LAST, differences, key_settings, newest, read_facts
from training.listening import Listener
from training.writing import clear, replacing

STRETCHED = ("cosine", "onecycle")  # schedules that depend on how many epochs there are


def admit(folder: Path, settings: Train, index: Index, *, resume: bool, restart: bool, listen: Listener) -> None:
    """Whether this sitting may begin: UserError where something is kept and nobody said what to do with it."""
    name = folder.parent.name
    if restart:
        clear(folder)
    elif (folder / LAST).is_file() and not resume:
        raise UserError(
            f"run {name}: not finished, {kept(checkpoints.read_said(folder / LAST))} kept; "
            "--resume goes on from there, --restart throws that away and begins again.",
            Exit.USAGE,
        )
    elif resume and not (folder / LAST).is_file():
        if shorter := _shorter(folder, settings, index):
            _take_over(folder, shorter, settings, listen)
            return
        others = [other for other in newest(folder.parent.glob("*")) if (other / LAST).is_file()]
        if unfinished := [other for other in others if not read_stage(other)]:
            raise UserError(
                f"run {name}: what is kept was asked for otherwise ({differences(unfinished[0], settings)}); "
                "resume with the same settings and data, or leave --resume out to train anew.",
                Exit.USAGE,
            )
        listen.said(f"run {name}: nothing is kept yet; it begins with the first epoch")


def _shorter(folder: Path, settings: Train, index: Index) -> Path | None:
    """A run that was asked for the same but with fewer epochs: of the same name, or the one that got furthest."""
    found: list[tuple[bool, int, Path]] = []
    for other in newest(folder.parents[1].glob("*/*")):
        with suppress(UserError):  # a damaged run is nobody's to go on with
            facts = read_facts(other)
            if facts["data"] == index.digest and (other / LAST).is_file() and _is_shorter(facts["settings"], settings):
                done = int(checkpoints.read_said(other / LAST)["epoch"])
                found.append((other.parent == folder.parent, done, other))
    return max(found, key=lambda each: each[:2])[2] if found else None


def _is_shorter(there: dict[str, Any], settings: Train) -> bool:
    try:
        other = key_settings(Train.model_validate(there))
    except (UserError, ValidationError):  # its weights are gone, or it is from another version
        return False
    here = key_settings(settings)
    return there["epochs"] < settings.epochs and other | {"epochs": 0} == here | {"epochs": 0}


def _take_over(folder: Path, shorter: Path, settings: Train, listen: Listener) -> None:
    """Begin with what a shorter run kept, which stays as it is."""
    epochs = read_facts(shorter)["settings"]["epochs"]
    if (shorter / BEST).is_file():  # not before its first epoch is over
        before = checkpoints.read(shorter / BEST)
        checkpoints.save(folder / BEST, before.tensors, before.said | {"settings": settings.asked()})
    with replacing(folder / LAST, "Free some space (prune), then go on with: train --resume") as temporary:
        shutil.copyfile(shorter / LAST, temporary)
        flush(temporary)
    listen.said(f"run {shorter.parent.name} of {epochs} epochs goes on to {settings.epochs}, as {folder.parent.name}")
    if settings.schedule in STRETCHED:
        listen.said(f"the schedule {settings.schedule} is that of {settings.epochs} epochs from here on")


def kept(facts: dict[str, Any]) -> str:
    """`2 epochs and step 13 of the next`."""
    epochs = f"{facts['epoch']} epoch{'' if facts['epoch'] == 1 else 's'}"
    return f"{epochs} and step {facts['step']} of the next" if facts["step"] else epochs
