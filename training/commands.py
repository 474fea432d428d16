"""The commands of finished runs, and how a run is trained from the command line. `cli.py` gathers them.

A command parses, calls one function and prints. What needs both rooms, stages and runs, is in `cli.py`.
"""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manifests.commands import Call, argument, command, option
from manifests.console import plain
from manifests.errors import Exit, UserError
from manifests.recipe import Train

DEVICE = option("auto, cpu, cuda or cuda:N. [default: auto]", default="auto", metavar="NAME")
RUN = option("Which run. [default: the newest]", "--run", metavar="NAME")
SPLIT = option("train, val or test. [default: test where there is one, else val]", metavar="SPLIT")


def learn(
    call: Call,
    run: Train,
    transform: str,
    device: str,
    *,
    resume: bool,
    restart: bool = False,
    cache: bool = True,
    track: str = "none",
    until: float | None = None,
) -> Path:
    """Train one run to its end, until Ctrl-C (the first asks it to stop after the step, the second stops at once), or
    until `until` on the monotonic clock."""
    from training import runs
    from training.display import Teller
    from training.listening import Several

    listeners: list[Any] = [Teller(call.face)]
    if track == "tensorboard":
        from training.tracking import Tracker

        listeners.append(Tracker(call.dataset.root / "runs"))
    with asked_to_stop() as asked:
        return runs.train(
            call.dataset, transform, run, resume=resume, restart=restart, device=device, feature_cache=cache,
            listen=Several(*listeners), stop=lambda: asked() or (until is not None and time.monotonic() > until),
        )  # fmt: skip


@contextmanager
def asked_to_stop() -> Generator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed while the block runs; the second time it ends the block at once."""
    pressed: list[bool] = []

    def stop(*_: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@command("alacena evaluate --split val --fail-under macro_f1=0.8")
def evaluate(
    call: Call,
    run: str | None = RUN,
    split: str | None = SPLIT,
    fail_under: list[str] | None = option(
        "Exit code 7 unless FIGURE is at least this, or, of loss and calibration_error, at most; several allowed.",
        "--fail-under", metavar="FIGURE=LIMIT",
    ),
    device: str = DEVICE,
) -> None:  # fmt: skip
    """Measure a run's best checkpoint on a split: scores, confusion, a prediction for each image, and the report."""
    from training.folders import find_run
    from training.gate import condition, failing

    for text in fail_under or ():  # before any work
        condition(text)
    found, said = measure(call, find_run(call.dataset, run), split, device)
    call.face.result(said)
    if failed := failing(found.scores, fail_under or ()):
        raise UserError(f"{found.run} on {found.split}: {'; '.join(failed)}.", Exit.GATE)


def measure(call: Call, folder: Path, split: str | None, device: str) -> tuple[Any, dict[str, Any]]:
    """Evaluate, write the report, show both; the evaluation, and both as JSON."""
    from training import display
    from training.evaluate import evaluate
    from training.folders import read_facts
    from training.report import write_report
    from training.runs import chosen_device

    shards = call.dataset.folder("transform", read_facts(folder)["transform"])
    found = evaluate(folder, shards, split, device=chosen_device(device), progress=call.face.tell)
    report = write_report(folder, shards)
    files = {"Predictions": found.folder / "predictions.csv", "Report": report}
    call.face.show(*display.evaluated(found), "", *(plain(f"{name}: {file}") for name, file in files.items()))
    return found, found.as_json() | {"folder": str(found.folder), "report": str(report)}


@command("alacena compare simple resnet18")
def compare(
    call: Call,
    runs: list[str] = argument("Names of runs (also of several seeds), patterns, or folders.", "RUN…", default=...),
    split: str | None = option("train, val or test. [default: test where all have it, else val]", metavar="SPLIT"),
    device: str = DEVICE,
) -> None:
    """Which run is better, by how much, and whether it is more than chance: on the same images, the first as baseline.

    Runs that are not evaluated on the split yet are evaluated first.
    """
    from training.compare import compared
    from training.comparison import shown, write_comparison
    from training.entrants import common_split, find_runs, missing

    folders = find_runs(call.dataset, runs)
    split = common_split(folders, split)
    for folder in missing(folders, split):
        call.face.say(f"{folder.parent.name}: not evaluated on {split} yet")
        measure(call, folder, split, device)
    found = compared(folders, split)
    page = write_comparison(call.dataset, found)
    call.face.show(*shown(found), "", plain(f"Page: {page}"))
    call.face.result(found.as_json() | {"page": str(page)})
