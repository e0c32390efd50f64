"""A scored scene from above, and the reasons that are written below it."""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.drawing.colours import HUMAN, LIGHT, RED
from latentdrive.report.score_picture import (
    BAND,
    PLANNED,
    SIDE,
    SIMULATED,
    off_the_drivable_area,
    reasons,
    score_picture,
)
from latentdrive.types import Trajectory
from tests.support.evaluation import PLACE, make_results, make_scoring_scene, states_ahead


def ahead(metres: float, left: float = 0.0) -> Trajectory:
    return Trajectory(poses=np.linspace([metres / 8, left / 8, 0], [metres, left, 0], 8), dt_s=0.5)


def told(scene, states, **terms):
    results = make_results([0.0], ["d"], **terms)
    return [(one.text, one.step) for one in reasons(scene, results, 0, states)]


def test_a_collision_names_who_was_hit_and_when():
    found = told(
        make_scoring_scene("t0"), states_ahead(), no_at_fault_collisions=[0.0], ego_progress=[1.0], collision_step=np.array([12]),
        collision_track=("car",),
    )  # fmt: skip
    assert found == [("at-fault collision with vehicle car at 1.2 s", 12)]


def test_the_drivable_area_is_left_when_the_first_corner_does():
    scene = make_scoring_scene(
        "t0", road_m=14.0
    )  # the bumper is 4.049 m ahead of the rear axle: it is out at 10 m, after 2 s
    off = off_the_drivable_area(scene.areas, states_ahead())
    assert not any(off[:20]) and all(off[20:])
    assert told(scene, states_ahead(), drivable_area_compliance=[0.0], ego_progress=[1.0]) == [
        ("left the drivable area at 2.0 s", 20)
    ]


def test_a_red_light_is_met_when_the_bumper_touches_it():
    states = states_ahead(10.0)  # the light begins 30 m ahead: the bumper is there when the rear axle is at 25.951 m
    assert told(make_scoring_scene("t0"), states, traffic_light_compliance=[0.0], ego_progress=[1.0]) == [
        ("drove into a red light at 2.6 s", 26)
    ]


def test_what_has_no_moment_is_told_without_one():
    found = told(
        make_scoring_scene("t0"), states_ahead(), ego_progress=[0.5], lane_keeping=[0.0], driving_direction_compliance=[0.5],
        two_frame_extended_comfort=[np.nan],
    )  # fmt: skip
    assert [text for text, step in found if step is None] == [
        "drove against the traffic", "more than 0.5 m off the centre line for 2 s", "progress 0.50 (10.0 m, PDM-Closed 20.0 m)",
    ]  # fmt: skip


def test_a_scene_that_lost_nothing_says_so_and_one_that_failed_says_why():
    scene = make_scoring_scene("t0")
    assert told(scene, states_ahead(), ego_progress=[1.0]) == [("nothing lost", None)]
    failed = make_results([0.0], ["d"], valid=np.array([False]), failures={"t0": "a pose is NaN"})
    assert reasons(scene, failed, 0, None)[0].text == "failed: a pose is NaN"


def test_the_dearest_thing_comes_first_and_is_what_others_are_drawn_at():
    found = told(
        make_scoring_scene("t0"), states_ahead(), no_at_fault_collisions=[0.0], time_to_collision_within_bound=[0.0],
        ego_progress=[1.0], collision_step=np.array([12]), collision_track=("car",), ttc_step=np.array([5]),
    )  # fmt: skip
    assert [step for _, step in found] == [12, 5] and found[1][0] == "time to collision below 1 s at 0.5 s"


def test_what_the_human_filter_forgives_is_said():
    scene = make_scoring_scene("t0")
    filtered = replace(scene, human_terms=np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]))
    assert told(filtered, states_ahead(), ego_progress=[1.0])[-1] == (
        "not counted, as the human driver fails it too: drivable area compliance, lane keeping", None
    )  # fmt: skip


def view(picture: np.ndarray) -> np.ndarray:
    return picture[BAND : BAND + SIDE]


def places(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns that are nearly of a colour: lines are smoothed."""
    return np.argwhere((np.abs(picture.astype(int) - np.array(colour)) < 30).all(-1))


def test_ahead_is_above_and_left_is_left():
    scene, results = make_scoring_scene("t0"), make_results([0.5], ["d"])
    picture = score_picture(
        scene, results, 0, states=states_ahead(), planned=ahead(30.0, 10.0), human=ahead(20.0, -5.0)
    )
    planned, human = places(view(picture), PLANNED), places(view(picture), HUMAN)
    top = planned[planned[:, 0].argmin()]
    bottom = planned[planned[:, 0].argmax()]
    assert top[0] < bottom[0] - 200 and top[1] < bottom[1] - 60  # forward and to the left
    assert human[human[:, 0].argmin()][1] > human[human[:, 0].argmax()][1] + 20  # to the right
    assert len(places(view(picture), SIMULATED)) and len(places(view(picture), LIGHT))


def test_who_was_hit_is_outlined_in_red_where_it_was_then():
    scene = make_scoring_scene("t0")
    changes = {"no_at_fault_collisions": [0.0], "collision_step": np.array([12]), "collision_track": ("car",)}
    hit, unhurt = (
        score_picture(scene, make_results([0.0], ["d"], **more), 0, states=states_ahead(), planned=None, human=None)
        for more in (changes, {})
    )
    assert len(places(view(hit), RED)) > len(places(view(unhurt), RED))
    assert hit.shape[0] > unhurt.shape[0]  # one line more of reasons


def test_a_plan_in_another_frame_and_a_failed_scene_are_drawn_all_the_same():
    scene = make_scoring_scene("t0")
    far = Trajectory(poses=np.full((8, 3), 1e6), dt_s=0.5)
    assert (
        score_picture(scene, make_results([0.0], ["d"]), 0, states=states_ahead(), planned=far, human=None).shape[1]
        == SIDE
    )
    failed = make_results([0.0], ["d"], valid=np.array([False]), failures={"t0": "gone"})
    nan = Trajectory(poses=np.full((8, 3), np.nan), dt_s=0.5)
    assert score_picture(scene, failed, 0, states=None, planned=nan, human=ahead(3.0)).shape[1] == SIDE
    assert PLACE[2] == pytest.approx(np.pi / 2)
