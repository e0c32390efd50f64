"""Map, route, centreline and PDM-Closed, compared with the devkit on all golden scenes: to 1e-6 m,
and every choice.
"""

import numpy as np

from latentdrive.pdms.map.areas import areas_near
from latentdrive.pdms.map.index import index_of
from latentdrive.pdms.pdm_closed.centreline import Path
from latentdrive.pdms.pdm_closed.driver import PdmClosed
from latentdrive.pdms.pdm_closed.forecast import Forecast
from latentdrive.pdms.scene import AX, HEADING, LAYERS, VX, Areas
from latentdrive.pdms.versions import V1, V2, Rules
from tests.support.golden_files import SCENES, Golden, every_file, golden

TOLERANCE = 1e-6


def reference(file: Golden, number: int, rules: Rules) -> PdmClosed:
    truth = file.truth(number)
    now = truth.frames[truth.now]
    ego = np.zeros(11)
    ego[: HEADING + 1], ego[VX : VX + 2], ego[AX : AX + 2] = now.ego_pose, now.velocity, now.acceleration
    np.testing.assert_allclose(ego, file.answers(number)["ego_state"], rtol=0, atol=TOLERANCE)
    return PdmClosed(index_of(file.map), ego, now, truth.route, rules)


def check_route(ours: PdmClosed, answers: dict) -> None:
    assert list(ours.blocks) == answers["v1"]["pdm_closed"]["route_roadblock_ids_corrected"]
    assert list(ours.blocks) == answers["v2"]["pdm_closed"]["route_roadblock_ids_corrected"]
    assert list(ours.lanes) == answers["route_lane_ids"]
    np.testing.assert_allclose(ours.line, answers["centerline"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(Path(ours.line).progress, answers["centerline_progress"], rtol=0, atol=TOLERANCE)


def check_areas(ours: Areas, answers: dict) -> None:
    expected = answers["drivable_area"]
    named = [(area["id"], LAYERS.index(area["layer"])) for area in expected]
    assert list(zip(ours.ids, ours.layers.tolist(), strict=True)) == named
    vertices = np.concatenate([area["polygon"] for area in expected])
    np.testing.assert_allclose(ours.polygons.vertices, vertices, rtol=0, atol=TOLERANCE)
    assert np.diff(ours.polygons.ends).tolist() == [len(area["polygon"]) for area in expected]
    assert ours.on_route.tolist() == [area["id"] in answers["route_lane_ids"] for area in expected]


def check_sight(ours: Forecast, expected: dict) -> None:
    everyone = [*ours.tokens, *(f"red_light_{light}" for light in ours.lights)]
    assert everyone == expected["observation_tokens"]
    ignored = np.concatenate([ours.touched, ours.light_touched])
    assert {token for token, out in zip(everyone, ignored, strict=True) if out} == set(
        expected["ignored_collided_tokens"]
    )


def check_driving(ours: PdmClosed, expected: dict) -> None:
    chosen = expected["chosen_proposal"]
    driven = ours.drivers.chosen(chosen)
    proposals, to_the_end = ours.proposals(), ours.chosen(chosen)
    for value, answer in (
        (ours.drivers.targets, expected["idm_target_velocities"]),
        (driven.states[0], expected["chosen_idm_progress_velocity"]),
        (driven.records[0], expected["chosen_leading_agent"]),
        (proposals[:, -1], expected["proposal_end_poses_step40"]),
        (to_the_end, expected["trajectory"]),
    ):
        np.testing.assert_allclose(value, answer, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(proposals[chosen], to_the_end[:41])


@every_file
def test_route_centre_line_areas_and_proposals_are_the_devkits(name):
    for number in range(SCENES):
        answers = golden(name).answers(number)
        for rules in (V1, V2):
            ours, expected = reference(golden(name), number, rules), answers[f"v{rules.generation}"]["pdm_closed"]
            check_sight(ours.expected, expected)
            check_driving(ours, expected)
            assert len(ours.tracks().poses) == (51 if rules is V1 else 41)
        check_route(ours, answers)
        pose = np.array(answers["ego_state"][: HEADING + 1])
        check_areas(areas_near(index_of(golden(name).map), pose, ours.lanes), answers)
