"""A run's best checkpoint as a folder that others can use: the model, its card, and what it was made of.

`STORE/DATASET/exports/NAME-KEY8/`, or any other folder, is there whole or not at all, as a stage's: `stage.json` has
the digest of each file, so that `alacena verify` reads them too. How the files are written is `training.graph`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from rich.table import Table

from manifests.console import plain, table
from manifests.digests import digest, file_digest
from manifests.errors import Exit, UserError
from manifests.errors import known as named
from manifests.progress import Progress, silent
from manifests.store import DatasetStore, Stage, read_stage, write_whole
from training.agreement import Agreement, Apart, Picture, agreement
from training.card import Known, card, known
from training.checkpoints import load_classifier
from training.folders import chosen_checkpoint, read_facts
from training.graph import refuse_missing, write_onnx, write_torch
from training.models import Classifier

Format = Literal["onnx", "torch", "both"]
FORMATS: tuple[Format, ...] = get_args(Format)
GRAPH, PROGRAM, CARD = "model.onnx", "model.pt2", "card.md"
STAGE = "exports"


class Check(NamedTuple):
    """The pictures that the graph is tried with, and how many they are: `etl.originals` gives them."""

    pictures: Iterable[Picture]
    images: int


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    folder: Path
    files: tuple[str, ...]
    notes: tuple[str, ...]
    agreement: Agreement | None

    def as_json(self) -> dict[str, Any]:
        found = self.agreement.as_json() if self.agreement else None
        return {"folder": str(self.folder), "files": self.files, "notes": self.notes, "agreement": found}


def format_named(name: str) -> Format:
    """The format of that name. Raises UserError (exit 2) for any other."""
    for each in FORMATS:
        if each == name:
            return each
    raise UserError(f"--format {name!r}: unknown. {named(name, FORMATS)}", Exit.USAGE)


def export_folder(dataset: DatasetStore, run: Path) -> Path:
    """Where a run is exported to, unless somebody says otherwise."""
    return dataset.folder(STAGE, f"{run.parent.name}-{run.name[:8]}")


def export(
    run: Path,
    shards: Path,
    target: Path,
    form: Format = "onnx",
    check: Check | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write the export of a run to `target`, in place of an earlier one.

    Raises UserError: exit 6 without the packages it takes, exit 2 where something else lies at `target`, or where the
    model cannot be written.
    """
    if form != "torch":
        refuse_missing()
    elif check:
        raise UserError("--verify tries the ONNX graph: use it with --format onnx or both.", Exit.USAGE)
    target = target.absolute()
    _refuse_other(target)
    facts = read_facts(run)
    file, note = chosen_checkpoint(run)
    model = load_classifier(file)
    given = known(run, shards, facts, file_digest(file))
    said = described(model, given)
    place = DatasetStore(target.parents[1])  # as the store keeps its stages: PARENT/NAME
    begun = Stage(
        target.parent.name, target.name, {"format": form}, {k: said[k] for k in ("weights", "contract_digest")}
    )
    with place.publish(begun) as (folder, finish):
        notes = ((note,) if note else ()) + _write(model, folder, form, said)
        found = agreement(folder / GRAPH, model, check.pictures, check.images, progress) if check else None
        write_whole(folder / CARD, card(given, _files(form), in_words(found) if found else None))
        digests = {each.name: file_digest(each) for each in folder.iterdir()}
        counts = said | {"notes": notes, "agreement": found.as_json() if found else None}
        finish(digest(digests), counts, digests)
    return Exported(target, (*sorted(digests), "stage.json"), notes, found)


def _refuse_other(target: Path) -> None:
    """An export takes the place of an export, and of nothing else."""
    stage = read_stage(target)
    is_ours = stage is not None and "weights" in stage.inputs and "contract_digest" in stage.inputs
    is_free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not (is_ours or is_free):
        raise UserError(f"--output {target}: something that is no export lies there; name a new folder.", Exit.USAGE)


def _write(model: Classifier, folder: Path, form: Format, said: dict[str, Any]) -> tuple[str, ...]:
    notes = write_onnx(model, folder / GRAPH, said) if form != "torch" else ()
    return notes + (write_torch(model, folder / PROGRAM, said) if form != "onnx" else ())


def described(model: Classifier, given: Known) -> dict[str, Any]:
    """What both files say of themselves."""
    mean, deviation = model.normalise.statistics
    return {
        "alacena": _version(),
        "dataset": given.facts["dataset"],
        "run": given.facts["run"],
        "key": given.facts["key"],
        "weights": given.weights,
        "classes": model.classes,
        "contract": model.contract.model_dump(mode="json"),
        "contract_digest": model.contract.digest,
        "normalise": model.normalise.name,
        "mean": mean,
        "deviation": deviation,
    }


def _version() -> str:
    try:
        return metadata.version("alacena")
    except metadata.PackageNotFoundError:  # a checkout that nobody installed
        return "not installed"


def _files(form: Format) -> list[str]:
    lines = {
        "onnx": f"- `{GRAPH}`: ONNX. `images` (N, H, W, 3), uint8 RGB of any size → `logits` and `probabilities` (N, "
        "classes). Resize, normalisation and model are inside; the classes are in its metadata.",
        "torch": f"- `{PROGRAM}`: for `torch.export.load`. Pixels of the contract, (N, height, width, channels), → "
        "logits. The classes are in its extra file `alacena.json`.",
    }
    return [line for name, line in lines.items() if form in (name, "both")]


def shown(done: Exported) -> Iterator[str | Table]:
    """What a person sees of it."""
    yield from (plain(f"Note: {note}") for note in done.notes)
    if found := done.agreement:
        yield f"onnxruntime against alacena, {found.images:,} pictures, largest difference:"
        rows = [
            ("the model, on the contract's pixels", found.model),
            ("the graph, on the whole picture, decoded and resized alike", found.graph),
            ("the same, against pixels as alacena decodes them", found.whole),
        ]
        body = [(name, f"{each.logits:.1e}", f"{each.probabilities:.1e}", f"{each.same:,}") for name, each in rows]
        yield table(("", "of a logit", "of a probability", "same class"), body)
    yield plain(f"{done.folder}: {', '.join(done.files)}")


def in_words(found: Agreement) -> str:
    """What a check found, for a card."""

    def said(apart: Apart) -> str:
        return (
            f"{apart.logits:.1e} of a logit and {apart.probabilities:.1e} of a probability at the most, "
            f"the same class for {apart.same:,}"
        )

    return (
        f"Tried by onnxruntime on {found.images:,} pictures against alacena. On the pixels of the contract, which is "
        f"the model alone, they differ by {said(found.model)}. From whole pictures that both sides decode in full, "
        f"which is the graph's resize too, by {said(found.graph)}. Against the pixels as alacena decodes them, where a "
        f"JPEG may be read at a smaller scale, by {said(found.whole)}."
    )
