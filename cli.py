"""The face: parse, call one function, print. `python cli.py …`, or, installed, `alacena …`.

Each command brings the stages before its own up to date, does its own, and says what came out: results on stdout,
progress on stderr. The heavy packages are imported by the command that needs them, so that help is quick.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Outside the environment that make made, where the packages are not: go there.
if __name__ == "__main__" and not all(map(importlib.util.find_spec, ("imagehash", "polars", "torch", "typer"))):
    inside = Path(__file__).with_name(".venv") / "bin" / "python"
    if not inside.exists() or sys.prefix == str(inside.parents[1]):
        sys.exit("alacena's packages are not installed here; run: make setup")
    os.execv(inside, [str(inside), *sys.argv])


from etl import upkeep as upkeep  # its commands
from etl.commands import WORKERS, asked, keep, make
from manifests.commands import STORE, Call, app, argument, command, option
from manifests.console import plain, table
from manifests.errors import Exit, UserError
from manifests.progress import silent
from manifests.store import DatasetStore
from training.commands import DEVICE, RUN, SPLIT, check_tracker, learn, limit, one_batch, resumed, spread

if TYPE_CHECKING:
    from manifests.recipe import Recipe, Train

CACHE = "Pass each image through a frozen backbone every epoch."


@command("alacena train --model simple --epochs 8", stage="train")
def train(
    call: Call,
    settings: "Train",
    resume: bool = option(
        "Go on with the unfinished run of these settings, or with one of fewer epochs.", "--resume", default=False
    ),
    restart: bool = option("Throw the kept run of these settings away and begin again.", "--restart", default=False),
    no_feature_cache: bool = option(CACHE, "--no-feature-cache", default=False),
    overfit_batch: bool = option(
        "Only try whether one batch can be learned by heart.", "--overfit-batch", default=False
    ),
    max_minutes: float | None = option(
        "Stop after so many minutes; --resume goes on.", "--max-minutes", metavar="X", min=0
    ),
    track: str = option(
        "none or tensorboard: curves in RUN/tensorboard. [default: none]", "--track", default="none", metavar="NAME"
    ),
    device: str = DEVICE,
    workers: int | None = WORKERS,
) -> None:
    """Train a model straight from the shards; best and last checkpoints, resumable at any time."""
    from training.results import named

    if resume and restart:
        raise UserError("--resume and --restart: the one goes on, the other begins again; name one.", Exit.USAGE)
    is_late = limit(max_minutes)
    check_tracker(track)
    recipe, run = asked(call), resumed(call, settings) if resume else named(settings.absolute())
    done = shards_of(call, recipe, run, workers)
    if overfit_batch:
        one_batch(call, run, done.key, device)
        return
    each = run.repeated()
    folders = [
        learn(
            call,
            one,
            done.key,
            device,
            resume=resume,
            restart=restart,
            cache=not no_feature_cache,
            track=track,
            is_late=is_late,
            begun=lambda: keep(call, recipe.with_run(run)),
        )
        for one in each
    ]
    if len(each) > 1:
        spread(call, folders)
    call.face.show(f"Next: alacena {'evaluate --run' if len(each) == 1 else 'compare'} {run.run}")
    call.face.result({"run": run.run, "folder": str(folders[-1]), "folders": [str(folder) for folder in folders]})


def shards_of(call: Call, recipe: "Recipe", run: "Train", workers: int | None) -> Any:
    """The transform stage that a run learns from, made if need be; after a look at whether the model can take it."""
    from manifests.recipe import run_transform
    from training.catalog import check
    from training.models import try_on

    check(run)
    try_on(run, run_transform(recipe.transform, run))
    return make(call, recipe.model_copy(update={"runs": (run,)}), "transform", workers)["transform"]


@command("alacena find-lr --model simple", stage="train", name="find-lr")
def find_lr(
    call: Call,
    settings: "Train",
    output: Path | None = option(
        "Where the curve goes, as HTML and CSV. [default: in the store]", "--output", metavar="FILE"
    ),
    device: str = DEVICE,
    workers: int | None = WORKERS,
) -> None:
    """Try learning rates from small to large on a fresh model, draw the loss, and suggest one to begin with."""
    from training.rates.page import sparkline, write_curve
    from training.rates.search import search
    from training.results import named

    run = named(settings.absolute())
    made = shards_of(call, asked(call), run, workers)
    shards = call.dataset.folder("transform", made.key)
    curve = search(call.dataset, shards, run, device=device, progress=call.face.tell)
    page = write_curve(curve, str(run.run), output or call.dataset.root / "find-lr" / f"{run.run}.html")
    first, last = curve.rates[0], curve.rates[-1]
    call.face.show(f"loss by learning rate, {first:.0e} to {last:.1e}:", sparkline(curve))
    said = "the loss never fell" if curve.suggested is None else f"Suggested: --learning-rate {curve.suggested:.2g}"
    call.face.show(said, plain(f"The curve: {page}"))
    call.face.result({"suggested": curve.suggested, "page": str(page), "steps": len(curve.rates)})


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
    """Evaluate, see what the model looks at, write the report, show both; the evaluation, and both as JSON."""
    from etl.evidence.inset import data_story
    from training import display
    from training.attention import look
    from training.evaluate import evaluate
    from training.folders import read_facts
    from training.report import write_report
    from training.runs import chosen_device

    shards = call.dataset.folder("transform", read_facts(folder)["transform"])
    place = chosen_device(device)
    found = evaluate(folder, shards, split, device=place, progress=call.face.tell)
    look(folder, shards, found.split, device=place, progress=call.face.tell)
    report = write_report(folder, shards, data_story(call.dataset, shards.name, folder))
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


@command("alacena suggest --model torchvision/mobilenet_v2 --weights default")
def suggest(
    call: Call,
    model: str | None = option("Backbone, with --weights: torchvision/NAME or timm/NAME.", "--model", metavar="NAME"),
    weights: str = option(
        "default (the library's own) or FILE (.safetensors, .pth).", default="default", metavar="FILE"
    ),
    run: str | None = option("The model of a run instead. [default: the newest, where no --model is named]", "--run"),
    folds: int = option("Parts of the images; each is judged by the others. [default: 10]", "--folds", default=10),
    seed: int = option("Seed of the parts.", "--seed", default=0),
    limit: int = option("Suggestions listed; the CSV has all. [default: 12]", "--limit", default=12),
    device: str = DEVICE,
    workers: int | None = WORKERS,
) -> None:
    """Which images probably carry the wrong class, and the likely one. Rejects nothing: look at them with review.

    Each image is judged by a classifier on the features of a frozen backbone that has not seen it.
    """
    from manifests.recipe import COMMAND_LINE, Train, checked
    from training.catalog import check
    from training.folders import find_run, read_facts
    from training.suggest import FILE, read_suggestions, suggested
    from training.suggest import suggest as judge

    folder = None if model else find_run(call.dataset, run)
    settings = checked(Train, {"model": model, "weights": weights} if model else {}, COMMAND_LINE, Exit.USAGE)
    settings = settings.absolute()
    if model:
        check(settings)
    recipe = asked(call).model_copy(update={"runs": ()})
    made = read_facts(folder)["transform"] if folder else make(call, recipe, "transform", workers)["transform"].key
    stage = judge(
        call.dataset, made, settings, run=folder, device=device, folds=folds, seed=seed, progress=call.face.tell
    )
    place = call.dataset.folder("suggest", stage.key)
    listed = read_suggestions(place)
    call.face.show(*suggested(stage, listed, limit), "", plain(f"All of them: {place / FILE}"), "Next: alacena review")
    call.face.result(stage.counts | {"file": str(place / FILE), "suggestions": listed.to_dicts()})


@command("alacena run manifests/recipes/food15.toml --source ~/Downloads/food")
def run(
    call: Call,
    recipe: Path | None = argument("File, or name of one that comes along; default: what is in force.", "[RECIPE]"),
    source: list[str] | None = option("In place of the recipe's; several times for several.", metavar="SOURCE"),
    dry_run: bool = option("Say what is stale and why, and do nothing.", "--dry-run", default=False),
    locked: bool = option(
        "Stop where a stage is not what the lock says (RECIPE.lock or DATASET.lock).", "--locked", default=False
    ),
    device: str = DEVICE,
    workers: int | None = WORKERS,
) -> None:
    """Do all that is stale and nothing else: stages, runs, evaluations and reports."""
    wanted = recipe_in_force(call, recipe, source)
    call = Call(call.face, call.store, wanted.dataset)
    if dry_run:
        show_status(call, wanted)
        return
    if locked:
        hold(call, wanted, recipe, workers)
    call.face.result({"dataset": wanted.dataset, "runs": run_all(call, wanted, device, workers)})


def hold(call: Call, wanted: "Recipe", recipe: Path | None, workers: int | None) -> None:
    """Make the stages one by one, and stop at the first that is not what the lock says."""
    from etl.lock import Held, lock_file

    file = lock_file(wanted.dataset, recipe if recipe and recipe.is_file() else None)
    make(call, wanted, "transform", workers, heard=Held(file, wanted).heard)
    call.face.say(f"{file}: every stage is what it says")


def run_all(call: Call, wanted: "Recipe", device: str, workers: int | None) -> list[dict[str, Any]]:
    """Everything a recipe asks for that is not there; its runs as rows of a table."""
    steps, rows = state(call, wanted)
    for step in steps if all(step.is_fresh for step in steps) else ():
        call.face.say(f"{step.stage}: fresh, nothing to do")
    for row in rows:
        call.face.say(f"run {row['run']}: {row['state']}" + (", nothing to do" if row["state"] == "fresh" else ""))
    if not all(step.is_fresh for step in steps) or any(row["state"] != "fresh" for row in rows):
        from manifests.recipe import run_transform
        from training.catalog import check
        from training.models import try_on

        for one in wanted.runs:  # before any work
            check(one, f"runs.{one.run}: ")
            try_on(one, run_transform(wanted.transform, one))
        runs = made_runs(call, wanted, workers)
        for one in runs:
            if not one.is_fresh:
                learn(call, one.settings, one.shards.name, device, resume=one.has_begun and not one.finished)
                measure(call, one.folder, None, device)
        rows = [one.summary() for one in runs]
    else:
        keep(call, wanted)
    if rows:
        from training.display import runs_shown

        call.face.show("", *runs_shown(rows))
    return rows


def recipe_in_force(call: Call, file: Path | None, source: list[str] | None) -> "Recipe":
    """The recipe of a file, or of those that come along by its name, overridden by flags; or what is in force."""
    if file is None:
        return asked(call)
    from etl.pipeline import check, is_in_force
    from manifests.recipe import RECIPES, Extract, checked, read_recipe

    shipped = RECIPES / f"{file}.toml"
    stated = read_recipe(shipped if not file.exists() and shipped.is_file() else file)
    update: dict[str, Any] = {"dataset": call.name or stated.dataset}
    if source:
        update["extract"] = checked(Extract, stated.extract.asked() | {"source": source}, "--source", Exit.USAGE)
    if "reject" not in stated.curate.model_fields_set and (lists := decision_lists(call, update["dataset"])):
        call.face.say(f"decisions by hand: {', '.join(lists)} (in force; {file} states none)")
        update["curate"] = stated.curate.model_copy(update={"reject": lists})
    wanted = stated.model_copy(update=update).absolute()
    if not wanted.extract.source:
        raise UserError(f"{file}: extract.source is missing; state it, or give --source DIR.", Exit.RECIPE)
    if any(run.run is None for run in wanted.runs):
        from training.results import named

        wanted = wanted.model_copy(update={"runs": tuple(named(run) for run in wanted.runs)})
    if not is_in_force(wanted, DatasetStore(call.store / wanted.dataset)):
        check(wanted, f"{file}: ")
    return wanted


def decision_lists(call: Call, dataset: str) -> tuple[str, ...]:
    """The lists of decisions in force for a data set: a recipe that states none leaves a person's decisions alone."""
    from manifests.store import dataset_names

    known = dataset in dataset_names(call.store)
    return asked(Call(call.face, call.store, dataset)).curate.reject if known else ()


