"""Duplicates: what each rule finds of 300 photographs under 28 changes, and what it reports that is no copy.

    python -m benchmarks.duplicates [PHOTOGRAPHS]

Prints a Markdown table (as in docs/duplicates.md) and a JSON line. Takes about a minute.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from benchmarks.changes import CHANGES
from benchmarks.measure import CLOTHING, machine, photographs
from etl import duplicates, engine
from etl.duplicates import Hashes
from etl.images import facts
from manifests.digests import rank

Bits = npt.NDArray[np.integer[Any]]
WORKERS = 2
SIGNS = CLOTHING.parent / "signs" / "Dataset"


class Distances(NamedTuple):
    """Bits between pairs of images, in each hash."""

    phash: Bits
    dhash: Bits
    wide: Bits  # phash 256 and dhash 256: 512 bits
    turned: Bits  # the same, at the best of the eight ways to lay the second one


def _hinted(d: Distances) -> npt.NDArray[np.bool_]:
    return (d.phash <= duplicates.HINTED[0]) | (d.dhash <= duplicates.HINTED[1])


RULES: dict[str, Callable[[Distances], npt.NDArray[np.bool_]]] = {
    "phash:4": lambda d: d.phash <= 4,
    "phash:10": lambda d: d.phash <= 10,
    "phash 64 <= 8, then 88 of 512": lambda d: (d.phash <= 8) & (d.wide <= 88),
    "near:64 (default)": lambda d: d.wide <= 64,
    "near:64, over 50,000 images": lambda d: (d.wide <= 64) & _hinted(d),
    "near:64 --turned": lambda d: d.turned <= 64,
    "65 to 96: to look at": lambda d: (d.wide > 64) & (d.wide <= 96),
    "near:88": lambda d: d.wide <= 88,
}


def hashes(data: bytes) -> str:
    """phash, dhash, phash 256, dhash 256 of a file, and the last two of it turned seven times: 1,056 hex digits."""
    seen = facts(data, max_pixels=1 << 30, background="#ffffff", turned=True)
    return f"{seen.phash:016x}{seen.dhash:016x}{seen.phash256}{seen.dhash256}{seen.turned}"


def of_file(file: str) -> str:
    return hashes(Path(file).read_bytes())


def of_changes(file: str) -> list[str]:
    """Of the file, and of each change of it."""
    with Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    return [of_file(file), *(hashes(change(picture)) for change in CHANGES.values())]


def lost(_: str, why: str) -> Any:
    raise RuntimeError(why)


def distances(one: Hashes, other: Hashes) -> Distances:
    """Row by row, of rows of `hashes`."""
    bits = np.bitwise_count(one[:, :10] ^ other[:, :10])
    wide = bits[:, 2:].sum(1, dtype=np.int64)
    turned = np.bitwise_count(one[:, None, 2:10] ^ other[:, 10:].reshape(len(other), 7, 8)).sum(2, dtype=np.int64)
    return Distances(bits[:, 0], bits[:, 1], wide, np.minimum(turned.min(1), wide))


def recall(files: list[str]) -> dict[str, dict[str, float]]:
    """Change → rule → share of the photographs of which the change is found."""
    seen = list(engine.ordered_map(engine.each(of_changes), files, workers=WORKERS, lost=lost))
    original = duplicates.of_hex([each[0] for each in seen])
    found: dict[str, dict[str, float]] = {}
    for number, change in enumerate(CHANGES, 1):
        apart = distances(original, duplicates.of_hex([each[number] for each in seen]))
        found[change] = {name: round(float(rule(apart).mean()), 4) for name, rule in RULES.items()}
    return found


def reported(files: list[str]) -> dict[str, int]:
    """Rule → pairs of these files that it reports, comparing all with all."""
    seen = duplicates.of_hex(list(engine.ordered_map(engine.each(of_file), files, workers=WORKERS, lost=lost)))
    counts = dict.fromkeys(RULES, 0)
    for first in range(len(seen) - 1):
        apart = distances(seen[first : first + 1], seen[first + 1 :])
        for name, rule in RULES.items():
            counts[name] += int(rule(apart).sum())
    return counts


def shown(value: float) -> str:
    return "–" if value == 0 else f"{100 * value:.0f} %" if value in {0, 1} else f"{100 * value:.1f} %"


def main(count: int) -> None:
    every = sorted(str(file) for file in photographs().rglob("*.jpg"))
    chosen = sorted(every, key=lambda file: rank(0, Path(file).name))[:count]
    found = recall(chosen)
    pairs = {"clothing": reported(every)}
    if SIGNS.is_dir():
        pairs["signs"] = reported(sorted(str(file) for file in SIGNS.rglob("*.JPG")))
    print(f"| {len(chosen)} photographs of clothing, each changed | " + " | ".join(RULES) + " |")
    print("| --- |" + " ---: |" * len(RULES))
    for change, shares in found.items():
        print(f"| {change} | " + " | ".join(map(shown, shares.values())) + " |")
    for name, counts in pairs.items():
        print(f"| **pairs reported among all of {name}** | " + " | ".join(f"{n:,}" for n in counts.values()) + " |")
    print(json.dumps({"machine": machine(), "photographs": len(chosen), "recall": found, "pairs": pairs}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
