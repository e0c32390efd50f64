"""From plans to results: golden scenes get the devkit's numbers, extended comfort included, and
failures score 0."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from latentdrive.errors import UnreadableScene
from latentdrive.evaluation.planning import Plans, plan_scenes, scene_opener
from latentdrive.evaluation.scoring import ScoredPlans, score_plans, with_extended_comfort
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.baselines.pdm_closed import PdmClosed
from latentdrive.planners.baselines.stand_still import StandStill
from latentdrive.types import Trajectory
from tests.support.evaluation import MadeSource, make_scene
from tests.support.golden_files import FILES, golden

TOKENS, DRIVES = ("previous", "now"), ("log", "log")
needs_golden = pytest.mark.skipif(not FILES, reason="no golden files")


@lru_cache
def prepared(number: int, version: Version) -> ScoringScene:
    return prepare_scene(golden(FILES[1]).truth(number), version.rules)


def candidate(number: int, name: str) -> Trajectory:
    cases = golden(FILES[1]).answers(number)["cases"]
    case = next(case for case in cases if case["name"] == name)
    return Trajectory(poses=np.array(case["poses"], np.dtype(case["dtype"])), dt_s=case["interval_s"])


def score(plans: dict[str, Trajectory], version: Version, failures: dict[str, str] | None = None) -> ScoredPlans:
    """The two golden scenes, by their places in the log."""
    tokens = [golden(FILES[1]).answers(number)["token"] for number in (0, 1)]
    named = dict(zip(TOKENS, tokens))
    scenes = {token: prepared(number, version) for number, token in enumerate(tokens)}
    scored = score_plans(
        Plans(trajectories={named[key]: plan for key, plan in plans.items()}, failures=failures or {}),
        tokens=tokens,
        drives=DRIVES,
        prepared=scenes.__getitem__,
        version=version,
        device="cpu",
        batch=2,
        advance=lambda more: None,
    )
    return with_extended_comfort(scored)


@needs_golden
def test_the_second_scene_gets_the_devkits_extended_comfort_and_the_first_gets_none():
    answers = golden(FILES[1]).answers(1)["v2"]["extended_comfort"]
    for answer in answers:
        scored = score(
            {"previous": candidate(0, answer["prev"]), "now": candidate(1, answer["now"])}, Version.EPDMS_V2_2
        )
        results = scored.results
        comfort = results.terms["two_frame_extended_comfort"]
        assert np.isnan(comfort[0]) and comfort[1] == answer["two_frame_extended_comfort"], answer["now"]
        assert results.score.tolist() == pytest.approx([answer["score_prev"], answer["score_now"]], abs=1e-9), answer[
            "now"
        ]
    assert len({answer["two_frame_extended_comfort"] for answer in answers}) == 2  # both happen


@needs_golden
@pytest.mark.parametrize("name", ["human", "slow", "dense_10hz"])
def test_v2_0_extends_its_unfiltered_total(name):
    scored = score({"previous": candidate(0, name), "now": candidate(1, name)}, Version.EPDMS_V2_0)
    case = next(case for case in golden(FILES[1]).answers(1)["cases"] if case["name"] == name)
    without = case["v2"]["scores_before_human_filter"]["pdm_score"]
    comfort, product = scored.results.terms["two_frame_extended_comfort"][1], scored.product[1]
    assert scored.results.score[1] == pytest.approx((14 * without + 2 * product * comfort) / 16, abs=1e-9)


@needs_golden
def test_v1_has_no_extended_comfort_and_the_devkits_columns():
    results = score({"previous": candidate(0, "slow"), "now": candidate(1, "slow")}, Version.PDMS_V1_1).results
    case = next(case for case in golden(FILES[1]).answers(1)["cases"] if case["name"] == "slow")
    for name, values in results.columns.items():
        assert values[1] == pytest.approx(case["v1"]["scores"][name], abs=1e-9), name


@needs_golden
def test_a_failed_scene_scores_0_is_listed_and_is_no_scenes_predecessor():
    nan = Trajectory(poses=np.full((8, 3), np.nan), dt_s=0.5)
    results = score({"previous": nan, "now": candidate(1, "human")}, Version.EPDMS_V2_2).results
    assert results.valid.tolist() == [False, True]
    assert all(values[0] == 0.0 for values in results.columns.values())
    assert "NaN or infinite" in results.failures[results.tokens[0]] and len(results.failures) == 1
    assert np.isnan(results.terms["two_frame_extended_comfort"][1])
    assert results.averaged().means()["score"] == pytest.approx(results.score[1] / 2)


@needs_golden
def test_synthetic_scenes_are_no_scenes_predecessors():
    scored = score({"previous": candidate(0, "human"), "now": candidate(1, "human")}, Version.EPDMS_V2_2)
    blank = scored.results.terms | {"two_frame_extended_comfort": np.full(2, np.nan)}
    unpaired = with_extended_comfort(
        replace(scored, results=replace(scored.results, terms=blank), synthetic=np.ones(2, bool))
    )
    assert np.isnan(unpaired.results.terms["two_frame_extended_comfort"]).all()


@needs_golden
def test_samplings_may_be_mixed_and_a_scene_without_a_plan_is_listed():
    token = golden(FILES[1]).answers(0)["token"]
    mixed = score({"previous": candidate(0, "human"), "now": candidate(1, "dense_10hz")}, Version.EPDMS_V2_2).results
    alone = score({"now": candidate(1, "dense_10hz")}, Version.EPDMS_V2_2, {token: "no image"}).results
    assert mixed.valid.all() and alone.failures == {token: "no image"}
    assert alone.progress_m[1] == mixed.progress_m[1] and np.isnan(alone.progress_m[0])


@needs_golden
def test_the_reference_driver_gets_full_progress():
    scenes = {token: prepared(number, Version.EPDMS_V2_2) for number, token in enumerate(TOKENS)}
    plans = plan_scenes(PdmClosed(), TOKENS, scenes.__getitem__, batch=2, advance=lambda more: None)
    results = score(plans.trajectories, Version.EPDMS_V2_2).results
    assert results.terms["ego_progress"] == pytest.approx([1.0, 1.0], abs=5e-3)
    assert results.progress_m == pytest.approx(results.reference_progress_m, abs=0.05)


SOURCE = MadeSource("a", "b", "c", unreadable="b")


class _Fails(StandStill):
    def plan(self, scenes):
        if any(scene.token == "c" for scene in scenes):
            raise UnreadableScene("c", "too hard")
        return super().plan(scenes)


def test_scenes_that_cannot_be_opened_or_planned_are_listed_and_cost_no_other_scene():
    advanced = []
    plans = plan_scenes(_Fails(), SOURCE.tokens, SOURCE.__getitem__, batch=3, advance=advanced.append)
    assert list(plans.trajectories) == ["a"] and plans.trajectories["a"].poses.shape == (8, 3)
    assert plans.failures == {"b": "b: its log is damaged", "c": "c: too hard"} and advanced == [3]


def test_only_privileged_planners_are_given_the_truth_or_the_prepared_scene():
    assert scene_opener(StandStill(), SOURCE, str)("a").token == "a"
    assert scene_opener(Human(), SOURCE, str)("a") == "truth of a"
    assert scene_opener(PdmClosed(), SOURCE, lambda token: f"prepared {token}")("a") == "prepared a"


def test_a_planner_that_returns_the_wrong_number_of_trajectories_is_refused():
    class Wrong(StandStill):
        def plan(self, scenes):
            return Trajectory(poses=np.zeros((2, 8, 3)), dt_s=0.5)

    plans = plan_scenes(Wrong(), ["a"], make_scene, batch=2, advance=lambda more: None)
    assert "Wrong.plan returned poses of shape (2, 8, 3) for 1 scene" in plans.failures["a"]
