"""Movement of refined plans ranks the scenes that fail, or does not; the summary and the terminal say so."""

from dataclasses import replace

import numpy as np

from latentdrive.evaluation.summary import flat, summarise
from latentdrive.evaluation.uncertainty import uncertainty, uncertainty_lines
from tests.support.evaluation import make_results

DRIVES = [f"drive{number // 2}" for number in range(12)]
SCORES = [0.0, 0.9] * 6


def refined(movement: list[float], scores: list[float] = SCORES, valid: list[bool] | None = None):
    results = make_results(scores, DRIVES)
    valid = np.array(valid or [True] * 12)
    return replace(results, steps=np.arange(12.0), movement=np.array(movement), valid=valid)


def test_a_planner_that_plans_at_once_says_nothing():
    assert uncertainty(make_results(SCORES, DRIVES)) is None and uncertainty_lines(None) == []


def test_movement_that_ranks_all_failures_first_has_an_area_of_one():
    told = uncertainty(refined([1.0, 0.1] * 6))
    assert told == {
        "mean_steps": 5.5,
        "scenes": 12,
        "failed": 6,
        "auroc": 1.0,
        "low": 1.0,
        "high": 1.0,
        "drives": 6,
    }
    assert uncertainty(refined([0.1, 1.0] * 6))["auroc"] == 0.0
    assert uncertainty(refined([0.5] * 12))["auroc"] == 0.5
    assert uncertainty_lines(told) == [
        "plans took 5.5 steps on average",
        "their movement at the last step tells the 6 that score 0: AUROC 1.000 [1.000, 1.000], chance 0.5",
    ]


def test_scenes_without_a_plan_or_with_unknown_movement_are_left_out():
    told = uncertainty(refined([np.nan, 0.1] + [1.0, 0.1] * 5, valid=[True] * 10 + [False] * 2))
    assert (told["scenes"], told["failed"], told["drives"]) == (9, 4, 5)


def test_without_failures_there_is_nothing_to_rank():
    told = uncertainty(refined([0.1] * 12, scores=[0.9] * 12))
    assert told["auroc"] is told["low"] is told["high"] is None
    assert uncertainty_lines(told)[1] == "0 of 12 plans failed: there is nothing to rank"


def test_the_summary_and_the_numbers_of_a_run_hold_it():
    summary = summarise(refined([1.0, 0.1] * 6), [], {})
    assert summary["refined"]["auroc"] == 1.0
    assert (flat(summary)["evaluate/auroc"], flat(summary)["evaluate/mean_steps"]) == (1.0, 5.5)
    assert "refined" not in summarise(make_results(SCORES, DRIVES), [], {})
