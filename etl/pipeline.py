"""The stages in order: what is fresh, what is stale and why, and making what is stale. A fold over the stages.

What is asked of each stage is remembered in the data set's `settings.json`, a recipe; every command brings the stages
before its own up to date and says so, so nothing is ever made of a stale input.
"""

from collections.abc import Callable, Generator
from dataclasses import replace
from importlib import import_module
from typing import Any

from etl import keys
from etl.steps import Site, Step
from manifests.errors import Exit, UserError, known
from manifests.recipe import Extract, Recipe, Settings, checked
from manifests.store import DatasetStore, Stage, stage_key

Listed = list[keys.Listed] | None
NEVER = "not made yet"
WORKED = ("extract", "transform")  # stages that open files, in worker processes
INPUTS = {  # what a changed input is called in a sentence
    "files": "files were added, removed or changed",
    "lists": "a label list changed",
    "reader": "the decoder or the hashes are of another version",
    "images": "the image table changed",
    "rules": "alacena decides by other rules since",
    "decisions": "the decisions by hand changed",
    "curated": "the curation changed",
    "views": "the views changed",
    "background": "the background changed",
    "decoder": "the decoder is of another version",
}


def read_asked(dataset: DatasetStore) -> Recipe:
    """What is in force: the recipe that the last commands add up to."""
    return checked(Recipe, dataset.asked(), str(dataset.root / "settings.json"), Exit.STALE)


def is_in_force(asked: Recipe, dataset: DatasetStore) -> bool:
    """Whether it is what the last commands add up to; that was checked before it was remembered."""
    return asked.asked() == dataset.asked()


def remember(dataset: DatasetStore, asked: Recipe) -> None:
    dataset.ask(asked.asked())


def plan(
    asked: Recipe, dataset: DatasetStore, until: str = "transform", *, retry: bool = False
) -> Generator[Step, Stage | None]:
    """Each stage as it is now, fresh or stale; a consumer that makes a stale one sends its Stage back.

    `retry`: an extract that could not read some files is stale, for they may be readable now.
    """
    if not is_in_force(asked, dataset):
        check(asked)
    step = _extract_step(asked.extract, dataset, retry=retry)
    before = (yield step) or step.found
    for name, settings in (("curate", asked.curate), ("augment", asked.augment)):
        if until in {"extract", *(["curate"] if name == "augment" else [])}:
            return
        step = _step(name, settings, before, dataset, asked)
        before = (yield step) or step.found
    if until == "transform":
        for settings in asked.transforms:
            yield _step("transform", settings, before, dataset, asked)


def check(asked: Recipe, place: str = "") -> None:
    """Raise UserError for what the stages know and the recipe's schema cannot: before any work. `place` leads it.

    This imports what the stages work with, NumPy and Pillow at the least: 0.1 s of a start that finds nothing to do.
    """
    from etl.augmentations import policy
    from etl.sources.layouts import layout_names

    if asked.curate.faults:
        from etl import faults

        faults.check(asked.curate.faults, f"{place}curate.faults")

    policies = [("augment.policy", asked.augment.policy)]
    policies += [
        (f"augment.classes.{name}.policy", own.policy) for name, own in asked.augment.classes.items() if own.policy
    ]
    if asked.extract.layout is not None and asked.extract.layout not in layout_names():
        words = known(asked.extract.layout, layout_names())
        raise UserError(f"{place}extract.layout = {asked.extract.layout!r}: unknown. {words}", Exit.RECIPE)
    for key, stated in policies:
        policy(stated, place + key)


def _extract_step(settings: Extract, dataset: DatasetStore, *, retry: bool) -> Step:
    try:
        listed = keys.listings(settings, dataset.root / "spool")
    except UserError as gone:  # the source may be away while its table is here: what is known can still be curated
        reason = str(gone)
        known = [stage for stage in dataset.published("extract") if stage.settings == settings.asked()]
        if not known or retry:
            raise
        why = f"known from before; now its source cannot be read: {reason}"
        return Step("extract", settings, known[0].key, known[0].inputs, known[0], why)
    step = _found("extract", settings, keys.extract_inputs(settings, listed), dataset, listed)
    unread = step.found.counts.get("unread", 0) if step.found and retry else 0
    return replace(step, found=None, why=f"{unread} files could not be read the last time") if unread else step


def _step(name: str, settings: Any, before: Stage | None, dataset: DatasetStore, asked: Recipe) -> Step:
    if before is None:
        return Step(name, settings, None, {}, None, "waits for the stage before", _last_seconds(dataset, name))
    inputs = {
        "curate": lambda: keys.curate_inputs(settings, before.digest),
        "augment": lambda: keys.augment_inputs(before.digest),
        "transform": lambda: keys.transform_inputs(before.digest, asked.extract.background),
    }[name]()
    return _found(name, settings, inputs, dataset)


def _found(
    name: str,
    settings: Settings,
    inputs: dict[str, str],
    dataset: DatasetStore,
    listed: list[keys.Listed] | None = None,
) -> Step:
    key = stage_key(name, settings.asked(), inputs)
    found = dataset.find(name, key)
    why = "" if found else _why(name, settings, inputs, dataset)
    return Step(name, settings, key, inputs, found, why, _last_seconds(dataset, name), listed)


def _why(name: str, settings: Settings, inputs: dict[str, str], dataset: DatasetStore) -> str:
    """What changed since the stage was last made, in words."""
    made = dataset.published(name)
    if not made:
        return NEVER
    now, then = settings.asked(), made[0].settings
    different = [key for key in now if now[key] != then.get(key)]
    changed = [f"{key}: {_short(then.get(key))} → {_short(now[key])}" for key in different if key != "source"]
    changed += ["another source"] if "source" in different else []
    changed += [INPUTS[key] for key in inputs if inputs[key] != made[0].inputs.get(key)]
    return "; ".join(changed)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _last_seconds(dataset: DatasetStore, name: str) -> float | None:
    made = dataset.published(name)
    return made[0].seconds if made else None


def bring(
    asked: Recipe,
    site: Site,
    until: str = "transform",
    tell: Callable[[Step, Stage], None] | None = None,
    *,
    retry: bool = False,
) -> dict[str, Stage]:
    """Make what is stale, up to a stage, and give each stage by its name; `tell` hears of each, made or found fresh.

    Where runs ask for pixels of their own there are several transforms: the last one of `Recipe.transforms` is given.
    """
    steps, done, answer = plan(asked, site.dataset, until, retry=retry), dict[str, Stage](), None
    while True:
        try:
            step = steps.send(answer) if answer else next(steps)
        except StopIteration:
            return done
        answer = done[step.stage] = step.found or _make(step, done, site)
        if tell:
            tell(step, answer)


def _make(step: Step, done: dict[str, Stage], site: Site) -> Stage:
    """The module of the stage's own name does the work; it is imported only now, while its workers begin to start."""
    if step.stage in WORKED and site.workers:
        from etl.engine import prepare

        prepare()
    return import_module(f"etl.{step.stage}").make(step, done, site)
