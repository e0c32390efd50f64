"""The learning rate over a run."""

import pytest

from latentdrive.errors import ConfigError
from latentdrive.schedule import CosineSchedule


def test_it_rises_linearly_and_falls_by_half_a_cosine_to_the_floor():
    schedule = CosineSchedule(steps=110, warmup=10, floor=0.1)
    rates = [schedule.learning_rate(step) for step in (0, 4, 9, 10, 60, 110, 500)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.55, 0.1, 0.1])


def test_an_impossible_schedule_is_refused():
    with pytest.raises(ConfigError, match="warmup must lie between"):
        CosineSchedule(steps=10, warmup=10, floor=0.1)
    with pytest.raises(ConfigError, match="share of the peak rate"):
        CosineSchedule(steps=10, warmup=1, floor=1.1)
