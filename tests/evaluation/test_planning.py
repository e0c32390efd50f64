"""Which planner is given the truth, and which plans are refused."""

import numpy as np
import pytest

from latentdrive.evaluation.planning import plan_scenes, scene_opener, sensors_of
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.baselines.pdm_closed import PdmClosed
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.types import Refined, Scene, SceneTruth, SensorNeeds, Trajectory
from tests.support.evaluation import MadeSource

SOURCE = MadeSource("a", "b")


class Planner:
    """Plans `poses` poses, `dt_s` apart. privileged: its attribute of that name, None for none."""

    def __init__(self, poses: int = 8, dt_s: float = 0.5, privileged: object = None) -> None:
        self.poses, self.dt_s, self.takes, self.needs = poses, dt_s, SceneTruth, NO_SENSORS
        if privileged is not None:
            self.privileged = privileged

    def plan(self, scenes: list) -> Trajectory:
        return Trajectory(poses=np.zeros((len(scenes), self.poses, 3)), dt_s=self.dt_s)


@pytest.mark.parametrize(("privileged", "sees_truth"), [(None, False), (False, False), (1, False), (True, True)])
def test_only_a_planner_that_says_true_sees_the_future(privileged: object, sees_truth: bool):
    opened = scene_opener(Planner(privileged=privileged), SOURCE, lambda token: token)("a")
    assert (opened == "truth of a") is sees_truth and isinstance(opened, Scene) is not sees_truth


def test_a_planner_that_says_privileged_but_not_what_it_takes_sees_no_future():
    planner = Planner(privileged=True)
    del planner.takes
    assert isinstance(scene_opener(planner, SOURCE, lambda token: token)("a"), Scene)


def test_a_privileged_planner_needs_no_sensors_and_others_those_that_they_name():
    assert sensors_of(Human()) == sensors_of(PdmClosed()) == NO_SENSORS
    planner = Planner()
    planner.needs = SensorNeeds(cameras=("cam_f0",), frames="now", lidar=True)
    assert sensors_of(planner) is planner.needs


@pytest.mark.parametrize(("poses", "dt_s"), [(8, 0.5), (40, 0.1), (4, 1.0)])
def test_plans_of_four_seconds_are_accepted_at_any_sampling(poses: int, dt_s: float):
    plans = plan_scenes(Planner(poses, dt_s), ["a", "b"], SOURCE.__getitem__, batch=2, advance=lambda done: None)
    assert set(plans.trajectories) == {"a", "b"} and plans.failures == {}


@pytest.mark.parametrize(
    ("poses", "dt_s"), [(7, 0.5), (0, 0.5), (8, 0.0), (8, 1e-9), (8, float("inf")), (8, float("nan"))]
)
def test_plans_of_another_length_are_refused_with_their_length(poses: int, dt_s: float):
    plans = plan_scenes(Planner(poses, dt_s), ["a", "b"], SOURCE.__getitem__, batch=2, advance=lambda done: None)
    assert plans.trajectories == {} and set(plans.failures) == {"a", "b"}
    assert f"{poses} poses" in plans.failures["a"] and "cover 4.0 s" in plans.failures["a"]


def test_how_a_plan_was_refined_stays_with_its_scene():
    class Refining(Planner):
        def plan(self, scenes: list) -> Trajectory:
            number = np.arange(len(scenes))
            refined = Refined(steps=3 + number, movement=(0.5 * number).astype(np.float32))
            return Trajectory(poses=np.zeros((len(scenes), 8, 3)), dt_s=0.5, refined=refined)

    plans = plan_scenes(Refining(), ["a", "b"], SOURCE.__getitem__, batch=2, advance=lambda done: None)
    told = {
        token: (int(plan.refined.steps), float(plan.refined.movement)) for token, plan in plans.trajectories.items()
    }
    assert told == {"a": (3, 0.0), "b": (4, 0.5)}