def made_runs(call: Call, wanted: "Recipe", workers: int | None) -> list[Any]:
    """The runs of a recipe, on shards that are up to date."""
    from manifests.recipe import run_transform
    from training.results import run_of

    shards: dict[Any, str] = {}

    def heard(step: Any, stage: Any) -> None:
        shards[step.settings.model_dump_json()] = stage.key

    make(call, wanted, "transform", workers, heard=heard)
    keep(call, wanted)
    return [
        run_of(call.dataset, one, shards[run_transform(wanted.transform, one).model_dump_json()])
        for one in wanted.every_run
    ]


@command("alacena predict photos/ --output guesses.csv")
def predict(
    call: Call,
    sources: list[Path] = argument("Images, folders or archives.", "SOURCE…", default=...),
    run: str | None = RUN,
    checkpoint: Path | None = option("A checkpoint's file instead of a run; no store is needed.", metavar="FILE"),
    top: int = option("Classes named for each picture. [default: 5]", "--top", default=5, min=1),
    output: Path | None = option("FILE.csv or FILE.json. [default: CSV on stdout]", "--output", metavar="FILE"),
    device: str = DEVICE,
    workers: int | None = WORKERS,
) -> None:
    """What a run's best checkpoint says of pictures: path, likeliest classes and their probabilities.

    A picture that cannot be read is named with the reason and keeps its line; exit code 4 where none could be read.
    """
    from tempfile import TemporaryDirectory

    from etl.engine import default_workers
    from etl.opened import decoder_note, find, opened
    from training import predict as told
    from training.checkpoints import load_classifier
    from training.runs import chosen_device

    if output:
        told.refuse_output(output)
    if checkpoint and run:
        raise UserError("--run and --checkpoint: name one of them.", Exit.USAGE)
    file, note = (checkpoint, None) if checkpoint else told.checkpoint_of(call.dataset, run)
    model = load_classifier(file, chosen_device(device))
    for line in filter(None, (note, decoder_note(model.contract))):
        call.face.say(f"Note: {line}")
    tally = told.Tally(call.face.say)
    with TemporaryDirectory(prefix="alacena-") as spool:
        found = find(sources, Path(spool))
        if found.others:
            call.face.say(f"{found.others:,} files are no images by their names, and are left alone")
        progress = silent if not output and sys.stdout.isatty() else call.face.tell  # no bar between the lines
        workers = default_workers() if workers is None else workers
        pictures = opened(found.places, model.contract, workers=workers, progress=progress)
        told.give(
            tally.of(told.predict(model, pictures, top=top)), output, min(top, len(model.classes)), call.face.json
        )
    lost = f"; {tally.unreadable:,} could not be read" if tally.unreadable else ""
    call.face.say(f"{tally.predicted:,} pictures predicted by {file}{lost}")
    if output:
        call.face.show(plain(str(output)))
        counts = {"predicted": tally.predicted, "unreadable": tally.unreadable}
        call.face.result({"output": str(output), "checkpoint": str(file)} | counts)


