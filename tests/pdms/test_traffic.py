"""Traffic during scoring: replay of the log, overlaps with the ego now, red lights. By hand, and
compared with the devkit.
"""

import time
from dataclasses import replace

import numpy as np
import pytest

from latentdrive.errors import UnreadableScene
from latentdrive.pdms.map.index import index_of
from latentdrive.pdms.scene import Tracks
from latentdrive.pdms.traffic import red_lights, replay
from latentdrive.pdms.versions import V1, V2, Rules
from latentdrive.types import (
    MapConnection,
    MapLane,
    RoadMap,
)
from tests.support.golden_files import SCENES, Golden, every_file, golden
from tests.support.recorded_traffic import NOWHERE, objects, truth

SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def junctions(**connectors: str) -> RoadMap:
    """A map of lane connectors, each with a hole. connectors: the roadblock connector of each, by name."""
    blocks = dict.fromkeys(connectors.values())
    joints = tuple(
        MapConnection(id=name, rings=(SQUARE,), from_roadblock="a", to_roadblock="b", intersection=None)
        for name in blocks
    )
    lines = tuple(connector(name, block) for name, block in connectors.items())
    return replace(NOWHERE, roadblock_connectors=joints, connectors=lines)


def connector(name: str, roadblock: str) -> MapLane:
    return MapLane(
        id=name,
        rings=(SQUARE, SQUARE * 0.5 + 0.25),
        roadblock=roadblock,
        baseline=SQUARE[:2],
        outgoing=(),
        incoming=(),
        speed_limit_mps=None,
        index=None,
        has_light=True,
    )


def test_between_two_frames_an_object_moves_evenly_and_turns_the_short_way():
    tracks = replay(
        truth(objects(("a", "vehicle", 10, 0, 3.0, 2, 0)), objects(("a", "vehicle", 11, 1, -3.0, 4, 0))), V1
    )
    turn = 2 * np.pi - 6.0
    assert tracks.poses.shape == (51, 1, 3) and tracks.present[:, 0].sum() == 6
    np.testing.assert_allclose(tracks.poses[2, 0], [10.4, 0.4, 3.0 + 0.4 * turn], atol=1e-12)
    np.testing.assert_allclose(tracks.poses[5, 0], [11, 1, -3.0], atol=1e-12)
    assert (tracks.poses[6:] == 0).all() and not tracks.present[6:].any()
    np.testing.assert_array_equal(tracks.first_velocity, [[2, 0]])


def test_a_gap_is_bridged_with_the_heading_unwrapped_over_sightings_alone():
    frame = objects(("a", "vehicle", 10, 0, 3.1, 0, 0))
    late = objects(("a", "vehicle", 16, 0, -3.1, 0, 0))
    tracks = replay(truth(objects(), frame, objects(), objects(), late), V2)
    assert tracks.present[:, 0].nonzero()[0].tolist() == list(range(5, 21))
    turn = 2 * np.pi - 6.2
    heading = 3.1 + turn / 3  # step 10: a third of the way from frame 1 to frame 4
    np.testing.assert_allclose(tracks.poses[10, 0], [12, 0, np.arctan2(np.sin(heading), np.cos(heading))], atol=1e-12)


def test_who_is_seen_once_stands_there_all_the_time_even_before_and_keeps_its_velocity():
    tracks = replay(truth(objects(), objects(), objects(("a", "bicycle", 20, 5, 1, 3, 4))), V2)
    assert tracks.present.all() and (tracks.poses == [20, 5, 1]).all()
    np.testing.assert_array_equal(tracks.first_velocity, [[3, 4]])


def test_a_sighting_behind_four_seconds_counts_in_v1_alone():
    nobody = [objects()] * 8
    scene = truth(*nobody, objects(("a", "vehicle", 20, 0, 0, 5, 0)), objects(("a", "vehicle", 22, 0, 0, 5, 0)))
    assert replay(scene, V2).present[:, 0].tolist() == [True] * 41  # a single sighting, so it stands there
    assert replay(scene, V1).present[:, 0].nonzero()[0].tolist() == list(range(40, 46))


