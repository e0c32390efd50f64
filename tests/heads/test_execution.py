"""How many poses of a plan are driven, by how many steps the plan took."""

import pytest
import torch

from latentdrive.errors import ConfigError
from latentdrive.heads.execution import BinaryExecution, Execution, LinearExecution

STEPS = torch.tensor([1, 4, 5, 8, 12, 32])


def test_the_binary_rule_drives_the_whole_plan_after_few_steps_and_else_half_of_it() -> None:
    rule = BinaryExecution(few_steps=4)
    assert rule(STEPS, poses=8).tolist() == [8, 8, 4, 4, 4, 4]
    assert rule(STEPS, poses=5).tolist() == [5, 5, 3, 3, 3, 3]


def test_the_linear_rule_drives_fewer_poses_with_every_step() -> None:
    rule = LinearExecution(few_steps=4, many_steps=12, least_poses=2)
    # (8 - 2) poses over 8 steps: three quarters of a pose a step.
    assert rule(STEPS, poses=8).tolist() == [8, 8, 7, 5, 2, 2]
    every = rule(torch.arange(1, 33), poses=8)
    assert (every.diff() <= 0).all() and every[0] == 8 and every[-1] == 2


def test_a_plan_that_is_shorter_than_the_least_is_driven_whole() -> None:
    assert LinearExecution(few_steps=1, many_steps=2, least_poses=4)(STEPS, poses=3).tolist() == [3] * 6


def test_both_are_rules_of_execution() -> None:
    assert isinstance(BinaryExecution(few_steps=4), Execution)
    assert isinstance(LinearExecution(few_steps=4, many_steps=12, least_poses=2), Execution)


@pytest.mark.parametrize(
    "numbers",
    [{"few_steps": 8, "many_steps": 8, "least_poses": 2}, {"few_steps": 4, "many_steps": 8, "least_poses": 0}],
)
def test_a_rule_that_ends_before_it_begins_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="many_steps must be above few_steps"):
        LinearExecution(**numbers)
