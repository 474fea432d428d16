"""Two runs on the same images: the size of the difference, how sure it is, and whether chance alone would give it.

Counts go in, figures come out; who is compared with whom is `training.compare`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
Verdict = Literal["better", "worse", "not distinguishable"]
LEVEL = 0.05  # of the tests; the intervals are of 95 %
RESAMPLES = 10_000  # of the bootstrap: the ends of the interval then move by less than 0.1 of its width
AT_ONCE = 500  # resamples drawn at a time: bounds the memory where many runs answer in many patterns
FINE = 5_000  # images from which a tenth of a point is too coarse
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Agreement:
    """N images by who is right, a the first and b the second of two runs."""

    both_right: int
    only_a: int
    only_b: int
    both_wrong: int

    @property
    def images(self) -> int:
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def difference(self) -> float:
        """Accuracy of b less that of a, in [-1, 1]."""
        return (self.only_b - self.only_a) / self.images


def agreement(a: Bools, b: Bools) -> Agreement:
    """Counts of (N,) right or wrong against (N,) right or wrong, of the same images in the same order, N ≥ 1."""
    return Agreement(*(int(np.sum(each)) for each in (a & b, a & ~b, ~a & b, ~a & ~b)))


def mcnemar(only_a: int, only_b: int) -> float:
    """The two-sided p of McNemar's exact test: of the images that one alone has right, each run is as likely.

    Recommended for two classifiers on one test set by Dietterich, Neural Computation 10 (1998), 1895-1923; exact, by
    the binomial distribution, as in statsmodels' `mcnemar(exact=True)`. 1 where no image tells them apart.
    """
    from scipy.stats import binom

    return min(1.0, 2 * float(binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def interval(counts: Agreement, resamples: int = RESAMPLES) -> Interval:
    """95 % of the differences of resampled images, b less a: paired percentile bootstrap, fractions.

    Drawing N images with replacement and counting who is right is one multinomial draw, so it is drawn as such.
    """
    same = counts.both_right + counts.both_wrong
    shares = np.array([counts.only_a, counts.only_b, same]) / counts.images
    drawn = np.random.default_rng(0).multinomial(counts.images, shares, resamples)
    return _middle((drawn[:, 1] - drawn[:, 0]) / counts.images)


def between_groups(a: Bools, b: Bools, resamples: int = RESAMPLES) -> tuple[Interval, float]:
    """95 % interval and two-sided p of the difference of mean accuracies of repeated runs, (A, N) against (B, N).

    Images are resampled, and so are the runs of each side: what another seed would have given is part of the doubt.
    The p is the bootstrap's own, twice the smaller share of resamples on one side of zero, never 0.
    """
    drawn = _drawn(a, b, resamples)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return _middle(drawn), min(1.0, 2 * (1 + tail) / (1 + resamples))


def _drawn(a: Bools, b: Bools, resamples: int) -> Floats:
    """A difference a resample. Images on which all runs answer alike are one cell of a multinomial draw."""
    draw, images = np.random.default_rng(0), a.shape[1]
    patterns, counts = np.unique(np.concatenate([a, b]).T, axis=0, return_counts=True)
    found: list[Floats] = []
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        accuracy = draw.multinomial(images, counts / images, size) @ patterns.astype(np.float64) / images
        chosen = [draw.multinomial(len(runs), [1 / len(runs)] * len(runs), size) / len(runs) for runs in (a, b)]
        weights = np.concatenate([-chosen[0], chosen[1]], axis=1)  # (size, A + B)
        found.append((accuracy * weights).sum(axis=1))
    return np.concatenate(found).round(12)  # what is equal is 0, and not nearly so


def _middle(drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def holm(found: Sequence[float]) -> tuple[float, ...]:
    """Each p as it counts among several tests: the k-th smallest of m times m - k + 1, at most 1, never less than
    the one before. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70."""
    order = sorted(range(len(found)), key=lambda number: found[number])
    adjusted, highest = [0.0] * len(found), 0.0
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (len(found) - rank) * found[number]))
        adjusted[number] = highest
    return tuple(adjusted)


@dataclass(frozen=True)
class Contrast:
    """The difference of two runs, or of two groups of runs, b less a; fractions."""

    a: str  # the baseline
    b: str
    images: int
    difference: float
    interval: Interval
    p: float  # McNemar's; of groups, the bootstrap's
    p_holm: float  # the same as it counts among all `tests`
    tests: int
    counts: Agreement | None = None  # None between groups

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where test and interval both say so."""
        low, high = self.interval
        if self.p_holm >= LEVEL or low <= 0 <= high:
            return "not distinguishable"
        return "better" if self.difference > 0 else "worse"

    @property
    def sentence(self) -> str:
        """`+3.1 points, 95 % interval 1.2 to 5.0: better`."""
        low, high = self.interval
        said = f"{self.size} points, 95 % interval {self.ends}"
        if self.verdict != "not distinguishable":
            return f"{said}: {self.verdict}"
        end = f"not distinguishable on {self.images} images"
        if self.counts is not None and self.counts.only_a + self.counts.only_b == 0:
            return f"right and wrong on the same images: {end}"
        return f"{said}{'' if low <= 0 <= high else f', but {self.chance}'}: {end}"

    @property
    def size(self) -> str:
        """`+3.1`, in points."""
        return points(self.difference, self.images, sign=True)

    @property
    def ends(self) -> str:
        """`1.2 to 5.0`, in points."""
        return " to ".join(points(end, self.images) for end in self.interval)

    @property
    def chance(self) -> str:
        """`p = 0.012 after Holm`."""
        return said_p(self.p_holm) + (" after Holm" if self.tests > 1 else "")

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        return values | {"verdict": self.verdict, "sentence": self.sentence}


def contrasts(pairs: Sequence[tuple[str, str, Agreement]]) -> tuple[Contrast, ...]:
    """All these pairs of runs by McNemar's test, corrected for their number."""
    found = [mcnemar(counts.only_a, counts.only_b) for _, _, counts in pairs]
    return tuple(
        Contrast(a, b, counts.images, counts.difference, interval(counts), p, adjusted, len(pairs), counts)
        for (a, b, counts), p, adjusted in zip(pairs, found, holm(found), strict=True)
    )


def group_contrasts(pairs: Sequence[tuple[str, str, Bools, Bools]]) -> tuple[Contrast, ...]:
    """All these pairs of groups, each (runs, images) of right or wrong, corrected for their number."""
    found = [between_groups(right_a, right_b) for _, _, right_a, right_b in pairs]
    adjusted = holm([p for _, p in found])
    return tuple(
        Contrast(a, b, right_a.shape[1], float(right_b.mean() - right_a.mean()), ends, p, p_holm, len(pairs))
        for (a, b, right_a, right_b), (ends, p), p_holm in zip(pairs, found, adjusted, strict=True)
    )


def points(fraction: float, images: int, *, sign: bool = False) -> str:
    """0.0312 → 3.1, or +3.1 with its sign; two digits where so many images tell that much apart."""
    digits = 1 if images < FINE else 2
    text = f"{abs(100 * fraction):.{digits}f}"
    is_zero = float(text) == 0
    return ("" if is_zero else MINUS if fraction < 0 else "+" if sign else "") + text


def said_p(p: float) -> str:
    """`p = 0.012`, `p < 0.001`; with a digit more where rounding would hide on which side of the level it lies."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.4f}" if round(p, 3) == LEVEL else f"p = {p:.3f}"