@command("alacena export --verify 64")
def export(
    call: Call,
    run: str | None = RUN,
    form: str = option(
        "onnx, torch (a torch.export program) or both. [default: onnx]", "--format", default="onnx", metavar="NAME"
    ),
    output: Path | None = option("Folder. [default: STORE/DATASET/exports/NAME-KEY]", "--output", metavar="DIR"),
    verify: int = option(
        "Try the graph with so many of the data set's own pictures.", "--verify", default=0, metavar="N", min=0
    ),
) -> None:
    """A run's best checkpoint as a file for others: resize, normalisation and model in one graph, and a model card."""
    from etl.originals import originals
    from training import export as made
    from training.folders import find_run, read_facts

    kind = made.format_named(form)
    folder = find_run(call.dataset, run)
    shards = call.dataset.folder("transform", read_facts(folder)["transform"])
    check = made.Check(originals(call.dataset, shards, verify), verify) if verify else None
    done = made.export(folder, shards, output or made.export_folder(call.dataset, folder), kind, check, call.face.tell)
    call.face.show(*made.shown(done))
    call.face.result(done.as_json())


@command("alacena reproduce manifests/recipes/food15.toml --source ~/Downloads/food")
def reproduce(
    call: Call,
    recipe: Path = argument("File, or name of one that comes along.", "RECIPE", default=...),
    source: list[str] | None = option("In place of the recipe's; several times for several.", metavar="SOURCE"),
    device: str = DEVICE,
    workers: int | None = WORKERS,
) -> None:
    """Run a recipe, and say of each of its runs what the report said, what came out, and how the set-ups differ."""
    from training.reproduced import repeated, shown

    wanted = recipe_in_force(call, recipe, source)
    call = Call(call.face, call.store, wanted.dataset)
    run_all(call, wanted, device, workers)
    found = [repeated(one) for one in made_runs(call, wanted, workers)]
    call.face.show("", *shown(found, wanted))
    call.face.result({"dataset": wanted.dataset, "differs": wanted.differs, "runs": [each.as_json() for each in found]})


