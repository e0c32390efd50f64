"""How long a plan is driven: by the rate of planning, by a number of poses, or by how sure the plan is."""

import numpy as np
import pytest

from latentdrive.build import build
from latentdrive.closed_loop.settings import LoopSettings
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.heads.execution import BinaryExecution
from latentdrive.types import Refined, Trajectory


def settings(**changed) -> LoopSettings:
    return build(compose("drive", []).closed_loop, **changed)


def plan(steps: int | None = None) -> Trajectory:
    refined = None if steps is None else Refined(steps=np.array(steps), movement=np.array(0.1, np.float32))
    return Trajectory(poses=np.zeros((8, 3)), dt_s=0.5, refined=refined)


def test_a_plan_is_driven_until_the_next_one():
    assert settings(replan_hz=2.0).steps(plan(), rate_hz=10.0) == 5
    assert settings(replan_hz=10.0).steps(plan(), rate_hz=10.0) == 1
    assert settings(execute_poses=3).steps(plan(), rate_hz=10.0) == 15


def test_a_plan_that_took_many_steps_is_driven_for_less_long():
    rule = settings(execution=BinaryExecution(few_steps=6))
    assert [rule.steps(plan(steps), rate_hz=10.0) for steps in (6, 7)] == [40, 20]


def test_what_does_not_fit_is_told():
    with pytest.raises(ConfigError, match="this planner plans at once"):
        settings(execution=BinaryExecution(few_steps=6)).steps(plan(), rate_hz=10.0)
    with pytest.raises(ConfigError, match="both say how far to drive"):
        settings(execution=BinaryExecution(few_steps=6), execute_poses=2)
    with pytest.raises(ConfigError, match="replan_hz=3: choose 2 or 10"):
        settings(replan_hz=3.0)
    with pytest.raises(ConfigError, match="execute_poses=0"):
        settings(execute_poses=0)
