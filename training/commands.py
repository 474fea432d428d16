"""The commands of finished runs, and how a run is trained from the command line. `cli.py` gathers them.

A command parses, calls one function and prints. What needs both rooms, stages and runs, is in `cli.py`.
"""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manifests.commands import Call, command, option
from manifests.console import plain
from manifests.recipe import Train

DEVICE = option("auto, cpu, cuda or cuda:N. [default: auto]", default="auto", metavar="NAME")
RUN = option("Which run. [default: the newest]", "--run", metavar="NAME")


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


@command("alacena evaluate --split val")
def evaluate(
    call: Call,
    run: str | None = RUN,
    split: str | None = option("train, val or test. [default: test where there is one, else val]", metavar="SPLIT"),
    device: str = DEVICE,
) -> None:
    """Measure a run's best checkpoint on a split: scores, confusion, a prediction for each image, and the report."""
    from training.folders import find_run

    call.face.result(measure(call, find_run(call.dataset, run), split, device))


def measure(call: Call, folder: Path, split: str | None, device: str) -> dict[str, Any]:
    """Evaluate, write the report, show both, and give them as JSON."""
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
    return found.as_json() | {"folder": str(found.folder), "report": str(report)}
