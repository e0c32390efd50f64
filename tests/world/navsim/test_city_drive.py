"""Drives fit for NAVSIM: an ego that keeps to the road and to comfort, hazards that happen and are mastered, lights that are kept."""

from dataclasses import replace

import numpy as np
import pytest
import shapely

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.geometry import relative_pose, wrap_angle
from latentdrive.types import Command
from latentdrive.world.navsim.city_drive import CityDrive, city_map, make_city_drive, on_the_road
from latentdrive.world.navsim.data_set import NavsimWorld
from latentdrive.world.navsim.log_frames import route_commands
from latentdrive.world.traffic.decorrelated import touches
from latentdrive.world.traffic.hazards import HazardKind

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
def world() -> NavsimWorld:
    return build(compose("world", ["world=small"]).world.plain())


@pytest.fixture(scope="module")
def drive(world: NavsimWorld):
    """road, hazard → CityDrive of 12 s, each made once."""
    made: dict[tuple, CityDrive] = {}

    def make(road: str, hazard: str, number: int = 0) -> CityDrive:
        if (road, hazard, number) not in made:
            made[road, hazard, number] = make_city_drive(
                road_type=road,
                road=world.roads[road],
                hazard=HazardKind(hazard),
                seed=(6, number),
                spec=world.city,
                frames=FRAMES,
                rate_hz=RATE_HZ,
                first_id=1000,
                name="sg-one-north",
            )
        return made[road, hazard, number]

    return make


@pytest.mark.parametrize(("road", "hazard"), KINDS)
def test_the_ego_drives_well(drive, world: NavsimWorld, road: str, hazard: str):
    made, body, comfort = drive(road, hazard), world.city.traffic.ego, world.city.comfort
    ego, speed = made.drive.ego, made.drive.ego_speed_mps
    assert on_the_road(ego, body, made.map).all()
    along = np.diff(speed) * RATE_HZ
    assert -comfort.braking_mps2 <= along.min() and along.max() <= comfort.accelerating_mps2
    assert np.abs(wrap_angle(np.diff(ego[:, 2])) * RATE_HZ * speed[1:]).max() < 1.2 * comfort.lateral_mps2
    assert speed.max() < 1.05 * made.limit_mps
    for pose, size in zip(made.drive.agents.poses.transpose(1, 0, 2), made.drive.agents.sizes):
        assert not touches(pose, size, body.centre(ego), np.array(body.size_m)).any()


@pytest.mark.parametrize(("road", "hazard"), [kind for kind in KINDS if kind[1] != "none"])
def test_a_hazard_happens_and_the_ego_answers_it(drive, road: str, hazard: str):
    made = drive(road, hazard)
    begins, ends = made.hazard_s
    assert 1.0 <= begins < ends
    rows = slice(int(begins * RATE_HZ), min(FRAMES, int((ends + 2) * RATE_HZ)))
    speed = made.drive.ego_speed_mps
    assert speed[rows].min() < 0.9 * speed[: rows.start + 1].max()


def test_a_pedestrian_crosses_the_whole_road_before_the_ego(drive):
    made = drive("tail_street", "pedestrian")
    walker = made.drive.agents.poses[:, made.drive.agents.kinds.index("pedestrian")]
    seen = relative_pose(made.drive.ego, walker)
    row = int(made.hazard_s[0] * RATE_HZ) + 5
    assert 5.0 < seen[row, 0] < 60.0  # ahead
    road = shapely.union_all([shapely.Polygon(one.rings[0]) for one in (*made.map.roadblocks, *made.map.intersections)])
    on = shapely.contains_xy(road, walker[:, 0], walker[:, 1])
    assert on.any() and not on[0]


def test_an_oncoming_car_comes_into_the_ego_s_lane_and_leaves_it(drive):
    made = drive("tail_street", "oncoming")
    car, ego = made.drive.agents.poses[:, 0], made.drive.ego
    lane = shapely.union_all(
        [
            shapely.Polygon(one.rings[0])
            for one in (*made.map.lanes, *made.map.connectors)
            if one.roadblock in made.route
        ]
    )
    inside = shapely.contains_xy(lane, car[:, 0], car[:, 1])
    assert inside.any() and not inside[0]
    facing = np.abs(wrap_angle(car[inside, 2] - ego[inside, 2]))
    assert facing.max() > 2.0


def test_nobody_enters_a_connector_while_it_is_red(drive):
    for made in (drive("tail_crossing", "red_light"), drive("crossing", "none")):
        assert made.reds and any(red.any() for red in made.reds.values())
        areas = {one.id: shapely.Polygon(one.rings[0]) for one in made.map.connectors}
        lanes = {one.id: one for one in made.map.connectors}
        entered = 0
        for one, red in made.reds.items():
            start = lanes[one].baseline[:3]  # the first two metres, which ways of one approach share
            near = np.hypot(*(made.drive.ego[:, None, :2] - start).transpose(2, 0, 1)).min(1) < 0.7
            same_way = np.abs(wrap_angle(made.drive.ego[:, 2] - np.arctan2(*(start[1] - start[0])[::-1]))) < 0.5
            entered += (near & same_way & red & (made.drive.ego_speed_mps > 0.5)).any()
        assert not entered and areas


def test_the_same_seed_gives_the_same_drive_and_its_map_without_driving(drive, world: NavsimWorld):
    made = drive("curves", "none")
    again = city_map(
        world.roads["curves"],
        made.drive.seed,
        world.city,
        frames=FRAMES,
        rate_hz=RATE_HZ,
        first_id=1000,
        name="sg-one-north",
    ).map
    assert [one.id for one in again.lanes] == [one.id for one in made.map.lanes]
    np.testing.assert_array_equal(again.lanes[0].rings[0], made.map.lanes[0].rings[0])
    assert made.drive.seed == (6, 0, made.attempt)


def test_a_hazard_that_can_not_happen_is_named(world: NavsimWorld):
    hurried = replace(world.city, attempts=2)
    with pytest.raises(
        ConfigError, match=r"no highway drive with hazard pedestrian served in 2 attempts .*did not happen"
    ):
        make_city_drive(
            road_type="highway",
            road=world.roads["highway"],
            hazard=HazardKind.PEDESTRIAN,
            seed=(1,),
            spec=hurried,
            frames=40,
            rate_hz=RATE_HZ,
            first_id=1,
            name="sg-one-north",
        )


def test_commands_say_where_the_route_goes(drive):
    """Where the human's path lies clearly to a side 20 m on, so says the command."""
    told = {command: 0 for command in Command}
    for road, hazard in (("circle", "none"), ("tail_street", "pedestrian"), ("crossing", "none")):
        made = drive(road, hazard)
        ego = made.drive.ego[::5]
        commands = route_commands(made.map, made.route, ego)
        for now, command in enumerate(commands):
            ahead = relative_pose(np.broadcast_to(ego[now], (len(ego) - now, 3)), ego[now:])
            driven = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ahead[:, :2], axis=0).T))])
            if driven[-1] < 20.0:
                continue
            aside = float(np.interp(20.0, driven, ahead[:, 1]))
            if abs(aside) > 3.0 or abs(aside) < 1.0:
                side = Command.LEFT if aside > 3.0 else Command.RIGHT if aside < -3.0 else Command.STRAIGHT
                assert command == side, (road, now, aside)
                told[command] += 1
    assert min(told[command] for command in (Command.LEFT, Command.STRAIGHT, Command.RIGHT)) >= 2, told
