"""Randomly drawn junctions: lanes are connected, and turns lead where their names say."""

from itertools import product

import numpy as np
import pytest

from latentdrive.geometry import wrap_angle
from latentdrive.world.roads.layouts import Layout, lane_points
from tests.support.junctions import circle, crossing


@pytest.mark.parametrize(("draw", "number"), list(product((crossing, circle), range(4))))
def test_every_lane_begins_where_the_one_before_it_ends(draw, number):
    graph = draw(number).network.graph
    joints = [
        (lanes[0], later[0]) for a in graph for b, lanes in graph[a].items() for later in graph.get(b, {}).values()
    ]
    assert len(joints) >= 12
    for before, after in joints:
        gap = before.position(before.length, 0.0) - after.position(0.0, 0.0)
        turn = wrap_angle(np.array(before.heading_at(before.length) - after.heading_at(0.0)))
        assert np.hypot(*gap) < 1e-6 and abs(turn) < 1e-6


def turned(layout: Layout, road: tuple[str, str]) -> float:
    """By how many radians a road turns to the left."""
    lane = layout.network.get_lane((*road, 0))
    points = lane_points(lane, np.linspace(0.0, lane.length, 50))
    headings = np.unwrap(np.arctan2(*np.diff(points, axis=0).T[::-1]))
    return float(headings[-1] - headings[0])


def test_the_arm_to_the_right_is_a_right_turn():
    layout = crossing(0, arms=(4, 4))
    assert turned(layout, ("ir0", "il3")) == pytest.approx(-np.pi / 2, abs=0.1)
    assert turned(layout, ("ir0", "il1")) == pytest.approx(np.pi / 2, abs=0.1)
    assert turned(layout, ("ir0", "il2")) == pytest.approx(0.0, abs=1e-6)


def test_vehicles_circle_to_the_left_and_enter_and_leave_to_the_right():
    layout = circle(0)
    for arm in range(4):
        assert turned(layout, (f"exit{arm}", f"enter{arm}")) > 0.3
        assert turned(layout, (f"in{arm}", f"enter{arm}")) < -0.3 > turned(layout, (f"exit{arm}", f"out{arm}"))


def test_opposite_approaches_have_green_together():
    layout = crossing(0, arms=(4, 4))
    assert layout.phases == ((("o0", "ir0"), ("o2", "ir2")), (("o1", "ir1"), ("o3", "ir3")))
    assert crossing(0, lights=False).phases == ()


def test_no_two_crossings_have_the_same_shape():
    graphs = [crossing(number).network.graph for number in range(12)]
    turns = [graph["ir0"]["il1"][0] for graph in graphs if "il1" in graph.get("ir0", {})]
    lengths = {round(turn.length, 6) for turn in turns}
    assert len(lengths) >= 5
