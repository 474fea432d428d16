import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from manifests.recipe import Train
from training.schedules import SCHEDULES, schedule


def optimiser() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def theirs(scheduler: Any, values: list[float]) -> list[float]:
    """The learning rate of each epoch by torch's scheduler."""
    rates: list[float] = []
    for value in values:
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step(*([value] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
    return rates


def ours(settings: Train, values: list[float]) -> list[float]:
    kept = schedule(settings)
    rates: list[float] = []
    for epoch, value in enumerate(values):
        rates.append(kept.rate(epoch))
        kept.saw(value)
    return rates


class TestSchedule:
    """The learning rates are torch's own."""

    def test_step(self) -> None:
        wanted = theirs(lr_scheduler.StepLR(optimiser(), 3, 0.5), [0.0] * 10)
        asked = Train(learning_rate=0.1, schedule="step", step_epochs=3, gamma=0.5)
        assert pytest.approx(wanted) == ours(asked, [0.0] * 10)

    def test_exponential(self) -> None:
        wanted = theirs(lr_scheduler.ExponentialLR(optimiser(), 0.9), [0.0] * 10)
        assert pytest.approx(wanted) == ours(Train(learning_rate=0.1, schedule="exponential", gamma=0.9), [0.0] * 10)

    def test_cosine(self) -> None:
        wanted = theirs(lr_scheduler.CosineAnnealingLR(optimiser(), 10), [0.0] * 10)
        assert pytest.approx(wanted) == ours(Train(learning_rate=0.1, schedule="cosine", epochs=10), [0.0] * 10)

    def test_none(self) -> None:
        assert ours(Train(learning_rate=0.1), [3.0, 2.0, 1.0, 4.0]) == [0.1] * 4

    @given(values=st.lists(st.integers(0, 5).map(float), max_size=30), patience=st.integers(0, 4))
    def test_plateau(self, values: list[float], patience: int) -> None:
        scheduler = lr_scheduler.ReduceLROnPlateau(
            optimiser(), factor=0.5, patience=patience, threshold=0, threshold_mode="abs", eps=0
        )
        asked = Train(learning_rate=0.1, schedule="plateau", plateau_epochs=patience, gamma=0.5)
        assert pytest.approx(theirs(scheduler, values)) == ours(asked, values)

    @pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (4, 5), (10, 13)])
    def test_onecycle(self, epochs: int, steps: int) -> None:
        scheduler = lr_scheduler.OneCycleLR(optimiser(), 0.1, epochs * steps, cycle_momentum=False)
        kept = schedule(Train(learning_rate=0.1, schedule="onecycle", epochs=epochs))
        for epoch in range(epochs):
            for step in range(steps):
                assert kept.rate(epoch, step, steps) == pytest.approx(scheduler.get_last_lr()[0])
                scheduler.optimizer.step()
                if epoch * steps + step < epochs * steps - 1:
                    scheduler.step()

    def test_warm_up_rises_in_a_straight_line_to_the_schedule(self) -> None:
        kept = schedule(Train(learning_rate=0.4, warmup_epochs=1.5))
        rates = [kept.rate(epoch, step, 2) for epoch in range(3) for step in range(2)]
        assert pytest.approx([0.4 / 3, 0.8 / 3, 0.4, 0.4, 0.4, 0.4]) == rates

    def test_a_phase_has_its_own_rate_and_length(self) -> None:
        kept = schedule(Train(schedule="cosine", epochs=10), 0.2, 4)
        assert [kept.rate(0), kept.rate(2), kept.rate(4)] == pytest.approx([0.2, 0.1, 0.0])

    @given(values=st.lists(st.integers(0, 9).map(lambda n: n / 20000), max_size=30), patience=st.integers(0, 4))
    def test_plateau_as_keras_has_it(self, values: list[float], patience: int) -> None:
        """ReduceLROnPlateau of Keras: mode min, cooldown 0, its own min_delta of 1e-4."""
        best, wait, rate, wanted = math.inf, 0, 0.1, list[float]()
        for value in values:
            wanted.append(rate)
            if value < best - 1e-4:
                best, wait = value, 0
            else:
                wait += 1
                if wait >= patience:
                    rate, wait = rate * 0.5, 0
        asked = Train(learning_rate=0.1, schedule="plateau", plateau_epochs=patience, semantics="keras")
        assert pytest.approx(wanted) == ours(asked, values)

    @pytest.mark.parametrize("name", SCHEDULES)
    def test_a_saved_schedule_goes_on_as_if_nothing_had_happened(self, name: Any) -> None:
        asked = Train(learning_rate=0.1, schedule=name, plateau_epochs=1)
        values = [3.0, 3.0, 3.0, 2.0, 2.0, 2.0, 2.0]
        whole = ours(asked, values)
        for cut in range(len(values)):
            first, second = schedule(asked), schedule(asked)
            for value in values[:cut]:
                first.saw(value)
            second.restore(json.loads(json.dumps(first.state())))
            rest: list[float] = []
            for epoch, value in enumerate(values[cut:], cut):
                rest.append(second.rate(epoch))
                second.saw(value)
            assert whole[cut:] == rest
