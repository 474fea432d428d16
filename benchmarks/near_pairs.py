"""Near pairs among 64-bit hashes: seconds of one core and peak memory, against the limits and, where asked, two peers.

    python -m benchmarks.near_pairs [--quick] [--peers]

Hashes are uniform, or those of blends of two photographs, mirrored or not, with 0.5 to 0.7 of the first: as skewed and
correlated as the photographs' own (2.2e-5 of their pairs lie within 8 bits of phash, of the photographs' pairs 2.6e-5).
Among each lie 1,000 planted pairs 1 to 8 bits apart, all of which have to be found within the radius.

Each search is a process of its own: `time.process_time` over `etl.duplicates.pairs`, and `ru_maxrss` of the whole
process, so with the interpreter, its libraries, the hashes and the pairs.
The full form takes a minute and a half, `--quick` ten seconds.

With `--peers` also two libraries, which need an environment of their own (benchmarks/requirements-peers.txt; the one
that is not installed is left out). They answer a part of the queries, and what all of them take is extrapolated.
"""

import argparse
import importlib.util
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.measure import machine, photographs
from etl import duplicates
from etl.measures import ACROSS, COSINES, DOWN, small_grey

Words = npt.NDArray[np.uint64]
PLANTED, FARTHEST = 1000, 8  # pairs, and the bits between the last of them
AT_ONCE = 50_000  # blends
TEN_MILLION = 10_000_000


class Case(NamedTuple):
    """A search, and the most that it may take."""

    kind: str  # of hashes
    size: int
    radius: int
    seconds: float | None = None
    megabytes: float | None = None
    rounds: int = 3


FULL = [
    Case("uniform", 100_000, 8, 1.5, 500),
    Case("phash", 100_000, 8, 1.5, 500),
    Case("dhash", 100_000, 8, 1.5, 500),
    Case("uniform", 1_000_000, 4, 3, 500),
    Case("phash", 1_000_000, 4, 3, 500),
    Case("dhash", 1_000_000, 4, 3, 500),
    Case("uniform", 1_000_000, 8, 45, 500, rounds=1),
    Case("phash", 1_000_000, 8, 45, 500, rounds=1),
    Case("uniform", TEN_MILLION, 4, 90, 3000, rounds=1),
]
QUICK = [case._replace(rounds=1) for case in FULL if case.size <= 100_000 or case[:3] == ("uniform", 1_000_000, 4)]
WITH_PEERS = [Case("uniform", 10_000, 8), Case("phash", 10_000, 8)]  # the slower peer gets no further


class Peer(NamedTuple):
    """A peer's package, the case it is asked, its times that the project has to be ahead, and the queries answered."""

    package: str
    case: Case
    wanted: int
    queries: int
    rounds: int = 3


PEERS = {
    "faiss IndexBinaryFlat, radius 8": Peer("faiss", Case("uniform", 1_000_000, 8), 100, 2000),
    "faiss IndexBinaryFlat, radius 4": Peer("faiss", Case("uniform", 1_000_000, 4), 100, 2000),
    "faiss, phash of blends": Peer("faiss", Case("phash", 1_000_000, 8), 100, 2000),
    "imagededup, its default search": Peer("imagededup", Case("uniform", 10_000, 8), 1000, 1000, 1),
    "imagededup, phash of blends": Peer("imagededup", Case("phash", 10_000, 8), 1000, 1000, 1),
}


def hashes(case: Case, folder: Path) -> Path:
    return folder / f"{case.kind}-{case.size}.npz"


def make(kind: str, size: int, folder: Path) -> None:
    """A file of distinct hashes in no order, and where the planted pairs lie among them."""
    generator = np.random.default_rng(size)
    words = generator.integers(0, 2**64, size, np.uint64) if kind == "uniform" else blends(kind, size, generator)
    near = words[:PLANTED].copy()
    for number, bits in enumerate(np.arange(PLANTED) % FARTHEST + 1):
        chosen = generator.choice(64, bits, replace=False).astype(np.uint64)
        near[number] ^= np.bitwise_or.reduce(np.uint64(1) << chosen)
    distinct = generator.permutation(np.unique(np.concatenate([words[:-PLANTED], near])))
    order = np.argsort(distinct)
    places = [order[np.searchsorted(distinct, each, sorter=order)] for each in (words[:PLANTED], near)]
    np.savez(folder / f"{kind}-{size}.npz", words=distinct, planted=np.sort(places, axis=0))


