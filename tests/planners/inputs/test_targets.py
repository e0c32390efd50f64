"""A planner's training targets, on truths made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.errors import ConfigError, UnreadableScene
from latentdrive.planners.inputs.bev_semantics import (
    CENTRELINE,
    PEDESTRIAN,
    ROAD,
    STATIC,
    VEHICLE,
    WALKWAY,
    BevSemantics,
)
from latentdrive.planners.inputs.targets import SceneTargets
from latentdrive.types import MapArea, Trajectory
from tests.support.made_truths import made_truth, moved_truth, street_truth
from tests.support.small_maps import rectangle, road_map, street

NAVSIM_VIEW = BevSemantics(height=128, width=256, metres_per_cell=0.25, centreline_px=2)


def targets(**changed) -> SceneTargets:
    given = {"poses": 8, "agents": 4, "agents_half_m": 32.0, "bearing_deg": None, "semantics": None}
    return SceneTargets(**(given | changed))


def truth(*others: tuple, ego: tuple[float, float, float] = (0.0, 0.0, 0.0), **parts):
    """A street along x, with the ego at the origin by default."""
    return made_truth(road_map(**(street(3) | parts)), ("r0",), *others, ego=ego)


def vehicle(x: float, y: float, heading: float = 0.0) -> tuple:
    return (f"v{x}{y}", "vehicle", x, y, heading, 0.0, 0.0)


def test_the_trajectory_is_the_humans():
    arrays = targets(agents=0)(truth())
    assert arrays.keys() == {"trajectory"} and arrays["trajectory"].dtype == np.float32
    assert np.allclose(arrays["trajectory"], [[4.0 * k, 0, 0] for k in range(1, 9)])  # 8 m/s


@pytest.mark.parametrize("dt_s", [0.5, 0.1])
def test_a_human_trajectory_that_is_too_short_or_has_another_step_is_refused(dt_s):
    made = truth()
    cut = replace(made, human=Trajectory(poses=made.human.poses[: 5 if dt_s == 0.5 else 8], dt_s=dt_s))
    poses = len(cut.human.poses)
    with pytest.raises(UnreadableScene, match=rf"{poses} poses {dt_s} s apart; training needs 8 poses 0.5 s apart"):
        targets()(cut)


def test_the_nearest_vehicles_come_first_and_the_rest_is_padding():
    arrays = targets()(
        truth(vehicle(20, 0), vehicle(3, 4, 0.5), ("w", "pedestrian", 1.0, 1.0, 0.0, 0.0, 0.0), vehicle(-10, 0))
    )
    assert arrays["agents"].dtype == np.float32 and arrays["agents_real"].tolist() == [True, True, True, False]
    expected = [[3, 4, 0.5, 4.2, 1.9], [-10, 0, 0, 4.2, 1.9], [20, 0, 0, 4.2, 1.9], [0] * 5]
    assert np.allclose(arrays["agents"], expected)


def test_vehicles_are_in_the_ego_frame():
    arrays = targets()(truth(vehicle(10, 7, np.pi / 2), ego=(10.0, 2.0, np.pi / 2)))
    assert np.allclose(arrays["agents"][0], [5, 0, 0, 4.2, 1.9], atol=1e-6)


def test_vehicles_beyond_the_nearest_or_outside_the_square_are_left_out():
    many = [vehicle(2.0 + k, 0) for k in range(6)] + [vehicle(32, -32), vehicle(32.1, 0), vehicle(0, -33)]
    assert targets()(truth(*many))["agents"][:, 0].tolist() == [2, 3, 4, 5]
    arrays = targets(agents=10)(truth(*many))
    assert arrays["agents_real"].sum() == 7 and arrays["agents"][6, :2].tolist() == [32, -32]


def test_vehicles_outside_the_bearing_keep_their_row_but_are_not_real():
    at_81 = vehicle(10 * np.cos(np.deg2rad(81)), 10 * np.sin(np.deg2rad(81)))
    at_79 = vehicle(20 * np.cos(np.deg2rad(-79)), 20 * np.sin(np.deg2rad(-79)))
    arrays = targets(bearing_deg=80.0)(truth(vehicle(-5, 0), at_81, at_79))
    assert arrays["agents_real"].tolist() == [False, False, True, False]


def test_without_vehicles_all_is_padding():
    arrays = targets()(truth())
    assert not arrays["agents_real"].any() and not arrays["agents"].any()


def test_row_0_lies_at_the_ego_and_columns_run_from_right_to_left():
    view = NAVSIM_VIEW(truth(vehicle(20.1, 8.1)).map, np.zeros(3), truth(vehicle(20.1, 8.1)).frames[3].objects)
    assert view.shape == (128, 256) and view.dtype == np.uint8
    cells = np.argwhere(view == VEHICLE)
    # 20.1 ± 2.1 m ahead and 8.1 ± 0.95 m to the left, in cells of 0.25 m; both ends are drawn.
    assert cells.min(0).tolist() == [72, 128 + 28] and cells.max(0).tolist() == [88, 128 + 36]
    mirrored = NAVSIM_VIEW(truth().map, np.zeros(3), truth(vehicle(20.1, -8.1)).frames[3].objects)
    assert np.argwhere(mirrored == VEHICLE)[:, 1].max() < 128


def test_a_street_along_x_is_a_band_with_a_line_in_its_middle():
    view = NAVSIM_VIEW(truth().map, np.array([5.0, 0.0, 0.0]), truth().frames[3].objects)
    # The lane, 4 m wide, ends 15 m ahead at x = 20. Of the connector behind it only the centre line is drawn.
    assert set(view[30, 128 - 8 : 128 + 9]) == {ROAD, CENTRELINE}
    assert not view[30, : 128 - 8].any() and not view[30, 137:].any()
    assert set(view[70]) == {0, CENTRELINE}
    line = np.flatnonzero(view[30] == CENTRELINE)
    assert 128 in line and 2 <= len(line) <= 3


def test_later_classes_lie_over_earlier_ones():
    others = [
        ("cone", "traffic_cone", 10.0, 0.0, 0.0, 0.0, 0.0),
        ("bike", "bicycle", 4.0, 6.0, 0.0, 0.0, 0.0),
        vehicle(12, 0),
        ("walker", "pedestrian", 13.0, 0.0, 0.0, 0.0, 0.0),
    ]
    made = truth(*others)
    made = replace(made, map=replace(made.map, walkways=(MapArea(id="w", rings=(rectangle(0, -1, 6, 1),)),)))
    view = targets(semantics=NAVSIM_VIEW)(made)["semantics"]
    assert view[12, 125] == WALKWAY  # over the road
    assert view[12, 128] == CENTRELINE  # over the walkway
    assert view[34, 128] == STATIC  # the cone's rear half
    assert view[42, 128] == VEHICLE  # its other half, and the line
    assert view[52, 128] == PEDESTRIAN
    assert view[16, 152] == 0  # bicycles are not drawn


def test_the_view_turns_with_the_car():
    """The whole scene, turned and moved, gives the same view except for rounding at edges."""
    made = street_truth(ego=(18.0, 0.1, 0.01))
    far = moved_truth(made, np.array([331_000.0, 4_690_000.0, 2.0]))
    given = targets(semantics=NAVSIM_VIEW)
    # Only areas that meet a square around the ego are drawn. The square does not turn; compare where it has no edge.
    near, moved = (given(place)["semantics"][:90, 60:200] for place in (made, far))
    assert (near != moved).mean() < 0.01 and len(np.unique(near)) == 6


@pytest.mark.parametrize(
    ("corners", "drawn"), [((14, 6, 22, 12), True), ((32.1, 0, 36, 4), False), ((0, 32.1, 4, 36), False)]
)
def test_areas_are_drawn_where_they_meet_the_square_around_the_ego(corners, drawn):
    """The view turns with the ego, the square of 64 m does not: at 45 degrees the view reaches beyond its sides."""
    nobody, diagonal = truth(), np.array([0.0, 0.0, np.pi / 4])
    area = MapArea(id="i", rings=(rectangle(*corners),))
    place = replace(nobody.map, lanes=(), connectors=(), intersections=(area,))
    assert NAVSIM_VIEW(place, diagonal, nobody.frames[3].objects).any() == drawn


def test_holes_are_filled():
    ring, hole = rectangle(4, -8, 20, 8), rectangle(8, -4, 16, 4)
    place = replace(truth().map, lanes=(), connectors=(), intersections=(MapArea(id="i", rings=(ring, hole)),))
    assert NAVSIM_VIEW(place, np.zeros(3), truth().frames[3].objects)[48, 128] == ROAD


def test_a_map_that_cannot_be_indexed_names_the_scene():
    made = truth(roadblocks=[MapArea(id="r0", rings=(np.zeros((2, 2)),))])
    with pytest.raises(UnreadableScene, match=r"scene made: .*fewer than 3 points"):
        targets(semantics=NAVSIM_VIEW)(made)


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="width must be even"):
        BevSemantics(height=128, width=255, metres_per_cell=0.25, centreline_px=2)
    with pytest.raises(ConfigError, match="poses must be at least 1"):
        targets(poses=0)
