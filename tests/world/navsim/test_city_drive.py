"""Drives of the NAVSIM world: the ego keeps to the road, to comfort and to lights, and masters hazards that happen."""

from dataclasses import replace

import numpy as np
import pytest
import shapely

from latentdrive.errors import ConfigError
from latentdrive.geometry import relative_pose, wrap_angle
from latentdrive.types import Command
from latentdrive.world.navsim.city_drive import CityDrive, city_map, make_city_drive, on_the_road
from latentdrive.world.navsim.data_set import NavsimWorld
from latentdrive.world.navsim.log_frames import route_commands
from latentdrive.world.traffic.decorrelated import touches
from latentdrive.world.traffic.hazards import HazardKind
from tests.support.road_map import union

RATE_HZ, FRAMES = 10.0, 120
KINDS = (
    ("highway", "none"),
    ("curves", "none"),
    ("merge", "none"),
    ("circle", "none"),
    ("crossing", "none"),
    ("tail_street", "pedestrian"),
    ("tail_street", "oncoming"),
    ("tail_street", "stopped_car"),
    ("tail_highway", "cut_in"),
    ("tail_crossing", "red_light"),
)


@pytest.fixture(scope="module")
def drive(city_world: NavsimWorld):
    """road, hazard → drive of 12 s; each is simulated once."""
    drives: dict[tuple, CityDrive] = {}

    def make(road: str, hazard: str, number: int = 0) -> CityDrive:
        if (road, hazard, number) not in drives:
            drives[road, hazard, number] = make_city_drive(
                road_type=road,
                road=city_world.roads[road],
                hazard=HazardKind(hazard),
                seed=(6, number),
                spec=city_world.city,
                frames=FRAMES,
                rate_hz=RATE_HZ,
                first_id=1000,
                name="sg-one-north",
            )
        return drives[road, hazard, number]

    return make


@pytest.mark.parametrize(("road", "hazard"), KINDS)
def test_the_ego_drives_well(drive, city_world: NavsimWorld, road: str, hazard: str):
    city_drive, body, comfort = drive(road, hazard), city_world.city.traffic.ego, city_world.city.comfort
    ego, speed = city_drive.drive.ego, city_drive.drive.ego_speed_mps
    assert on_the_road(ego, body, city_drive.map).all()
    along = np.diff(speed) * RATE_HZ
    assert -comfort.braking_mps2 <= along.min() and along.max() <= comfort.accelerating_mps2
    assert np.abs(wrap_angle(np.diff(ego[:, 2])) * RATE_HZ * speed[1:]).max() < 1.2 * comfort.lateral_mps2
    assert speed.max() < 1.05 * city_drive.limit_mps
    agents = city_drive.drive.agents
    assert not touches(body.centre(ego), np.array(body.size_m), agents.poses, agents.sizes).any()


@pytest.mark.parametrize(("road", "hazard"), [kind for kind in KINDS if kind[1] != "none"])
def test_a_hazard_happens_and_the_ego_slows_down(drive, road: str, hazard: str):
    city_drive = drive(road, hazard)
    begins, ends = city_drive.hazard_s
    assert 1.0 <= begins < ends
    rows = slice(int(begins * RATE_HZ), min(FRAMES, int((ends + 2) * RATE_HZ)))
    speed = city_drive.drive.ego_speed_mps
    assert speed[rows].min() < 0.9 * speed[: rows.start + 1].max()


def test_a_pedestrian_crosses_the_whole_road_before_the_ego(drive):
    city_drive = drive("tail_street", "pedestrian")
    walker = city_drive.drive.agents.poses[:, city_drive.drive.agents.kinds.index("pedestrian")]
    in_ego_frame = relative_pose(city_drive.drive.ego, walker)
    row = int(city_drive.hazard_s[0] * RATE_HZ) + 5
    assert 5.0 < in_ego_frame[row, 0] < 60.0  # ahead
    road = union((*city_drive.map.roadblocks, *city_drive.map.intersections))
    on = shapely.contains_xy(road, walker[:, 0], walker[:, 1])
    assert on.any() and not on[0]


