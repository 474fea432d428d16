"""A small run, ways to interrupt it, and what it left: for tests of runs."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from manifests.recipe import Train
from training.listening import Silent
from training.loop import Record

CALLS = 3 * (4 + 2)  # times that `stop` is asked in a run of `asked()`: steps and validation batches of three epochs


def asked(**more: Any) -> Train:
    plain = {"widths": "4", "head": "6", "dropout": 0.4, "batch_size": 8, "epochs": 3, "learning_rate": 0.02}
    return Train.model_validate(plain | more)


def stop_at(call: int) -> Callable[[], bool]:
    """Says yes when it is asked for that time, and from then on."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls >= call

    return stop


def rows(run: Path) -> list[dict[str, str]]:
    """metrics.csv without what the clock says."""
    with (run / "metrics.csv").open() as file:
        return [
            {name: value for name, value in row.items() if name not in {"seconds", "images_per_second"}}
            for row in csv.DictReader(file)
        ]


def same(one: Path, other: Path) -> bool:
    """Bit for bit: every tensor of last and best, and every figure. Their runs have different names."""
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = (safetensors.torch.load_file(run / name) for run in (one, other))
        if ours.keys() != theirs.keys() or not all(torch.equal(ours[key], theirs[key]) for key in ours):
            return False
    return rows(one) == rows(other)


class Heard(Silent):
    """Remembers all that it is told."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = {}
        self.records: list[Record] = []
        self.lines: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def started(self, info: dict[str, Any]) -> None:
        self.info = info

    def epoch(self, record: Record, eta_seconds: float) -> None:
        assert eta_seconds >= 0
        self.records.append(record)

    def said(self, line: str) -> None:
        self.lines.append(line)

    def progress(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))