@command("alacena demo")
def demo(
    call: Call,
    folder: Path = argument("Where its pictures and its store go; default: demo.", "[DIR]", default=Path("demo")),
    device: str = DEVICE,
    workers: int | None = WORKERS,
) -> None:
    """Draw a small data set with faults planted in it, run everything on it, and say what was planted and found."""
    from etl.demo import findings, plant
    from manifests.recipe import RECIPES
    from manifests.table import read_table

    photos = folder / "photos"
    call.face.say(f"drawing the pictures into {photos}")
    planted = plant(photos)
    store = folder / "store" if call.store == STORE else call.store
    wanted = recipe_in_force(Call(call.face, store, None), RECIPES / "demo.toml", [str(photos)])
    call = Call(call.face, store, wanted.dataset)
    runs = run_all(call, wanted, device, workers)
    done = make(call, wanted, "curate", workers)
    curated = read_table(call.dataset.folder("curate", done["curate"].key) / "images.parquet")
    found = findings(planted, curated, done["extract"].counts)
    rows = [(each.planted, each.found, "yes" if each.agrees else "NO") for each in found]
    call.face.show("", table(("planted", "found", "agrees"), rows))
    report = Path(runs[0]["folder"]) / "report.html"
    call.face.show(f"\nAccuracy on {runs[0]['split']}: {runs[0]['accuracy']:.4f}", plain(f"Report: {report}"))
    call.face.result({"findings": [each._asdict() for each in found], "runs": runs, "report": str(report)})
    if not all(each.agrees for each in found):
        raise UserError("what was planted is not what was found; see the lines that say NO.")