def blends(kind: str, count: int, generator: np.random.Generator) -> Words:
    """phash or dhash of blends of two photographs: the frequencies and the small pictures of them are blends too."""
    basis = _basis(kind)
    parts: list[Words] = []
    for start in range(0, count, AT_ONCE):
        many = min(AT_ONCE, count - start)
        one, other = generator.integers(0, len(basis), (2, many))
        share = generator.uniform(0.5, 0.7, (many, 1)).astype(np.float32)
        seen = share * basis[one] + (1 - share) * basis[other]
        if kind == "phash":
            ordered = np.sort(seen, axis=1)
            bits = seen > (ordered[:, 31:32] + ordered[:, 32:33]) / 2
        else:
            bits = np.diff(seen.reshape(many, 8, 9), axis=2).reshape(many, 64) > 0
        parts.append(np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64))
    return np.concatenate(parts)


def _basis(kind: str) -> npt.NDArray[np.float32]:
    """Of each photograph and its mirror image: the 64 lowest frequencies, or the 8×9 pixels that dhash compares."""
    greys = _greys()
    if kind == "phash":
        values = COSINES[32] @ (DOWN[32] @ (greys @ ACROSS[:, :32])) @ COSINES[32].T
    else:
        values = DOWN[8] @ (greys @ ACROSS[:, 49:])
    return values.reshape(len(greys), -1).astype(np.float32)


@cache
def _greys() -> npt.NDArray[np.float64]:
    greys = np.stack([_grey(file) for file in sorted(photographs().rglob("*.jpg"))])
    return np.concatenate([greys, greys[:, :, ::-1]])


def _grey(file: Path) -> npt.NDArray[np.float64]:
    with Image.open(file) as image:
        image.draft("L", (128, 128))
        return small_grey(image.convert("L")).astype(np.float64)


def search(case: Case, folder: Path) -> dict[str, float]:
    with np.load(hashes(case, folder)) as file:
        words, planted = file["words"].reshape(-1, 1), file["planted"]
    started = time.process_time()
    found = duplicates.pairs(words, case.radius)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    near = planted[:, duplicates.distance(words[planted[0]], words[planted[1]]) <= case.radius]
    keys = found.first * np.int64(len(words)) + found.second
    missed = int((~np.isin(near[0] * len(words) + near[1], keys)).sum())
    return {"seconds": seconds, "megabytes": peak, "pairs": len(found.first), "missed": missed}


def faiss(case: Case, folder: Path, queries: int) -> dict[str, float]:
    """Each query against all. Its range search leaves out what is as far as the radius, so it is asked for one more."""
    library: Any = importlib.import_module("faiss")
    library.omp_set_num_threads(1)
    with np.load(hashes(case, folder)) as file:
        rows = file["words"].view(np.uint8).reshape(-1, 8)
    index = library.IndexBinaryFlat(64)
    index.add(rows)
    started = time.process_time()
    index.range_search(rows[:queries], case.radius + 1)
    return {"seconds": (time.process_time() - started) * len(rows) / queries}


def imagededup(case: Case, folder: Path, queries: int) -> dict[str, float]:
    """What `PHash().find_duplicates` does, one worker; it searches in a process of its own, whose seconds count."""
    library: Any = importlib.import_module("imagededup.handlers.search.retrieval")
    logging.disable(logging.INFO)
    with np.load(hashes(case, folder)) as file:
        texts = {str(number): f"{word:016x}" for number, word in enumerate(file["words"].tolist())}
    some = dict(list(texts.items())[:queries])
    started = _busy()
    library.HashEval(
        test=texts,
        queries=some,
        distance_function=_differ,
        verbose=False,
        threshold=case.radius,
        num_dist_workers=0,
    )
    return {"seconds": (_busy() - started) * len(texts) / queries}


