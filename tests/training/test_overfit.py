from pathlib import Path

from manifests.recipe import Train
from tests.training.makers import shard_set
from training.overfit import STEPS, overfit


class TestOverfit:
    """One batch by heart, or the reason to look closer."""

    def test_a_model_that_can_learn_does(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        seen: list[int] = []
        asked = Train(widths=(8,), learning_rate=0.02, batch_size=8, dropout=0.5, label_smoothing=0.2)
        found = overfit(tmp_path, asked, device="cpu", progress=lambda _what, done, _of: seen.append(done))
        assert found.learned
        assert (found.images, found.accuracy) == (8, 1.0)
        assert found.last_loss < 0.05 < found.first_loss
        assert seen == list(range(1, found.steps + 1))

    def test_a_rate_that_is_far_too_small_does_not(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        found = overfit(tmp_path, Train(widths=(4,), learning_rate=1e-9, batch_size=8), device="cpu")
        assert not found.learned
        assert found.steps == STEPS

    def test_a_loss_that_is_not_finite_ends_it(self, tmp_path: Path) -> None:
        shard_set(tmp_path)
        asked = Train(widths=(4,), learning_rate=3e38, optimizer="sgd", batch_size=8)
        found = overfit(tmp_path, asked, device="cpu")
        assert not found.learned
        assert found.steps < STEPS
