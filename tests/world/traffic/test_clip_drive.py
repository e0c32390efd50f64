"""Drives of clips: the side of the road, the sign of turns, human comfort, and independent egos."""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.data.clips.clip_truth import others_motion
from latentdrive.geometry import relative_pose, wrap_angle
from latentdrive.world.clips.truth import clip_truth
from latentdrive.world.clips.writer import World
from latentdrive.world.traffic.clip_drive import DriveKind, make_drive
from latentdrive.world.traffic.decorrelated import Appearance, at_own_pace, touches
from latentdrive.world.traffic.recording import Agents, Mark, SimulatedDrive

TYPES = ("highway", "curves", "merge", "roundabout", "intersection")
RATE_HZ = 4.0


@pytest.fixture(scope="module")
def drive(tiny_world: World):
    """road_type, kind, number → drive of 6 s; each is simulated once."""
    drives: dict[tuple, SimulatedDrive] = {}

    def make(road_type: str, kind: DriveKind, number: int) -> SimulatedDrive:
        key = road_type, kind, number
        if key not in drives:
            drives[key] = make_drive(
                road_type=road_type,
                kind=kind,
                seed=(3, number),
                road=tiny_world.roads[road_type],
                traffic=tiny_world.traffic,
                frames=24,
                rate_hz=RATE_HZ,
            )
        return drives[key]

    return make


