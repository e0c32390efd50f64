"""Who is given what, and which plans are refused by name."""

import numpy as np
import pytest

from latentdrive.evaluation.planning import plan_scenes, what_it_takes
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.types import SceneTruth, Trajectory


class Source:
    """Opens a scene as a word, and its truth as another."""

    tokens = ("a", "b")

    def __getitem__(self, token: str) -> str:
        return f"seen {token}"

    def truth(self, token: str) -> str:
        return f"truth of {token}"


class Planner:
    """Plans so many poses, so far apart."""

    def __init__(self, poses: int = 8, dt_s: float = 0.5, privileged: object = None) -> None:
        self.poses, self.dt_s, self.takes, self.needs = poses, dt_s, SceneTruth, NO_SENSORS
        if privileged is not None:
            self.privileged = privileged

    def plan(self, scenes: list) -> Trajectory:
        return Trajectory(poses=np.zeros((len(scenes), self.poses, 3)), dt_s=self.dt_s)


@pytest.mark.parametrize(
    ("privileged", "given"), [(None, "seen a"), (False, "seen a"), (1, "seen a"), (True, "truth of a")]
)
def test_only_who_says_true_sees_the_future(privileged: object, given: str):
    assert what_it_takes(Planner(privileged=privileged), Source(), lambda token: token)("a") == given


@pytest.mark.parametrize(("poses", "dt_s"), [(8, 0.5), (40, 0.1), (4, 1.0)])
def test_plans_of_four_seconds_are_taken_at_any_sampling(poses: int, dt_s: float):
    plans = plan_scenes(Planner(poses, dt_s), ["a", "b"], Source().__getitem__, batch=2, advance=lambda done: None)
    assert set(plans.trajectories) == {"a", "b"} and plans.failures == {}


@pytest.mark.parametrize(
    ("poses", "dt_s"), [(7, 0.5), (0, 0.5), (8, 0.0), (8, 1e-9), (8, float("inf")), (8, float("nan"))]
)
def test_plans_of_another_length_are_named_and_nothing_else_is_lost(poses: int, dt_s: float):
    plans = plan_scenes(Planner(poses, dt_s), ["a", "b"], Source().__getitem__, batch=2, advance=lambda done: None)
    assert plans.trajectories == {} and set(plans.failures) == {"a", "b"}
    assert f"{poses} poses" in plans.failures["a"] and "cover 4.0 s" in plans.failures["a"]
