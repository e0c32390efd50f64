"""The lanes that the ego drove on: route, driving commands, and the lights over them."""

from pathlib import Path

import numpy as np

from latentdrive.data.scenarios.road_map import read_road_map
from latentdrive.data.scenarios.route import DrivenLanes
from latentdrive.types import Command
from tests.support.scenario import TURN, along, lane, logs, scenario, turning, write_scenario


def test_the_route_is_the_lanes_that_were_driven(tmp_path: Path):
    truth = logs(write_scenario(tmp_path / "a.pkl", turning())).truth("made@1.5")
    assert truth.route == ("roadblock:A", "roadblock_connector:C2", "roadblock:D")
    assert {way.id for way in truth.map.roadblock_connectors} == {"roadblock_connector:C1", "roadblock_connector:C2"}


def test_the_command_looks_20_m_along_the_driven_lanes_and_stays_out_of_the_scene(tmp_path: Path):
    file = write_scenario(tmp_path / "a.pkl", turning())
    source = logs(file)
    commands = [source.truth(token).frames[3].command for token in source.tokens]
    # At 1.5 s the ego is at 32 m: the line is straight up to 52 m. From 49 m on it lies 2 m and more to the left.
    assert commands[0] == Command.STRAIGHT and commands[5:7] == [Command.LEFT] * 2
    assert source[source.tokens[6]].ego.command == Command.UNKNOWN
    asked = logs(file, command="route")[source.tokens[6]].ego
    assert asked.command == Command.LEFT and asked.command_known


def test_a_line_that_ends_within_20_m_gives_no_command(tmp_path: Path):
    features = {"A": lane(along((-10, 0), (70, 0)))}
    source = logs(write_scenario(tmp_path / "a.pkl", scenario(features=features)))
    commands = {token: source.truth(token).frames[3].command for token in source.tokens}
    assert commands["made@4.0"] == Command.STRAIGHT  # at 40 m
    assert commands["made@6.0"] == Command.UNKNOWN  # at 66 m


def test_lights_are_those_of_connectors_at_each_frame(tmp_path: Path):
    content = turning()
    rows = len(content["metadata"]["ts"])
    states = ["TRAFFIC_LIGHT_RED"] * 20 + ["TRAFFIC_LIGHT_GREEN"] * (rows - 20)
    content["dynamic_map_states"] = {"C2": {"lane": "C2", "state": {"object_state": states}}}
    truth = logs(write_scenario(tmp_path / "a.pkl", content)).truth("made@1.5")
    assert [frame.lights for frame in truth.frames[3:6]] == [(("C2", True),), (("C2", False),), (("C2", False),)]
    assert {connector.id: connector.has_light for connector in truth.map.connectors} == {"C1": False, "C2": True}


def test_the_way_of_the_path_decides_between_overlapping_connectors():
    road = read_road_map(TURN, name="somewhere", lit=())
    straight = np.column_stack([np.arange(30.0, 100.0), np.zeros(70), np.zeros(70)])
    assert DrivenLanes(road, straight).route == ("roadblock:A", "roadblock_connector:C1", "roadblock:B")
    assert DrivenLanes(road, straight[::-1] + np.array([0, 0, np.pi])).route == ()  # against the lanes


def test_a_lane_between_two_poses_is_filled_in_and_a_lane_change_costs_one_leap():
    features = {
        "A": lane(along((0, 0), (40, 0)), exit_lanes=["B"], left_neighbor=["L"]),
        "L": lane(along((0, 4), (40, 4))),
        "B": lane(along((40, 0), (42, 0)), exit_lanes=["D"]),
        "D": lane(along((42, 0), (80, 0))),
    }
    road = read_road_map(features, name="somewhere", lit=())
    x = np.arange(2.0, 80.0, 3.0)
    path = np.column_stack([x, np.where(x < 20, 4.0, 0.0), 0 * x])
    driven = DrivenLanes(road, path)
    assert [lane.id for lane in driven.lanes] == ["L", "A", "A>B", "B", "B>D", "D"]
    assert driven.share == 1.0
    line = driven.centre_line()
    assert (np.diff(line[:, 0]) > 0).mean() > 0.9 and line[-1].tolist() == [80, 0]
