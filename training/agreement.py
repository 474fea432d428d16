"""Whether an exported graph says what alacena says, of real pictures: onnxruntime against the checkpoint."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manifests.progress import Progress, silent, told
from training.graph import INPUT, OUTPUTS, session
from training.models import Classifier
from training.predict import logits
from training.scores import log_probabilities

Floats = npt.NDArray[np.floating[Any]]
Levels = npt.NDArray[np.uint8]
# Name; the whole picture (H, W, 3); its pixels by the contract, (height, width, C), in levels and as shards keep them;
# and, as shards keep them, those of the whole picture without a scaled decode.
Picture = tuple[str, Levels, Levels, npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Apart:
    """How far the graph is from alacena, over all pictures."""

    logits: float = 0.0  # largest absolute difference
    probabilities: float = 0.0
    same: int = 0  # pictures with the same likeliest class

    def with_one(self, said: Floats, truth: Floats) -> "Apart":
        """After one more picture: what the graph says (2, K) and what alacena does, logits and probabilities."""
        apart = np.abs(said - truth).max(axis=1)
        return Apart(
            max(self.logits, float(apart[0])),
            max(self.probabilities, float(apart[1])),
            self.same + int(said[0].argmax() == truth[0].argmax()),
        )


class Agreement(NamedTuple):
    """What onnxruntime and alacena say of the same pictures."""

    images: int
    model: Apart  # the model alone, on the pixels of the contract
    graph: Apart  # the whole graph, on whole pictures that alacena decodes in full too: its resize is tried
    whole: Apart  # the same, where alacena decodes as it does for training: a JPEG no larger than it has to be

    def as_json(self) -> dict[str, Any]:
        apart = {"model": asdict(self.model), "graph": asdict(self.graph), "whole": asdict(self.whole)}
        return {"images": self.images} | apart


def agreement(
    file: Path, model: Classifier, pictures: Iterable[Picture], count: int, progress: Progress = silent
) -> Agreement:
    """Run each picture through the graph twice and through the model twice. `model` is on the CPU, in eval mode.

    Pixels that have the contract's size pass the graph's resize unchanged, so they try the model alone.
    """
    opened = session(file)

    def run(levels: Levels) -> Floats:
        coloured = np.broadcast_to(levels, (*levels.shape[:2], 3))  # a grey level is that of all three colours
        found: Any = opened.run(OUTPUTS, {INPUT: coloured[None]})
        return np.concatenate(found)

    def truth(stored: npt.NDArray[Any]) -> Floats:
        row = logits(model, stored[None])
        return np.concatenate([row, np.exp(log_probabilities(row))])

    found = Agreement(0, Apart(), Apart(), Apart())
    for _, taken, levels, stored, in_full in told(pictures, progress, "verifying pictures", count):
        expected, said = truth(stored), run(taken)
        found = Agreement(
            found.images + 1,
            found.model.with_one(run(levels), expected),
            found.graph.with_one(said, truth(in_full)),
            found.whole.with_one(said, expected),
        )
    return found
