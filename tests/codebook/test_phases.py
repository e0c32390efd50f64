"""The step decides the phase, its learning rate, and whether codes come from a book."""

import pytest

from latentdrive.codebook.phases import PhaseSchedule

SCHEDULE = PhaseSchedule(motion=3, environment=4, reader=2, ego=5, warmup=2, open_share=0.5)


def test_the_step_decides_the_phase():
    phases = [SCHEDULE.at(step) for step in range(SCHEDULE.steps)]
    assert phases == [
        *(("motion", i) for i in range(3)),
        *(("environment", i) for i in range(4)),
        *(("reader", i) for i in range(2)),
        *(("ego", i) for i in range(5)),
    ]
    assert SCHEDULE.steps == 14
    assert SCHEDULE.at(14) == SCHEDULE.at(100) == ("ego", 4)


def test_a_phase_of_no_steps_is_left_out():
    one_stage = PhaseSchedule(motion=0, environment=0, reader=0, ego=5, warmup=2, open_share=0.5)
    assert [one_stage.at(step)[0] for step in range(5)] == ["ego"] * 5
    assert one_stage.steps == 5


def test_the_learning_rate_rises_and_falls_anew_in_every_phase():
    schedule = PhaseSchedule(motion=10, environment=20, reader=10, ego=40, warmup=4, open_share=0.25)
    for start, length in ((0, 10), (10, 20), (30, 10), (40, 40)):
        rates = [schedule.learning_rate(step) for step in range(start, start + length)]
        assert rates[0] == pytest.approx(0.25, abs=0.01)
        assert max(rates) == rates[3] or rates[3] > 0.7
        assert rates[3:] == sorted(rates[3:], reverse=True)
        assert 0.05 < rates[-1] < 0.15
    assert schedule.learning_rate(80) > 0  # one step past the end, as the scheduler asks


def test_books_are_made_after_the_open_share_of_their_phase():
    schedule = PhaseSchedule(motion=10, environment=20, reader=10, ego=40, warmup=4, open_share=0.25)
    opened = [step for step in range(schedule.steps) if not schedule.quantised(step)]
    assert opened == [*range(10, 15), *range(40, 50)]