def test_tracks_stand_in_order_of_their_first_step_then_of_kind_then_of_the_log():
    now = objects(
        ("cone", "traffic_cone", 30, 0, 0, 9, 9),
        ("man", "pedestrian", 40, 0, 0, 1, 1),
        ("b", "vehicle", 50, 0, 0, 0, 0),
        ("a", "vehicle", 60, 0, 0, 0, 0),
    )
    later = objects(
        ("c", "vehicle", 70, 0, 0, 0, 0), ("once", "vehicle", 80, 0, 0, 0, 0), ("cone", "traffic_cone", 30, 0, 0, 0, 0)
    )
    last = objects(*((name, "vehicle", 50, 0, 0, 0, 0) for name in "bac"), ("man", "pedestrian", 40, 0, 0, 1, 1))
    tracks = replay(truth(now, later, last), V1)
    assert tracks.tokens == ("b", "a", "once", "man", "cone", "c")  # who is seen once is there from the first step on
    np.testing.assert_array_equal(tracks.first_velocity[4], [0, 0])  # static objects have no velocity


def test_kind_and_size_are_those_of_the_first_sighting():
    then = objects(("a", "pedestrian", 21, 0, 0, 0, 0))
    then = replace(then, sizes=np.array([[1.0, 1.0, 1.0]]))
    tracks = replay(truth(objects(("a", "vehicle", 20, 0, 0, 0, 0)), then), V1)
    assert tracks.names == ("vehicle",) and tracks.sizes.tolist() == [[4, 2]]


def test_who_touches_the_ego_now_is_left_out_of_v2_and_stays_in_v1():
    front = 1.461 + 2.588  # of the ego, whose rear axle stands at 0
    touching, apart = front + 2.0, front + 2.0 + 1e-6  # centres of boxes of 4 m
    for x, count in ((touching, 0), (apart, 1)):
        scene = truth(*[objects(("a", "vehicle", x, 0, 0, 0, 0))] * 11)
        assert len(replay(scene, V2)) == count and len(replay(scene, V1)) == 1


def test_who_arrives_where_the_ego_stands_later_is_kept():
    scene = truth(objects(), *[objects(("a", "vehicle", 0, 0, 0, 0, 0))] * 2)
    assert len(replay(scene, V2)) == 1


def test_a_road_without_others_has_no_tracks():
    tracks = replay(truth(), V2)
    assert len(tracks) == 0 and tracks.poses.shape == (41, 0, 3) and tracks.present.shape == (41, 0)


def test_a_log_that_ends_too_early_is_named():
    scene = truth()
    scene = replace(scene, frames=scene.frames[:12])
    assert len(replay(scene, V2)) == 0  # eight frames after now are enough for v2
    with pytest.raises(
        UnreadableScene, match=r"8 frames after now, but NAVSIM v1 reads 10 \(5.0 s\).*num_future_frames=10"
    ):
        replay(scene, V1)
    with pytest.raises(UnreadableScene, match="7 frames after now"):
        red_lights(replace(scene, frames=scene.frames[:11]), V2, index_of(scene.map))


def test_a_track_that_a_frame_names_twice_is_named():
    with pytest.raises(UnreadableScene, match="frame frame3 of scene scene holds track a twice"):
        replay(truth(objects(("a", "vehicle", 9, 0, 0, 0, 0), ("a", "vehicle", 19, 0, 0, 0, 0))), V1)


def test_a_light_is_red_for_the_five_steps_from_its_frame_and_on_the_route_alone():
    roads = junctions(c1="R1", c2="R2", c3="R1")
    lights = {0: (("c2", True), ("c1", True), ("gone", True), ("c3", False)), 8: (("c3", True), ("c1", True))}
    lit = red_lights(truth(lights=lights, route=("gone", "R1")), V2, index_of(roads))
    assert lit.connectors == ("c1", "c3")
    assert lit.red[:, 0].nonzero()[0].tolist() == [0, 1, 2, 3, 4, 40] and lit.red[:, 1].nonzero()[0].tolist() == [40]
    assert lit.polygons.ends.tolist() == [0, 4, 8, 12, 16] and lit.polygons.owner.tolist() == [0, 0, 1, 1]


