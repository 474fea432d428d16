import math
from pathlib import Path

import numpy as np
import pytest

from manifests.errors import Exit, UserError
from manifests.recipe import Train
from tests.training.makers import dataset
from training.rates.search import FEWEST, HIGHEST, LOWEST, STEPS, curve, search, smoothed, steepest

RATES = [LOWEST * (HIGHEST / LOWEST) ** (n / (STEPS - 1)) for n in range(STEPS)]


class TestSearch:
    """Rates from small to large on a fresh model, and one that lies where the loss falls."""

    def test_it_suggests_a_rate_that_learns(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path)
        found = search(store, store.folder("transform", key), Train(widths=(8,), batch_size=8), device="cpu")
        assert found.suggested is not None
        assert 1e-4 < found.suggested < 0.5
        assert found.rates[0] == LOWEST
        assert list(found.rates) == sorted(found.rates)

    def test_the_same_seed_gives_the_same_curve(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path)
        asked = Train(widths=(4,), batch_size=8, dropout=0.3)
        one, other = (search(store, store.folder("transform", key), asked, device="cpu") for _ in range(2))
        assert one == other


class TestCurve:
    """What was tried, smoothed, and where it falls fastest."""

    def test_smoothing_a_constant_changes_nothing(self) -> None:
        assert smoothed([2.0] * 20) == pytest.approx([2.0] * 20)

    def test_the_steepest_fall(self) -> None:
        means = [2 - 1.5 / (1 + math.exp(-2 * (math.log10(rate) + 3))) for rate in RATES[:100]]
        means += [means[-1] + n for n in range(1, 21)]
        found = steepest(RATES, means)
        assert found == pytest.approx(1e-3, rel=0.15)

    def test_the_noise_of_the_first_batches_is_no_fall(self) -> None:
        means = [3.0, 2.5, 2.4, *[2.3] * 60, *[2.3 - n / 20 for n in range(20)], *[3.0] * 10]
        found = steepest(RATES, means)
        assert found is not None
        assert RATES[60] < found < RATES[84]

    def test_hardly_a_fall_suggests_nothing(self) -> None:
        assert steepest(RATES, [2.0 - n / 4000 for n in range(100)]) is None

    def test_a_loss_that_only_grows_suggests_nothing(self) -> None:
        assert curve([(rate, float(n)) for n, rate in enumerate(RATES)]).suggested is None

    def test_a_loss_that_runs_away_at_once(self) -> None:
        with pytest.raises(UserError, match="the loss ran away after 3 steps") as caught:
            curve([(rate, 1.0) for rate in RATES[:3]])
        assert caught.value.code == Exit.DIVERGED

    def test_the_numbers_as_csv(self) -> None:
        lines = curve([(rate, 1.0) for rate in RATES[:FEWEST]]).as_csv().splitlines()
        assert lines[0] == "learning_rate,loss,smoothed"
        assert np.array([line.split(",") for line in lines[1:]], float)[:, 1:] == pytest.approx(np.ones((FEWEST, 2)))
