"""Recorded traffic as decision points: what a point holds, what it must not know, and checks on real scenes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import shapely

from latentdrive.errors import ConfigError, NoScenes, UnreadableScene
from latentdrive.types import Command, SceneSource, Timed
from tests.support.data import REAL
from tests.support.scenario import logs, scenario, turning, write_scenario

SCENES = REAL / "scenarios"


def test_points_lie_half_a_second_apart_with_history_and_future(tmp_path: Path):
    source = logs(write_scenario(tmp_path / "a.pkl", scenario(seconds=10)))
    assert isinstance(source, SceneSource) and not isinstance(source, Timed)
    assert source.tokens == tuple(f"made@{now / 2:.1f}" for now in range(3, 13))  # 21 frames: 3 before, 8 after
    assert source.drive("made@1.5") == "made" and source.location("made@1.5") == tmp_path / "a.pkl"
    first, last = source.truth("made@1.5"), source.truth("made@6.0")
    for truth in (first, last):
        assert (len(truth.frames), truth.now, len(truth.human.poses)) == (12, 3, 8)
    longer = logs(tmp_path / "a.pkl", future_frames=10)  # NAVSIM v1 reads 5 s
    assert longer.tokens == source.tokens[:-2] and len(longer.truth("made@5.0").human.poses) == 10
    assert [frame.timestamp_us for frame in first.frames[:3]] == [0, 500_000, 1_000_000]
    assert first.frames[first.now].token == "made@1.5" and not first.synthetic
    time_us, pose = source.start("made@4.0")
    assert time_us == 4_000_000
    np.testing.assert_allclose(pose, [8 * 4 + 4**2 / 2, 0, 0])


def test_the_ego_is_seen_in_its_own_frame_with_motion_from_its_positions(tmp_path: Path):
    source = logs(write_scenario(tmp_path / "a.pkl", scenario()))
    scene = source["made@4.0"]
    assert scene.cameras == {} and scene.lidar is None and scene.drive == "made"
    np.testing.assert_allclose(scene.ego.times_s, [-1.5, -1, -0.5, 0])
    x = 8 * np.array([2.5, 3, 3.5, 4]) + np.array([2.5, 3, 3.5, 4]) ** 2 / 2
    np.testing.assert_allclose(scene.ego.poses[:, 0], x - x[-1], rtol=1e-6)
    # The mean speed of the half second before: that of a quarter of a second ago.
    np.testing.assert_allclose(scene.ego.velocity, [[8 + t - 0.25, 0] for t in (2.5, 3, 3.5, 4)], rtol=1e-6)
    np.testing.assert_allclose(scene.ego.acceleration, [[1, 0]] * 4, atol=1e-5)
    assert scene.ego.command == Command.UNKNOWN and not scene.ego.command_known


def test_the_first_frames_repeat_the_first_known_motion(tmp_path: Path):
    scene = logs(write_scenario(tmp_path / "a.pkl", scenario()))["made@1.5"]
    np.testing.assert_allclose(scene.ego.velocity[:, 0], [8.25, 8.25, 8.75, 9.25], rtol=1e-6)
    np.testing.assert_allclose(scene.ego.acceleration[:, 0], [1, 1, 1, 1], atol=1e-5)


def test_a_scene_knows_nothing_later_than_its_point(tmp_path: Path):
    content = scenario()
    before = logs(write_scenario(tmp_path / "a.pkl", content))["made@4.0"]
    later = content["tracks"]["ego"]["state"]
    later["position"][41:, 1] += np.linspace(0, 30, 60)
    later["heading"][41:] = 0.5
    later["velocity"][40:] = 99
    after = logs(write_scenario(tmp_path / "b.pkl", content))["made@4.0"]
    for name in ("poses", "velocity", "acceleration"):
        np.testing.assert_array_equal(getattr(before.ego, name), getattr(after.ego, name))
    assert after.ego.command == before.ego.command == Command.UNKNOWN


def test_the_human_future_is_that_of_the_frames(tmp_path: Path):
    truth = logs(write_scenario(tmp_path / "a.pkl", turning())).truth("made@4.0")
    now = truth.frames[truth.now].ego_pose
    for pose, frame in zip(truth.human.poses, truth.frames[truth.now + 1 :], strict=True):
        cos, sin = np.cos(now[2]), np.sin(now[2])
        back = [now[0] + cos * pose[0] - sin * pose[1], now[1] + sin * pose[0] + cos * pose[1], now[2] + pose[2]]
        np.testing.assert_allclose(back, frame.ego_pose, atol=1e-9)


def test_positions_ahead_of_the_axle_are_moved_back_to_it(tmp_path: Path):
    axle = logs(write_scenario(tmp_path / "a.pkl", turning()))
    centre = logs(write_scenario(tmp_path / "b.pkl", turning(ahead_m=1.4)), ego_ahead_m=1.4)
    for frame, same in zip(axle.truth("made@5.0").frames, centre.truth("made@5.0").frames, strict=True):
        np.testing.assert_allclose(frame.ego_pose, same.ego_pose, atol=1e-9)


def test_points_without_a_known_ego_are_left_out(tmp_path: Path):
    content = scenario(seconds=15)
    content["tracks"]["ego"]["state"]["valid"][73:78] = 0  # frame 15, at 7.5 s
    source = logs(write_scenario(tmp_path / "a.pkl", content))
    assert source.tokens == tuple(f"made@{at:.1f}" for at in (1.5, 2, 2.5, 3, 9.5, 10, 10.5, 11))
    assert len(source.truth("made@3.0").human.poses) == 8


def test_unreadable_files_are_counted_and_the_others_used(tmp_path: Path):
    write_scenario(tmp_path / "a.pkl", scenario("one"))
    write_scenario(tmp_path / "deep" / "b.pkl", scenario("two"))
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(scenario("three"))[:500])
    write_scenario(tmp_path / "d.pkl", [1, 2])
    write_scenario(tmp_path / "dataset_summary.pkl", {"one": 1})
    write_scenario(tmp_path / "same.pkl", scenario("one"))
    source = logs(tmp_path, max_unreadable=0.7)
    assert {source.drive(token) for token in source.tokens} == {"one", "two"} and len(source) == 20
    assert len(source.unreadable) == 3
    assert "3 files unreadable" in source.summary() and "scenario one stands in" in source.summary()


def test_nothing_to_work_on_says_what_was_found(tmp_path: Path):
    with pytest.raises(NoScenes, match=r"holds no scenario \(\*\.pkl\)"):
        logs(tmp_path)
    write_scenario(tmp_path / "a.pkl", scenario(seconds=4))
    with pytest.raises(NoScenes, match=r"none of 1 file gives a decision point \(0 unreadable, 1 shorter than 5\.5 s"):
        logs(tmp_path)


def test_worker_processes_open_scenarios_on_their_own(tmp_path: Path):
    source = logs(write_scenario(tmp_path / "a.pkl", turning()))
    truth = source.truth("made@4.0")
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 10_000 and again.tokens == source.tokens
    np.testing.assert_array_equal(again.truth("made@4.0").human.poses, truth.human.poses)
    assert again.truth("made@4.0").route == truth.route


def test_files_and_points_that_are_gone_are_named(tmp_path: Path):
    source = logs(write_scenario(tmp_path / "a.pkl", scenario()))
    with pytest.raises(UnreadableScene, match="no decision point 'made@99'"):
        source["made@99"]
    (tmp_path / "a.pkl").unlink()
    with pytest.raises(UnreadableScene, match=r"a\.pkl: it changed since"):
        source["made@4.0"]


@pytest.mark.parametrize(
    ("changed", "words"), [({"future_frames": 7}, "8 or more"), ({"command": "left"}, "unknown or route")]
)
def test_impossible_options_are_refused(tmp_path: Path, changed: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        logs(tmp_path, **changed)


@pytest.fixture(scope="module")
def real():
    if not SCENES.is_dir():
        pytest.skip("no real data")
    return logs(SCENES)


def test_the_real_scenes_give_points_of_whole_numbers_only(real):
    counts = {drive: sum(real.drive(token) == drive for token in real.tokens) for drive in map(real.drive, real.tokens)}
    assert len(counts) == 5 and all(26 <= count <= 30 for count in counts.values())
    assert "4 leaps of the ego's position cut out" in real.summary()
    for token in real.tokens:
        scene = real[token]
        for array in (scene.ego.poses, scene.ego.velocity, scene.ego.acceleration):
            assert np.isfinite(array).all()
    for token in real.tokens[::10]:  # truths hold every track and take long
        assert len(real.truth(token).human.poses) == 8


def test_real_truths_hold_no_nan_and_stable_tracks(real):
    for token in real.tokens[::15]:
        truth = real.truth(token)
        for frame in truth.frames:
            objects = frame.objects
            for array in (objects.poses, objects.sizes, objects.velocity):
                assert np.isfinite(array).all()
            for array in (frame.ego_pose, frame.velocity, frame.acceleration):
                assert np.isfinite(array).all()
            assert (objects.sizes > 0).all() and len(set(objects.tracks)) == len(objects) > 0
            assert np.abs(frame.acceleration).max() < 6
        assert len(set(truth.frames[0].objects.tracks) & set(truth.frames[4].objects.tracks)) > 0


def test_real_turns_are_those_that_are_known(real):
    turned = {}
    for token in real.tokens:
        frames = real.truth(token).frames
        turned.setdefault(real.drive(token), []).extend(frame.ego_pose[2] for frame in frames)
    turned = {drive: np.degrees(np.ptp(np.unwrap(headings))) for drive, headings in turned.items()}
    assert turned["scene-0061"] == pytest.approx(98, abs=3) and turned["scene-1077"] == pytest.approx(48, abs=3)
    last = [token for token in real.tokens if real.drive(token) == "scene-0061"][-1]
    assert real.truth(last).frames[-1].ego_pose[2] > real.truth("scene-0061@1.5").frames[0].ego_pose[2]  # to the left
    assert real.truth("scene-0061@6.0").frames[3].command == Command.LEFT


def test_the_real_ego_drives_on_its_lanes(real):
    first_tokens = {real.drive(token): token for token in reversed(real.tokens)}
    for token in first_tokens.values():
        truth = real.truth(token)
        lanes_and_connectors = (*truth.map.lanes, *truth.map.connectors)
        on_route = [lane for lane in lanes_and_connectors if lane.roadblock in truth.route]
        poses = np.stack([frame.ego_pose for frame in truth.frames])
        points = shapely.points(poses[:, :2])
        area = shapely.union_all([shapely.Polygon(lane.rings[0], lane.rings[1:]) for lane in on_route])
        assert shapely.intersects(area, points).all()
        beside = np.min([shapely.distance(shapely.LineString(lane.baseline), points) for lane in on_route], axis=0)
        assert beside.max() < 1.75  # half a lane
        assert len(truth.route) >= 6 and len(set(truth.route)) == len(truth.route)
        leads = {(way.from_roadblock, way.id) for way in truth.map.roadblock_connectors}
        leads |= {(way.id, way.to_roadblock) for way in truth.map.roadblock_connectors}
        assert all(pair in leads for pair in zip(truth.route, truth.route[1:], strict=False))