@command("alacena status")
def status(call: Call) -> None:
    """What is fresh, what is stale and why, and what it cost the last time. Makes nothing."""
    show_status(call, asked(call))


def state(call: Call, wanted: "Recipe") -> tuple[list[Any], list[dict[str, Any]]]:
    """Each stage as a step, and each run as a row: what is there and what is not."""
    from etl.pipeline import plan

    dataset = DatasetStore(call.store / wanted.dataset)
    steps = list(plan(wanted, dataset))
    shards = {step.settings.model_dump_json(): step.key for step in steps if step.stage == "transform" and step.found}
    return steps, [run_state(dataset, wanted, one, shards) for one in wanted.every_run]


def run_state(dataset: DatasetStore, wanted: "Recipe", one: "Train", shards: dict[str, Any]) -> dict[str, Any]:
    """A run as a row; `shards`: transform settings → key, of those that are there."""
    from manifests.recipe import run_transform
    from training.results import run_of

    key = shards.get(run_transform(wanted.transform, one).model_dump_json())
    return run_of(dataset, one, key).summary() if key else {"run": one.run, "state": "waits for its shards"}


def show_status(call: Call, wanted: "Recipe") -> None:
    from etl.display import statuses

    steps, runs = state(call, wanted)
    call.face.show(f"[bold]{plain(wanted.dataset)}[/bold] in {plain(str(call.store))}", statuses(steps))
    if runs:
        from training.display import runs_shown

        call.face.show("", *runs_shown(runs))
    stages = [{"stage": s.stage, "fresh": s.is_fresh, "why": s.why, "key": s.key, "seconds": s.seconds} for s in steps]
    call.face.result({"dataset": wanted.dataset, "stages": stages, "runs": runs})


@command("alacena why train/hat/0a1b2c.jpg")
def why(
    call: Call, image: str = argument("Path, end of a path, or sha256 (6 digits or more).", "IMAGE", default=...)
) -> None:
    """An image's whole story: decision and reason, cluster, split, views, shard and row, predictions."""
    from etl.pipeline import plan
    from etl.story import lines, story
    from training.results import predictions_of

    stages = {step.stage: step.found for step in plan(asked(call), call.dataset) if step.found}
    told = story(image, call.dataset, stages)
    told["predictions"] = predictions_of(told["image"]["path"], call.dataset)
    first, *rest = lines(told)
    call.face.show(f"[bold]{plain(first)}[/bold]", *(plain(line) for line in rest))
    call.face.result(told)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