def side(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """How many metres the points lie to the left of a pose."""
    delta = points - pose[:2]
    return np.cos(pose[2]) * delta[..., 1] - np.sin(pose[2]) * delta[..., 0]


@pytest.mark.parametrize("number", range(3))
def test_traffic_keeps_right_oncoming_vehicles_pass_on_the_left(drive, number):
    simulated = drive("curves", DriveKind.NATURAL, number)
    passes = 0
    for agent in range(len(simulated.agents)):
        relative = relative_pose(simulated.ego, simulated.agents.poses[:, agent])
        oncoming = (np.abs(relative[:, 2]) > 2.6) & (np.abs(relative[:, 0]) < 6.0)
        assert (relative[oncoming, 1] > 1.0).all()
        passes += oncoming.any()
    assert number or passes


def test_vehicles_drive_on_the_right_of_the_centre_line(drive):
    simulated = drive("curves", DriveKind.NATURAL, 0)
    centre = [lane for lane in simulated.lanes if lane.left == Mark.CENTRE]
    assert len(centre) == 2
    for lane, other in (centre, centre[::-1]):
        heading = np.arctan2(*(lane.points[11] - lane.points[10])[::-1])
        nearest = other.points[np.hypot(*(other.points - lane.points[10]).T).argmin()]
        assert side(nearest, np.array([*lane.points[10], heading])) > 2.0


@pytest.mark.parametrize("road_type", ("curves", "intersection"))
def test_a_turn_to_the_left_has_positive_yaw(drive, road_type):
    signs = set()
    for number in range(6):
        simulated = drive(road_type, DriveKind.DECORRELATED, number)
        steps = relative_pose(simulated.ego[:-1], simulated.ego[1:])
        turning = (np.abs(steps[:, 2]) > 0.05) & (steps[:, 0] > 0.5)
        # An arc that begins straight ahead ends on the side to which it turns.
        assert (np.sign(steps[turning, 1]) == np.sign(steps[turning, 2])).all()
        signs |= set(np.sign(steps[turning, 2]))
    assert signs == {-1.0, 1.0}


@pytest.mark.parametrize("kind", tuple(DriveKind))
@pytest.mark.parametrize("road_type", TYPES)
def test_the_ego_keeps_to_human_comfort(drive, tiny_world, road_type, kind):
    calm = tiny_world.traffic.calm
    for number in range(3):
        simulated = drive(road_type, kind, number)
        yaw_rate = np.abs(wrap_angle(np.diff(simulated.ego[:, 2]))) * RATE_HZ
        speed = np.maximum(simulated.ego_speed_mps[1:], simulated.ego_speed_mps[:-1])
        assert yaw_rate.max() <= calm.yaw_rate
        assert (yaw_rate * speed).max() <= 1.25 * calm.lateral_mps2  # drivers may brake late before a curve
        moved = np.hypot(*np.diff(simulated.ego[:, :2], axis=0).T) * RATE_HZ
        np.testing.assert_allclose(moved, (simulated.ego_speed_mps[1:] + simulated.ego_speed_mps[:-1]) / 2, atol=1.0)
        assert simulated.ego_speed_mps.min() >= 0 and simulated.ego_speed_mps.max() <= 25.0


@pytest.mark.parametrize("kind", tuple(DriveKind))
@pytest.mark.parametrize("road_type", TYPES)
def test_vehicles_touch_neither_the_ego_nor_each_other(drive, tiny_world: World, road_type, kind):
    body = tiny_world.traffic.ego
    simulated = drive(road_type, kind, 0)
    poses, sizes = simulated.agents.poses, simulated.agents.sizes
    assert len(simulated.agents)
    assert not touches(body.centre(simulated.ego), np.array(body.size_m), poses, sizes).any()
    for agent in range(1, len(simulated.agents)):
        assert not touches(poses[:, agent], sizes[agent], poses[:, :agent], sizes[:agent]).any()


def test_two_boxes_touch_when_their_sides_meet():
    car = np.array([4.0, 2.0, 1.5])
    origin = np.zeros((3, 3))
    poses = np.array([[0.0, 2.3, 0.0], [0.0, 2.6, 0.0], [0.0, 2.9, np.pi / 2]])
    others = np.stack([poses, poses[::-1], np.full((3, 3), np.nan)], 1)
    touching = touches(origin, car, others, np.tile(car, (3, 1)))
    assert touching.T.tolist() == [[True, False, True], [True, False, True], [False, False, False]]


def test_a_standing_ego_does_not_slide(drive):
    for number in range(6):
        simulated = drive("curves", DriveKind.DECORRELATED, number)
        standing = (simulated.ego_speed_mps[1:] < 1e-3) & (simulated.ego_speed_mps[:-1] < 1e-3)
        still = np.abs(np.diff(simulated.ego, axis=0))[standing]
        assert (still < 0.05).all()


def test_the_same_seed_gives_the_same_drive(tiny_world: World):
    arguments = {
        "road_type": "merge",
        "kind": DriveKind.NATURAL,
        "road": tiny_world.roads["merge"],
        "traffic": tiny_world.traffic,
        "frames": 6,
        "rate_hz": RATE_HZ,
    }
    first, again, other = (make_drive(seed=seed, **arguments) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first.ego, again.ego)
    np.testing.assert_array_equal(first.agents.poses, again.agents.poses)
    assert first.ego.shape != other.ego.shape or not np.array_equal(first.ego, other.ego)


def test_on_decorrelated_drives_the_ego_predicts_nothing_of_the_others(drive, level_camera):
    """Fit the others' image motion to linear and quadratic terms of the ego's motion: held-out R² is about 0."""
    ego, others = [], []
    for number in range(20):
        simulated = drive(("highway", "curves")[number % 2], DriveKind.DECORRELATED, number // 2)
        truth = clip_truth(simulated, level_camera, transition_s=0.5, rate_hz=RATE_HZ, key="")
        motion = relative_pose(simulated.ego[:-2], simulated.ego[2:])[:, [0, 2]]
        ego.append(np.stack([*motion.T, *(motion**2).T, np.ones(len(motion))], -1))
        others.append(others_motion(truth, np.arange(22)).reshape(22, -1))
    half = 10
    weights = np.linalg.lstsq(np.concatenate(ego[:half]), np.concatenate(others[:half]), rcond=None)[0]
    predicted, true = np.concatenate(ego[half:]) @ weights, np.concatenate(others[half:])
    r2 = 1 - ((true - predicted) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0)
    # Per cent of the picture's width: in every third of the picture there is motion to predict.
    assert true.std(0).reshape(3, 2)[:, 0].min() > 0.2
    assert r2.max() < 0.1


def test_each_replayed_vehicle_has_its_own_pace():
    frames = 21
    poses = np.zeros((frames, 2, 3))
    poses[..., 0] = np.arange(frames)[:, None]
    poses[..., 2] = np.linspace(3.0, 3.4, frames)[:, None] % (2 * np.pi) - 2 * np.pi * (
        np.linspace(3.0, 3.4, frames)[:, None] > np.pi
    )
    agents = Agents(poses=poses, speed_mps=np.ones((frames, 2)), sizes=np.ones((2, 3)), kinds=("car", "car"))
    slow = Appearance(ahead_m=(5.0, 35.0), copies=1, tries=1, pace=(0.5, 0.5), still_share=0.0)
    half = at_own_pace(np.random.default_rng(0), agents, slow)
    assert half.poses[:, :, 0] - half.poses[:1, :, 0] == pytest.approx(0.5 * (poses[:, :, 0] - poses[:1, :, 0]))
    assert half.speed_mps == pytest.approx(0.5)
    assert np.cos(half.poses[..., 2]).max() < -0.9, "headings are interpolated the short way"
    still = at_own_pace(np.random.default_rng(0), agents, replace(slow, still_share=1.0))
    assert np.ptp(still.poses, 0) == pytest.approx(0.0) and still.speed_mps == pytest.approx(0.0)
