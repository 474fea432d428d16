import sys
from pathlib import Path
from typing import Any

import pytest

from manifests.errors import Exit, UserError
from tests.training.makers import dataset
from tests.training.sittings import asked, stop_at
from training.listening import Several, Silent
from training.runs import Interrupted, train
from training.tracking import MEASURES, Tracker


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Measure → epoch and value, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(run / "tensorboard")).Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


class TestTracker:
    """The curves of a run as TensorBoard reads them, whether it was interrupted or not."""

    def test_every_measure_of_every_epoch(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path)
        run = train(store, key, asked(), listen=Several(Silent(), Tracker(store.root / "runs")))
        found = scalars(run)
        assert sorted(found) == sorted(MEASURES)
        assert all([epoch for epoch, _ in values] == [1, 2, 3] for values in found.values())

    def test_a_run_that_goes_on_goes_on_in_the_same_curves(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path)
        with pytest.raises(Interrupted):
            train(store, key, asked(), stop=stop_at(9), listen=Tracker(store.root / "runs"))
        run = train(store, key, asked(), resume=True, listen=Tracker(store.root / "runs"))
        assert [epoch for epoch, _ in scalars(run)["val_loss"]] == [1, 2, 3]

    def test_a_run_that_grew_has_the_epochs_it_took_over(self, tmp_path: Path) -> None:
        store, key = dataset(tmp_path)
        train(store, key, asked(run="a", epochs=2))
        run = train(store, key, asked(run="a", epochs=3), resume=True, listen=Tracker(store.root / "runs"))
        assert [epoch for epoch, _ in scalars(run)["val_loss"]] == [1, 2, 3]

    def test_without_tensorboard_it_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from training.tracking import summary_writer

        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(UserError, match=r'uv pip install "alacena\[tensorboard\]"') as caught:
            summary_writer()
        assert caught.value.code == Exit.MISSING