def test_v1_knows_no_red_lights():
    roads = junctions(c1="R1")
    lit = red_lights(truth(lights={0: (("c1", True),)}, route=("R1",)), V1, index_of(roads))
    assert lit.connectors == () and lit.red.shape == (41, 0) and lit.polygons.vertices.shape == (0, 2)


@every_file
def test_replay_and_red_lights_are_the_devkits(name: str):
    for number in range(SCENES):  # in one test, because opening a file takes longest
        replayed(golden(name), number, V1)
        replayed(golden(name), number, V2)
        lit_alike(golden(name), number)


def replayed(file: Golden, number: int, rules: Rules) -> None:
    """Check that the tracks, their order, and the removed ones are the devkit's."""
    answer = file.answers(number)[f"v{rules.generation}"]
    gone = set(answer.get("removed_overlap_tokens", ()))
    scene = file.truth(number)
    tracks = replay(scene, rules)
    expected = [track for track in answer["tracks_10hz"] if track["token"] not in gone]
    assert tracks.tokens == tuple(track["token"] for track in expected)
    logged = {track for frame in scene.frames[scene.now :][: rules.future_frames + 1] for track in frame.objects.tracks}
    assert logged - set(tracks.tokens) == gone
    for row, track in enumerate(expected):
        agrees(tracks, row, track, answer["unique_objects"][track["token"]])


def agrees(tracks: Tracks, row: int, expected: dict, first: dict) -> None:
    """Check that one track is the devkit's, to 1e-9 m. first: the devkit's facts at its first sighting."""
    present = np.zeros(len(tracks.poses), bool)
    for start, end in expected["present"]:
        present[start:end] = True
    np.testing.assert_array_equal(tracks.present[:, row], present)
    states = np.array(expected["states"])
    off = tracks.poses[present, row] - states[:, :3]
    off[:, 2] = np.arctan2(np.sin(off[:, 2]), np.cos(off[:, 2]))  # pi and -pi are one heading
    np.testing.assert_allclose(off, 0, rtol=0, atol=1e-9)
    assert tracks.names[row] == expected["type"] == first["type"]
    np.testing.assert_allclose(tracks.sizes[row], [expected["length"], expected["width"]], rtol=0, atol=1e-9)
    velocity = first["velocity"] or [0, 0]
    np.testing.assert_allclose(tracks.first_velocity[row], velocity, rtol=0, atol=1e-9)
    assert abs(np.cos(tracks.poses[present, row][0, 2] - first["heading"]) - 1) < 1e-12


def lit_alike(file: Golden, number: int) -> None:
    """Check that red lights and their polygons are the devkit's."""
    answer, scene = file.answers(number)["v2"], file.truth(number)
    lit = red_lights(scene, V2, index_of(scene.map))
    tokens = [sorted(f"red_light_{lit.connectors[i]}" for i in np.flatnonzero(row)) for row in lit.red]
    assert tokens == [sorted(step) for step in answer["red_light_tokens_per_step"]]
    for row, connector_id in enumerate(lit.connectors):
        ring = lit.polygons.vertices[lit.polygons.ends[row] : lit.polygons.ends[row + 1]]
        np.testing.assert_allclose(ring, answer["red_light_polygons"][f"red_light_{connector_id}"], rtol=0, atol=1e-9)


def test_fifty_tracks_are_replayed_within_a_blink():
    frame = objects(*((f"t{i}", "vehicle", 10 * i, 50, 0.1 * i, 1, 0) for i in range(50)))
    scene = truth(*[frame] * 11)
    replay(scene, V1)
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        replay(scene, V1)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.02  # 2 ms by itself; the type checks of tests slow it down
