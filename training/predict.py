"""What a checkpoint says of pictures: names and pixels in, a row for each out, in their order and as they come.

Who opens the pictures is `etl.opened`; they come here as (name, pixels as the contract stores them or None, what is
wrong or None). A picture that could not be opened keeps its row, with the reason: rows = pictures, always.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manifests.errors import Exit, UserError
from manifests.store import DatasetStore, flush
from training.folders import chosen_checkpoint, find_run
from training.scores import log_probabilities
from training.writing import replacing

if TYPE_CHECKING:  # torch takes seconds to import
    from training.models import Classifier

Read = tuple[str, npt.NDArray[Any] | None, str | None]  # name, pixels (H, W, C), what is wrong
BATCH = 64  # pictures that pass the model at once
DIGITS = 6  # of a probability, as in predictions.csv
FORMATS = (".csv", ".json")
SHOWN = 20  # pictures that could not be read, named as they come


class Guess(NamedTuple):
    """A class, and how likely the model takes it to be."""

    name: str
    probability: float  # softmax, 0 to 1


class Row(NamedTuple):
    """What is said of one picture."""

    path: str
    top: tuple[Guess, ...]  # the likeliest first; none where it could not be read
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        if self.problem is not None:
            return {"path": self.path, "problem": self.problem}
        first, guesses = self.top[0], [{"class": name, "probability": value} for name, value in self.top]
        return {"path": self.path, "predicted": first.name, "probability": first.probability, "top": guesses}


@dataclass
class Tally:
    """Counts rows as they go by, and says which could not be read, up to SHOWN of them."""

    say: Callable[[str], None] = lambda _: None
    predicted: int = 0
    unreadable: int = 0
    first: Row | None = field(default=None)  # of those that could not be read

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows. Raises UserError (exit 4) at the end where none of them could be read."""
        for row in rows:
            if row.problem is None:
                self.predicted += 1
            else:
                self.unreadable += 1
                self.first = self.first or row
                self._tell(row)
            yield row
        if self.first and not self.predicted:
            reason = f"{self.first.path!r} ({self.first.problem})"
            raise UserError(f"none of {self.unreadable:,} files could be read, the first being {reason}.", Exit.REFUSED)

    def _tell(self, row: Row) -> None:
        if self.unreadable <= SHOWN:
            self.say(f"{row.path}: {row.problem}")
        elif self.unreadable == SHOWN + 1:
            self.say("… and more that could not be read: each has its reason in its own line")


def checkpoint_of(dataset: DatasetStore, name: str | None) -> tuple[Path, str | None]:
    """The checkpoint of the newest run of that name, or of all."""
    return chosen_checkpoint(find_run(dataset, name))


def predict(model: "Classifier", pictures: Iterable[Read], *, top: int = 5, batch_size: int = BATCH) -> Iterator[Row]:
    """A row for each picture, in their order; a batch of them is in memory at a time.

    `top`: how many classes are named, at most all. Raises UserError (exit 8) where a logit is not finite.
    """
    waiting = iter(pictures)
    while part := list(islice(waiting, batch_size)):
        images = [pixels for _, pixels, _ in part if pixels is not None]
        found = iter(_ranked(logits(model, np.stack(images)), model.classes, top) if images else ())
        yield from (Row(name, (), why) if pixels is None else Row(name, next(found)) for name, pixels, why in part)


def logits(model: "Classifier", images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Logits (B, K) of images (B, H, W, C) as shards keep them; bfloat16 are its bits, in uint16."""
    import torch

    batch = torch.from_numpy(np.array(images))  # a copy: what workers send may not be written
    batch = batch.view(torch.bfloat16) if images.dtype == np.uint16 else batch
    with torch.inference_mode():
        found = model(batch.to(model.normalise.scale.device)).float().cpu().numpy()
    if not np.isfinite(found).all():
        raise UserError("a logit is not finite: the run diverged; train it again.", Exit.DIVERGED)
    return found


def _ranked(found: npt.NDArray[np.float32], classes: Sequence[str], top: int) -> list[tuple[Guess, ...]]:
    """The likeliest classes of each row; of equal ones the first in class order, as in argmax."""
    order: list[list[int]] = np.argsort(-found, axis=1, kind="stable")[:, :top].tolist()
    likely: list[list[float]] = np.exp(log_probabilities(found)).round(DIGITS).tolist()
    return [
        tuple(Guess(classes[number], of_row[number]) for number in numbers)
        for numbers, of_row in zip(order, likely, strict=True)
    ]


def refuse_output(file: Path) -> None:
    """Raise UserError (exit 2) for a name that says neither CSV nor JSON, or that is a folder's."""
    if file.suffix.lower() not in FORMATS:
        raise UserError(f"--output {file}: a name that ends in .csv or .json is expected.", Exit.USAGE)
    if file.is_dir():
        raise UserError(f"--output {file}: this is a folder; name a file.", Exit.USAGE)


def save(rows: Iterable[Row], file: Path, top: int) -> None:
    """Write all rows as they come, as CSV or JSON by the file's name; to a temporary that is renamed at the end."""
    refuse_output(file)
    with replacing(file, "Name another with --output FILE.") as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as out:
            (write_json(rows, out) if file.suffix.lower() == ".json" else write_csv(rows, out, top))
        flush(temporary)


def columns(top: int) -> list[str]:
    """`path, predicted, probability, predicted_2, probability_2, …, problem`."""
    more = chain.from_iterable((f"predicted_{number}", f"probability_{number}") for number in range(2, top + 1))
    return ["path", "predicted", "probability", *more, "problem"]


def give(rows: Iterable[Row], output: Path | None, top: int, as_json: bool) -> None:
    """Rows into a file of either kind, or onto stdout as they come."""
    if output:
        save(rows, output, top)
    elif as_json:
        write_json(rows, sys.stdout)
    else:
        write_csv(rows, sys.stdout, top, shown=sys.stdout.isatty())


def write_csv(rows: Iterable[Row], out: IO[str], top: int, *, shown: bool = False) -> None:
    """A line a picture, with room for `top` guesses. `shown`: to a terminal, control characters as codes."""
    table = csv.writer(out, lineterminator="\n")
    table.writerow(columns(top))
    for row in rows:
        guesses = list(chain.from_iterable(row.top))
        cells = [row.path, *guesses, *[""] * (2 * top - len(guesses)), row.problem or ""]
        table.writerow([_shown(cell) if shown and isinstance(cell, str) else cell for cell in cells])


def write_json(rows: Iterable[Row], out: IO[str]) -> None:
    """A list with an object a picture, a line each."""
    out.write("[")
    for number, row in enumerate(rows):
        out.write(",\n " if number else "\n ")
        out.write(json.dumps(row.as_json(), ensure_ascii=False))
    out.write("\n]\n")


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
