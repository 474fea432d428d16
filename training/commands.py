"""What the commands of runs share: how a run is trained from the command line, and what is said of it.

The commands themselves need both rooms, stages and runs, and are in `cli.py`.
"""

import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.commands import Call, option
from manifests.errors import Exit, UserError, known

if TYPE_CHECKING:
    from manifests.recipe import Train

DEVICE = option("auto, cpu, cuda or cuda:N. [default: auto]", default="auto", metavar="NAME")
RUN = option("Which run. [default: the newest]", "--run", metavar="NAME")
TRACKERS = ("none", "tensorboard")
SPLIT = option("train, val or test. [default: test where there is one, else val]", metavar="SPLIT")


def learn(
    call: Call,
    run: "Train",
    transform: str,
    device: str,
    *,
    resume: bool,
    restart: bool = False,
    cache: bool = True,
    track: str = "none",
    is_late: Callable[[], bool] = lambda: False,
    begun: Callable[[], None] = lambda: None,
) -> Path:
    """Train one run to its end, until Ctrl-C (the first asks it to stop after the step, the second stops at once), or
    it `is_late`. `begun` is called once its model is there and it has been let in."""
    from training import runs
    from training.display import Teller
    from training.environment import fix_workspace
    from training.listening import Begun, Several

    fix_workspace()
    listeners: list[Any] = [Begun(begun), Teller(call.face)]
    if track == "tensorboard":
        from training.tracking import Tracker

        listeners.append(Tracker(call.dataset.root / "runs"))
    with asked_to_stop() as asked:
        return runs.train(
            call.dataset, transform, run, resume=resume, restart=restart, device=device, feature_cache=cache,
            listen=Several(*listeners), stop=lambda: asked() or is_late(),
        )  # fmt: skip


def limit(minutes: float | None) -> Callable[[], bool]:
    """Whether so many minutes have passed since it was asked for the first time.

    That is before the first step, or the first batch through a frozen backbone. Never at that first time, so
    that every sitting, however short, gets a step further.
    """
    begun: list[float] = []

    def is_late() -> bool:
        now = time.monotonic()
        if not begun:
            begun.append(now)
            return False
        return minutes is not None and now > begun[0] + 60 * minutes

    return is_late


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


def resumed(call: Call, settings: "Train") -> "Train":
    """What to go on with: the settings as named, or, where only a name or more epochs are, those that were begun."""
    from manifests.recipe import COMMAND_LINE, Train, checked
    from training.results import begun, named

    said = settings.model_copy(update={"run": None, "epochs": Train().epochs})
    if said != Train():
        return named(settings.absolute())
    run = begun(call.dataset, settings.run)
    if "epochs" not in settings.model_fields_set:
        return run
    return checked(Train, run.asked() | {"epochs": settings.epochs}, COMMAND_LINE, Exit.USAGE)


def check_tracker(track: str) -> None:
    if track not in TRACKERS:
        raise UserError(f"--track {track!r}: unknown. {known(track, TRACKERS)}", Exit.USAGE)
    if track == "tensorboard":
        from training.tracking import summary_writer

        summary_writer()


def one_batch(call: Call, run: "Train", transform: str, device: str) -> None:
    """Say whether the model learns one batch by heart; exit code 7 where it does not."""
    from training.overfit import STEPS, overfit

    found = overfit(call.dataset.folder("transform", transform), run, device=device, progress=call.face.tell)
    call.face.show(
        f"one batch of {found.images} images: loss {found.first_loss:.4f} to {found.last_loss:.4f} "
        f"in {found.steps} steps, {found.accuracy:.0%} right"
    )
    call.face.result(found.as_json())
    if not found.learned:
        raise UserError(
            f"one batch cannot be learned by heart in {STEPS} steps: look at the learning rate ({run.learning_rate:g}; "
            "alacena find-lr), at the labels, and at what is frozen.",
            Exit.GATE,
        )
    call.face.show("the model can learn; nothing was kept")


def spread(call: Call, folders: list[Path]) -> None:
    """Mean and deviation over the seeds of a run."""
    from training.results import best_values, mean_and_deviation

    what, values = best_values(folders)
    call.face.show(f"{len(values)} seeds: {what} {mean_and_deviation(values)}")