def test_an_oncoming_car_comes_into_the_ego_s_lane_and_leaves_it(drive):
    city_drive = drive("tail_street", "oncoming")
    car, ego = city_drive.drive.agents.poses[:, 0], city_drive.drive.ego
    lanes = (*city_drive.map.lanes, *city_drive.map.connectors)
    lane = union([lane for lane in lanes if lane.roadblock in city_drive.route])
    inside = shapely.contains_xy(lane, car[:, 0], car[:, 1])
    assert inside.any() and not inside[0]
    facing = np.abs(wrap_angle(car[inside, 2] - ego[inside, 2]))
    assert facing.max() > 2.0


def test_nobody_enters_a_connector_while_it_is_red(drive):
    for city_drive in (drive("tail_crossing", "red_light"), drive("crossing", "none")):
        assert city_drive.reds and any(red.any() for red in city_drive.reds.values())
        connectors = {lane.id: lane for lane in city_drive.map.connectors}
        entered = 0
        for lane_id, red in city_drive.reds.items():
            start = connectors[lane_id].baseline[:3]  # the first two metres, which all connectors of an approach share
            near = np.hypot(*(city_drive.drive.ego[:, None, :2] - start).transpose(2, 0, 1)).min(1) < 0.7
            same_way = np.abs(wrap_angle(city_drive.drive.ego[:, 2] - np.arctan2(*(start[1] - start[0])[::-1]))) < 0.5
            entered += (near & same_way & red & (city_drive.drive.ego_speed_mps > 0.5)).any()
        assert not entered


def test_the_same_seed_gives_the_same_drive_and_its_map_without_driving(drive, city_world: NavsimWorld):
    city_drive = drive("curves", "none")
    again = city_map(
        city_world.roads["curves"],
        city_drive.drive.seed,
        city_world.city,
        frames=FRAMES,
        rate_hz=RATE_HZ,
        first_id=1000,
        name="sg-one-north",
    ).map
    assert [lane.id for lane in again.lanes] == [lane.id for lane in city_drive.map.lanes]
    np.testing.assert_array_equal(again.lanes[0].rings[0], city_drive.map.lanes[0].rings[0])
    assert city_drive.drive.seed == (6, 0, city_drive.attempt)


def test_a_hazard_that_cannot_happen_is_named(city_world: NavsimWorld):
    hurried = replace(city_world.city, attempts=2)
    with pytest.raises(
        ConfigError, match=r"no highway drive with hazard pedestrian was acceptable in 2 attempts .*did not happen"
    ):
        make_city_drive(
            road_type="highway",
            road=city_world.roads["highway"],
            hazard=HazardKind.PEDESTRIAN,
            seed=(1,),
            spec=hurried,
            frames=40,
            rate_hz=RATE_HZ,
            first_id=1,
            name="sg-one-north",
        )


def test_commands_say_where_the_route_goes(drive):
    """Where the human's path lies clearly to one side 20 m ahead, the command says so."""
    counts = {command: 0 for command in Command}
    for road, hazard in (("circle", "none"), ("tail_street", "pedestrian"), ("crossing", "none")):
        city_drive = drive(road, hazard)
        ego = city_drive.drive.ego[::5]
        commands = route_commands(city_drive.map, city_drive.route, ego)
        for now, command in enumerate(commands):
            ahead = relative_pose(np.broadcast_to(ego[now], (len(ego) - now, 3)), ego[now:])
            driven = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ahead[:, :2], axis=0).T))])
            if driven[-1] < 20.0:
                continue
            aside = float(np.interp(20.0, driven, ahead[:, 1]))
            if abs(aside) > 3.0 or abs(aside) < 1.0:
                side = Command.LEFT if aside > 3.0 else Command.RIGHT if aside < -3.0 else Command.STRAIGHT
                assert command == side, (road, now, aside)
                counts[command] += 1
    assert min(counts[command] for command in (Command.LEFT, Command.STRAIGHT, Command.RIGHT)) >= 2, counts
