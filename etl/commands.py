"""The commands of the stages and of curation; `etl.upkeep` has those of the store. `cli.py` gathers them all.

A command parses, calls one function and prints. The heavy packages are imported by the command that needs them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.commands import Call, argument, command, option
from manifests.console import duration, plain
from manifests.errors import Exit, UserError
from manifests.store import DatasetStore, dataset_names

if TYPE_CHECKING:
    from manifests.recipe import Curate, Extract, Recipe, Settings

WORKERS = option("Processes that decode; any number gives the same bytes. [default: one a core]", metavar="N", min=0)


def asked(call: Call) -> "Recipe":
    """What is in force for the data set of this call."""
    from etl.pipeline import read_asked

    return read_asked(call.dataset)


def make(
    call: Call,
    recipe: "Recipe",
    until: str,
    workers: int | None,
    *,
    heard: Callable[[Any, Any], None] | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """Bring the stages up to one of them up to date, and say what was stale and why.

    `heard` is given each step and its stage; `retry` opens again the files that could not be read the last time.
    """
    from etl.engine import default_workers
    from etl.pipeline import NEVER, bring
    from etl.steps import Site

    dataset = DatasetStore(call.store / recipe.dataset)

    def tell(step: Any, stage: Any) -> None:
        if heard:
            heard(step, stage)
        if not step.is_fresh:
            why = f" ({step.why})" if step.why != NEVER else ""
            call.face.say(f"{step.stage}: made in {duration(stage.seconds)}{why}")
        elif step.stage == until:
            call.face.say(f"{step.stage}: fresh, nothing to do")

    site = Site(dataset, default_workers() if workers is None else workers, call.face.tell)
    return bring(recipe, site, until, tell, retry=retry)


def keep(call: Call, recipe: "Recipe") -> None:
    """From now on, this is in force."""
    from etl.pipeline import remember

    remember(DatasetStore(call.store / recipe.dataset), recipe)


@command("alacena extract ~/Downloads/clothing --dataset clothing", stage="extract", without=("source",))
def extract(
    call: Call,
    settings: "Extract",
    sources: list[str] | None = argument(
        "Folder or archive; CLASS=PATH gives all images of PATH one class.", "SOURCE…"
    ),
    workers: int | None = WORKERS,
) -> None:
    """Find and open every file of a source once: what it is, or why it cannot be used."""
    from etl import display
    from etl.pipeline import read_asked
    from manifests.recipe import Extract, Recipe, checked

    if sources:
        settings = checked(Extract, settings.asked() | {"source": sources}, "the command line", Exit.USAGE)
    settings = settings.absolute()
    there = {name: read_asked(DatasetStore(call.store / name)) for name in dataset_names(call.store)}
    same = [name for name, known in there.items() if known.extract.source == settings.source]
    name = call.name or (same[0] if len(same) == 1 else settings.name)
    before = there.get(name) or Recipe(dataset=name)
    recipe = before.model_copy(update={"extract": settings})
    done = make(call, recipe, "extract", workers, retry=True)
    keep(call, recipe)
    call.face.show(*display.extracted(done["extract"]))
    call.face.result(done["extract"].counts)


@command("alacena curate --max-per-class 400", stage="curate")
def curate(
    call: Call,
    settings: "Curate",
    explain: bool = option(
        "Say what each rule and each fault would reject, and change nothing.", "--explain", default=False
    ),
    workers: int | None = WORKERS,
) -> None:
    """Decide which images stay, as which class, in which split; every file keeps its row and its reason.

    Settings that are not named are those of --recipe, or the defaults: an earlier curate leaves nothing behind but a
    person's decisions. The lists of --reject stay in force until others are named.
    """
    from etl import display

    recipe = asked(call)
    if "reject" not in settings.model_fields_set and recipe.curate.reject:
        settings = settings.model_copy(update={"reject": recipe.curate.reject})
        call.face.say(
            f"decisions by hand: {', '.join(settings.reject)} (others with --reject FILE, none with --reject '')"
        )
    recipe = recipe.model_copy(update={"curate": settings.absolute()})
    if explain:
        show_explained(call, recipe, workers)
        return
    before = last_curation(call.dataset)
    done = make(call, recipe, "curate", workers)["curate"]
    keep(call, recipe)
    page = call.dataset.folder("curate", done.key) / "curation.html"
    call.face.show(*display.curated(done), *display.since(before, done), "", plain(f"The whole story: {page}"))
    call.face.result(done.counts | {"folder": str(page.parent), "page": str(page)})


def last_curation(dataset: DatasetStore) -> Any:
    """The curation in force before this command, or None."""
    from etl.pipeline import plan, read_asked

    try:
        steps = list(plan(read_asked(dataset), dataset, "curate"))
    except UserError:  # a list of decisions that is gone: what is asked for now may do without it
        return None
    return next((step.found for step in steps if step.stage == "curate"), None)


def show_explained(call: Call, recipe: "Recipe", workers: int | None) -> None:
    """What the rules would reject by these settings, and what each fault would, asked for or not."""
    from etl import display
    from etl.explain import explained

    extracted = make(call, recipe, "extract", workers)["extract"]
    found = explained(call.dataset, extracted, recipe.curate)
    call.face.show(*display.explained(found))
    call.face.result(found.as_json())


@command("alacena review")
def review(
    call: Call,
    decisions: Path | None = option(
        "CSV that decisions are written to. [default: the one in force, else DATASET.decisions.csv]",
        "--decisions",
        metavar="FILE",
    ),
    port: int = option("Of 127.0.0.1. [default: that of the last time, or any that is free]", "--port", default=0),
    open_page: bool = option("Open the page in the browser.", "--open", default=False),
) -> None:
    """Look at the images in a local web page, and decide by keyboard: reject, relabel, pin, duplicate or not.

    Each decision is written at once, and holds from then on: curate again to see what it makes. Ctrl-C ends it.
    """
    from etl.decisions import change, decision_file
    from etl.review.server import serve

    recipe, dataset = asked(call), call.dataset
    file = (decisions or decision_file(recipe.curate.reject) or Path(f"{dataset.name}.decisions.csv")).absolute()
    change(file, [])  # it is there from the beginning, and can be written
    if str(file) not in (reject := recipe.curate.reject):
        recipe = recipe.model_copy(update={"curate": recipe.curate.model_copy(update={"reject": (*reject, str(file))})})
        keep(call, recipe)

    def ready(address: str) -> None:
        call.face.show(f"Review {plain(dataset.name)} at [bold]{address}[/bold]", f"Decisions: {plain(str(file))}")
        call.face.say("Ctrl-C ends it; then: alacena curate")
        if open_page:
            import webbrowser

            webbrowser.open(address)

    serve(dataset, recipe, file, port=port, ready=ready)


@command("alacena augment --copies 2 --policy light", stage="augment")
def augment(call: Call, settings: "Settings", workers: int | None = WORKERS) -> None:
    """Decide which augmented views each training image gets; the transform makes their pixels."""
    from etl import display

    recipe = asked(call).model_copy(update={"augment": settings})
    done = make(call, recipe, "augment", workers)
    keep(call, recipe)
    call.face.show(*display.augmented(done["augment"]))
    call.face.result(done["augment"].counts)


@command("alacena transform --size 224", stage="transform")
def transform(call: Call, settings: "Settings", workers: int | None = WORKERS) -> None:
    """Decode every view once and write the tensor shards that training reads."""
    from etl import display
    from manifests.shards import read_index

    dataset = call.dataset
    recipe = asked(call).model_copy(update={"transform": settings})
    done = make(call, recipe.model_copy(update={"runs": ()}), "transform", workers)["transform"]
    keep(call, recipe)
    call.face.show(*display.transformed(done, read_index(dataset.folder("transform", done.key))))
    call.face.result(done.counts | {"digest": done.digest, "folder": str(dataset.folder("transform", done.key))})
