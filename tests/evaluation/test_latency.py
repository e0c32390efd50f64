"""How long planning takes: which calls count, and which planners are not measured."""

import numpy as np
import pytest
import torch

from latentdrive.errors import UnreadableScene
from latentdrive.evaluation.latency import SCENES, WARM_UP, is_measured, planning_latency
from latentdrive.evaluation.planning import PlanCall, plan_scenes
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.baselines.pdm_closed import PdmClosed
from latentdrive.planners.baselines.submitted import Submitted
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.types import Trajectory

TOKENS = [f"t{number}" for number in range(30)]


class Counting:
    """Plans to stand still, and records how many scenes each call had. bad: a scene that fails."""

    needs = NO_SENSORS

    def __init__(self, bad: str = "") -> None:
        self.bad, self.asked = bad, []

    def plan(self, scenes: list[str]) -> Trajectory:
        self.asked.append(len(scenes))
        if self.bad in scenes:
            raise UnreadableScene(self.bad, "no")
        return Trajectory(poses=np.zeros((len(scenes), 8, 3)), dt_s=0.5)


def test_the_largest_batch_counts_without_its_first_call():
    calls = [
        PlanCall(scenes=8, seconds=9.0),
        PlanCall(scenes=8, seconds=0.16),
        PlanCall(scenes=8, seconds=0.08),
        PlanCall(scenes=2, seconds=5.0),
    ]
    measured = planning_latency(Counting(), calls, TOKENS, str)
    assert measured["batch"] == 8 and measured["ms_per_scene_median"] == pytest.approx(15.0)  # of 20 and 10
    assert measured["ms_per_scene_p95"] == pytest.approx(19.5)
    assert measured["device"] == "cpu" and measured["threads"] == torch.get_num_threads()
    assert planning_latency(Counting(), calls[:1], TOKENS, str)["ms_per_scene_median"] == pytest.approx(9000 / 8)


def test_twenty_scenes_are_planned_one_by_one_after_three_calls_that_do_not_count(monkeypatch):
    clock = iter(np.arange(1000.0))
    monkeypatch.setattr("latentdrive.evaluation.latency.time.perf_counter", lambda: next(clock))
    planner = Counting()
    measured = planning_latency(planner, [PlanCall(scenes=1, seconds=1.0)], TOKENS, str)
    assert planner.asked == [1] * (WARM_UP + SCENES)
    assert (
        measured["ms_batch_1_median"] == measured["ms_batch_1_p95"] == 1000.0
    )  # each reading of the clock is a second later


def test_opening_a_scene_is_no_part_of_planning(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("latentdrive.evaluation.latency.time.perf_counter", lambda: now[0])

    def opener(token: str) -> str:
        now[0] += 100.0
        return token

    assert planning_latency(Counting(), [PlanCall(scenes=1, seconds=1.0)], TOKENS, opener)["ms_batch_1_median"] == 0.0


def test_privileged_planners_and_submissions_are_not_measured():
    assert is_measured(ConstantVelocity()) and is_measured(Counting())
    assert not is_measured(Human()) and not is_measured(PdmClosed()) and not is_measured(object.__new__(Submitted))


def test_where_nothing_was_planned_there_is_no_latency():
    assert planning_latency(Counting(), [], [], str) is None


def test_only_calls_that_returned_plans_are_recorded():
    plans = plan_scenes(Counting(bad="t1"), TOKENS[:5], str, batch=3, advance=lambda more: None)
    assert [call.scenes for call in plans.calls] == [1, 1, 2]  # the first three one by one, because one of them fails
    assert all(call.seconds >= 0 for call in plans.calls) and set(plans.failures) == {"t1"}
