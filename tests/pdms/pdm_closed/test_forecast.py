"""PDM-Closed's forecast of others, worked by hand. The centre of an ego at x = -1.461 is the origin."""

import numpy as np

from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.pdm_closed.forecast import Forecast, forecast, red_lights_of, tracks_of
from tests.support.small_maps import frame, pose, road_map, street

STREET = MapIndex(road_map(**street(3)))
LANES = ("l0", "c0", "l1", "c1", "l2")
EGO = pose(-1.461)


def expected(*rows: tuple, lights: tuple = (), ego: np.ndarray = EGO) -> Forecast:
    return forecast(STREET, frame(ego, *rows, lights=lights), LANES, 51)


def test_kinds_come_in_order_and_near_ones_first():
    rows = [
        ("b", "bicycle", 20, 0, 0, 0, 0),
        ("far", "vehicle", 30, 0, 0, 0, 0),
        ("cone", "traffic_cone", 9, 9, 0, 0, 0),
        ("p", "pedestrian", 10, 5, 0, 0, 0),
        ("near", "vehicle", 0, 20, 0, 0, 0),
        ("sign", "czone_sign", 8, 8, 0, 0, 0),
    ]
    assert expected(*rows).tokens == ("sign", "cone", "near", "far", "p", "b")


def test_no_more_than_50_static_50_vehicles_25_pedestrians_and_10_bicycles_are_seen_the_nearest_ones():
    rows = [
        (f"{name}{i}", name, 80 - i, 10, 0, 0, 0)
        for name in ("vehicle", "pedestrian", "bicycle", "barrier", "traffic_cone")
        for i in range(60)
    ]
    forecasted = expected(*rows)
    counts = {name: forecasted.names.count(name) for name in set(forecasted.names)}
    assert counts == {"vehicle": 50, "pedestrian": 25, "bicycle": 10, "barrier": 25, "traffic_cone": 25}
    assert (
        "bicycle59" in forecasted.tokens and "bicycle50" in forecasted.tokens and "bicycle49" not in forecasted.tokens
    )


def test_objects_count_within_100_m_of_the_centre():
    forecasted = expected(("in", "vehicle", 0, 99.99, 0, 0, 0), ("out", "vehicle", 0, 100.01, 0, 0, 0))
    assert forecasted.tokens == ("in",)


def test_agents_move_along_their_heading_every_0_2_s_and_static_ones_stay():
    rows = [("v", "vehicle", 10, 20, np.pi / 2, 3, 4), ("s", "barrier", 5, 20, 0, 9, 9)]
    tracks = tracks_of(expected(*rows), 51)
    moving = tracks.poses[:, tracks.tokens.index("v")]
    # 5 m/s northward: the velocity (3, 4) points 37 degrees off the heading.
    np.testing.assert_allclose(moving[[0, 1, 2, 3, 50], 1], [20, 20, 21, 21, 45], atol=1e-12)
    np.testing.assert_allclose(moving[:, 0], 10, atol=1e-12)
    assert (tracks.poses[:, tracks.tokens.index("s")] == [5, 20, 0]).all()
    assert tracks.first_velocity.tolist() == [[0, 0], [3, 4]]
    assert tracks.present.all()


def test_an_agent_that_moves_against_its_heading_goes_backward_and_keeps_its_heading():
    forecasted = expected(("v", "vehicle", 10, 20, 0.0, -2, 0.1))
    assert forecasted.poses[5, 0, 0] < 10 - 1.99
    assert forecasted.poses[5, 0, 2] == 0.0


def test_what_touches_the_ego_now_is_ignored_and_not_scored_against():
    # The ego's front is at x = 2.588; boxes are 4 m long.
    forecasted = expected(
        ("hit", "vehicle", 4.588, 0, 0, 5, 0),
        ("free", "vehicle", 4.6, 3.3, 0, 0, 0),
        ("cone", "barrier", 0, 2.1, 0, 0, 0),
    )
    assert dict(zip(forecasted.tokens, forecasted.touched.tolist(), strict=True)) == {
        "hit": True,
        "free": False,
        "cone": True,
    }
    assert tracks_of(forecasted, 41).tokens == ("free",)


def test_red_connectors_of_the_route_count_in_the_logs_order():
    lights = (("c1", True), ("c0", False), ("elsewhere", True), ("c0", True), ("c1", True))
    forecasted = expected(lights=lights)
    assert forecasted.lights == ("c1", "c0")
    red = red_lights_of(STREET, forecasted, generation=2)
    assert red.connectors == ("c1", "c0") and red.red.shape == (41, 2) and red.red.all()
    assert red.polygons.vertices[:, 0].min() == 20 and red.polygons.vertices[:4, 0].min() == 50
    assert red_lights_of(STREET, forecasted, generation=1).connectors == ()


def test_a_red_light_is_ignored_only_where_the_ego_lies_wholly_on_it():
    assert expected(lights=(("c0", True),), ego=pose(22.0)).light_touched.tolist() == [True]
    assert expected(lights=(("c0", True),), ego=pose(20.0)).light_touched.tolist() == [False]


def test_an_empty_frame_expects_nobody():
    forecasted = expected()
    assert forecasted.tokens == () and len(tracks_of(forecasted, 51)) == 0