def _differ(one: str, other: str) -> int:
    """Only for the searches that are not the default: that one counts bits in Cython."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def _busy() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


ASKED: dict[str, Callable[[Case, Path, int], dict[str, float]]] = {"faiss": faiss, "imagededup": imagededup}


def child(task: str, *arguments: Any) -> dict[str, float]:
    """What a task gives, run in a process of its own. This one stays small: a process starts at its parent's peak."""
    command = [sys.executable, "-m", "benchmarks.near_pairs", "--task", json.dumps([task, *arguments])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    ended = subprocess.run(command, env=os.environ | threads, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(ended.stdout.splitlines()[-1])


def run_task(task: str, *arguments: Any) -> dict[str, float]:
    if task == "make":
        wanted, folder = arguments
        for kind, size in wanted:
            make(kind, size, Path(folder))
        return {}
    case, folder, *queries = arguments
    if task == "search":
        return search(Case(*case), Path(folder))
    return ASKED[task](Case(*case), Path(folder), *queries)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):8.3f} ({min(values):.3f} to {max(values):.3f})"


def main(*, quick: bool, peers: bool) -> None:
    cases = (WITH_PEERS if peers and not quick else []) + (QUICK if quick else FULL)
    with tempfile.TemporaryDirectory() as folder:
        child("make", sorted({case[:2] for case in cases}), folder)
        print(f"\nNear pairs among 64-bit hashes, one core; {machine()}; median (least to most) of n rounds")
        print(f"  {'hashes':<28} {'seconds of the processor':<30} {'of':>5} {'peak MB':>8} {'of':>5}   n       pairs")
        rows = [row_of(case, folder) for case in cases]
        if peers:
            seconds = {Case(row["kind"], row["size"], row["radius"]): row["took"] for row in rows}
            asked = {name: peer for name, peer in PEERS.items() if peer.case in seconds}
            rows += [
                against(name, peer, seconds[peer.case], peer.queries // 4 if quick else peer.queries, folder)
                for name, peer in asked.items()
                if is_installed(name, peer)
            ]
    print(json.dumps({"title": "near pairs", "machine": machine(), "rows": rows}))


def row_of(case: Case, folder: str) -> dict[str, Any]:
    """A case searched as often as it wants, its row printed. Ends the run where a planted pair was missed."""
    results = [child("search", case, folder) for _ in range(case.rounds)]
    if missed := sum(each["missed"] for each in results):
        sys.exit(f"{case}: {missed} planted pairs were not found.")
    times, peak = [each["seconds"] for each in results], max(each["megabytes"] for each in results)
    name, pairs = f"{case.kind} {case.size:,}, radius {case.radius}", int(results[0]["pairs"])
    limits = [f"{limit:g}" if limit else "–" for limit in (case.seconds, case.megabytes)]
    measured = f"{spread(times):<30} {limits[0]:>5} {peak:>8,.0f} {limits[1]:>5}"
    print(f"  {name:<28} {measured}   {case.rounds} {pairs:>11,}", flush=True)
    return {**case._asdict(), "took": times, "peak": round(peak), "pairs": pairs}


def is_installed(name: str, peer: Peer) -> bool:
    if importlib.util.find_spec(peer.package) is None:
        print(f"  {name}: not installed")
        return False
    return True


def against(name: str, peer: Peer, ours: list[float], queries: int, folder: str) -> dict[str, Any]:
    """A peer asked as often as the project was, or as it bears; its row printed."""
    theirs = [child(peer.package, peer.case, folder, queries)["seconds"] for _ in ours[: peer.rounds]]
    ratios = [their / our for their, our in zip(theirs, ours, strict=False)]
    print(f"  {name:<36} {spread(theirs)} s, {spread(ratios)} times ours; wanted {peer.wanted}")
    searched = f"{peer.case.kind} {peer.case.size:,}, radius {peer.case.radius}"
    print(f"    {searched}: extrapolated from {queries:,} queries; n = {len(theirs)}", flush=True)
    said = {"peer": name, "queries": queries, "took": theirs, "ratios": ratios}
    return peer.case._asdict() | said | {"rounds": len(theirs)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.task:
        print(json.dumps(run_task(*json.loads(asked.task))))
    else:
        main(quick=asked.quick, peers=asked.peers)
