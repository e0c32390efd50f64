"""Why a scene scores below 1: which sub-score was lost, and at which moment."""

from dataclasses import replace

import numpy as np

from latentdrive.evaluation.score_losses import off_the_drivable_area, score_losses
from tests.support.evaluation import make_results, make_scoring_scene, states_ahead


def losses(scene, states, **terms):
    results = make_results([0.0], ["d"], **terms)
    return [(note.text, note.step) for note in score_losses(scene, results, 0, states)]


def test_a_collision_names_who_was_hit_and_when():
    lost = losses(
        make_scoring_scene("t0"),
        states_ahead(),
        no_at_fault_collisions=[0.0],
        ego_progress=[1.0],
        collision_step=np.array([12]),
        collision_track=("car",),
    )
    assert lost == [("at-fault collision with vehicle car at 1.2 s", 12)]


def test_the_drivable_area_is_left_when_the_first_corner_does():
    # The bumper is 4.049 m ahead of the rear axle, so it leaves the road when the axle is at 10 m,
    # after 2 s.
    scene = make_scoring_scene("t0", road_m=14.0)
    off = off_the_drivable_area(scene.areas, states_ahead())
    assert not any(off[:20]) and all(off[20:])
    assert losses(scene, states_ahead(), drivable_area_compliance=[0.0], ego_progress=[1.0]) == [
        ("left the drivable area at 2.0 s", 20)
    ]


def test_a_red_light_is_met_when_the_bumper_touches_it():
    states = states_ahead(10.0)  # the light is 30 m ahead; the bumper is there when the rear axle is at 25.951 m
    assert losses(make_scoring_scene("t0"), states, traffic_light_compliance=[0.0], ego_progress=[1.0]) == [
        ("drove into a red light at 2.6 s", 26)
    ]


def test_a_loss_without_a_moment_has_no_step():
    lost = losses(
        make_scoring_scene("t0"),
        states_ahead(),
        ego_progress=[0.5],
        lane_keeping=[0.0],
        driving_direction_compliance=[0.5],
        two_frame_extended_comfort=[np.nan],
    )
    assert [text for text, step in lost if step is None] == [
        "drove against the traffic",
        "more than 0.5 m off the centre line for 2 s",
        "progress 0.50 (10.0 m, PDM-Closed 20.0 m)",
    ]


def test_a_scene_without_losses_says_so_and_a_failed_one_says_why():
    scene = make_scoring_scene("t0")
    assert losses(scene, states_ahead(), ego_progress=[1.0]) == [("nothing lost", None)]
    failed = make_results([0.0], ["d"], valid=np.array([False]), failures={"t0": "a pose is NaN"})
    assert score_losses(scene, failed, 0, None)[0].text == "failed: a pose is NaN"


def test_the_most_expensive_loss_comes_first():
    lost = losses(
        make_scoring_scene("t0"),
        states_ahead(),
        no_at_fault_collisions=[0.0],
        time_to_collision_within_bound=[0.0],
        ego_progress=[1.0],
        collision_step=np.array([12]),
        collision_track=("car",),
        ttc_step=np.array([5]),
    )
    assert [step for _, step in lost] == [12, 5] and lost[1][0] == "time to collision below 1 s at 0.5 s"


def test_a_note_names_what_the_human_filter_forgives():
    scene = make_scoring_scene("t0")
    filtered = replace(scene, human_terms=np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]))
    assert losses(filtered, states_ahead(), ego_progress=[1.0])[-1] == (
        "not counted, as the human driver fails it too: drivable area compliance, lane keeping",
        None,
    )
