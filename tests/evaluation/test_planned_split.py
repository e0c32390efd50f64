"""A whole split with one planner: scenes that could not be prepared, and the human driver for
comparison."""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.evaluation.planned_split import (
    PlannedSplit,
    PreparedSplit,
    latency_on,
    plan_split,
    plan_split_as_human,
    progress_of,
)
from latentdrive.evaluation.scoring import with_extended_comfort
from latentdrive.evaluation.split import SplitScenes
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.baselines.stand_still import StandStill
from tests.support.evaluation import MadeSource, make_scoring_scene

TOKENS = ("a", "b", "c")


@pytest.fixture(scope="module")
def split() -> PreparedSplit:
    """Three scenes, of which b cannot be opened and c could not be prepared."""
    return PreparedSplit(
        scenes=SplitScenes(source=MadeSource(*TOKENS, unreadable="b"), tokens=TOKENS, drives=("d",) * 3),
        prepared=make_scoring_scene,
        unprepared={"c": "its map is missing"},
        complete=with_extended_comfort,
        version=Version.EPDMS_V2_2,
        batch=2,
        device="cpu",
    )


@pytest.fixture(scope="module")
def planned(split: PreparedSplit) -> PlannedSplit:
    return plan_split(split, StandStill(), label="StandStill")


def test_every_scene_has_a_row_and_failures_keep_the_reason_of_the_step_that_failed(planned: PlannedSplit):
    results = planned.scored.results
    assert results.tokens == TOKENS and results.valid.tolist() == [True, False, False]
    assert results.failures == {"b": "b: its log is damaged", "c": "its map is missing"}


def test_a_scene_that_cannot_be_scored_is_planned_all_the_same(split: PreparedSplit, planned: PlannedSplit):
    assert list(planned.plans.trajectories) == ["a", "c"] and planned.plans.failures == {"b": "b: its log is damaged"}
    assert split.unscorable == ""
    nothing = replace(split, unprepared=dict.fromkeys(TOKENS, "its map is missing"))
    human = plan_split(nothing, Human(), label="human").plans  # the human's future is a truth, which is missing
    assert not human.trajectories and human.failures == nothing.unprepared
    assert nothing.unscorable == "none of 3 scenes can be prepared, the first one: its map is missing"


def test_progress_is_unknown_where_nothing_was_scored(planned: PlannedSplit):
    progress = progress_of(planned, ("c", "a", "elsewhere"))
    assert np.isnan(progress).tolist() == [True, False, True] and np.isnan(progress_of(None, TOKENS)).all()


def test_the_human_driver_is_not_planned_twice(split: PreparedSplit, planned: PlannedSplit):
    assert plan_split_as_human(split, Human(), planned) is planned


def test_latency_is_measured_for_planners_that_are_not_privileged(split: PreparedSplit, planned: PlannedSplit):
    assert latency_on(split, StandStill(), planned)["batch"] == 1 and latency_on(split, Human(), planned) is None
