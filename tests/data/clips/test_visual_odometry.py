"""Visual odometry: its conventions on a rendered road, and its error on KITTI's true poses."""

from functools import cache

import cv2
import numpy as np
import pytest

from latentdrive.data.clips.kitti import KittiOdometry
from latentdrive.data.clips.visual_odometry import VisualOdometry, estimate_ego_motion, guessed_intrinsics
from latentdrive.geometry import relative_pose
from latentdrive.types import PoseSource
from tests.support.data import REAL, folder, reading, write_video

SIZE, FOCAL = (180, 320), 230.0
K = np.array([[FOCAL, 0, 159.5], [0, FOCAL, 89.5], [0, 0, 1.0]])
HEIGHT, LEVER, CELL = 1.5, 1.5, 0.06  # camera above the road and ahead of the rear axle; metres a texture pixel


@cache
def textures() -> tuple[np.ndarray, np.ndarray]:
    """Road seen from above (3000 x 3000 pixels) and the far horizon by bearing (one pixel a milliradian)."""
    rng = np.random.default_rng(0)
    road = cv2.GaussianBlur(rng.uniform(0, 255, (3000, 3000)).astype(np.float32), (0, 0), 1.5)
    road = (road - road.mean()) / road.std() * 35 + 110
    far = cv2.resize(rng.uniform(90, 170, (30, 500)).astype(np.float32), (6284, 400), interpolation=cv2.INTER_CUBIC)
    return np.clip(road, 0, 255), np.clip(far, 0, 255)


def drive_along(speed_mps: np.ndarray, curvature: np.ndarray, dt_s: float = 0.1) -> np.ndarray:
    """Rear-axle poses from speed and curvature (left is positive) of every step."""
    poses = [np.zeros(3)]
    for speed, bend in zip(speed_mps, curvature):
        x, y, heading = poses[-1]
        turn = speed * dt_s * bend
        middle = heading + turn / 2
        poses.append(np.array([x + speed * dt_s * np.cos(middle), y + speed * dt_s * np.sin(middle), heading + turn]))
    return np.stack(poses)


def render(poses: np.ndarray) -> list[np.ndarray]:
    """Grey pictures from a camera that looks straight ahead: textured ground below the horizon, far scenery above."""
    road, far = textures()
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    right, down = (u - K[0, 2]) / FOCAL, (v - K[1, 2]) / FOCAL
    pictures = []
    for x, y, heading in poses:
        eye = np.array([x + LEVER * np.cos(heading), y + LEVER * np.sin(heading)])
        depth = HEIGHT / np.maximum(down, 1e-3)
        forward, left = depth, -right * depth
        ground_x = eye[0] + np.cos(heading) * forward - np.sin(heading) * left
        ground_y = eye[1] + np.sin(heading) * forward + np.cos(heading) * left
        at = [(part / CELL % 3000).astype(np.float32) for part in (ground_x, ground_y)]
        below = cv2.remap(road.astype(np.float32), at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        bearing = (np.pi - (heading - np.arctan(right))) * 1000 % 6284
        above = cv2.remap(far, bearing.astype(np.float32), (200 + down * 400).astype(np.float32), cv2.INTER_LINEAR)
        picture = np.where(down * 40 > HEIGHT, below, above)  # beyond 40 m the ground is hidden by scenery
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def estimated(poses: np.ndarray):
    count = len(poses)
    return estimate_ego_motion(render(poses), np.arange(count) / 10, np.zeros(count, np.int64), K)


def test_driving_straight_on_does_not_turn_and_has_its_speed():
    motion = estimated(drive_along(np.full(30, 8.0), np.zeros(30)))
    assert abs(motion.poses[-1, 2]) < 0.01
    assert motion.poses[-1, 0] == pytest.approx(24.0, rel=0.05) and abs(motion.poses[-1, 1]) < 0.3
    assert motion.speed_mps.std() < 0.5, "one scale within the clip"
    assert motion.road_evidence > 0.5


@pytest.mark.parametrize("bend", [0.03, -0.03])
def test_a_left_turn_is_positive_and_a_right_turn_negative(bend: float):
    true = drive_along(np.full(30, 7.0), np.concatenate([np.zeros(12), np.full(18, bend)]))
    motion = estimated(true)
    assert motion.poses[-1, 2] == pytest.approx(true[-1, 2], rel=0.12)
    assert np.sign(motion.poses[-1, 1]) == np.sign(bend)
    np.testing.assert_allclose(motion.poses[-1, :2], true[-1, :2], rtol=0.15)


def test_standing_is_standing_and_starting_is_seen():
    true = drive_along(np.concatenate([np.zeros(12), np.full(18, 6.0)]), np.zeros(30))
    motion = estimated(true)
    assert not motion.poses[:12].any()
    # The height of the horizon is uncertain on this little parallax, and the scale with it.
    np.testing.assert_allclose(motion.speed_mps[14:], 6.0, rtol=0.2)
    assert motion.speed_mps[14:].std() < 0.3


def test_the_pose_is_carried_over_a_cut():
    poses = drive_along(np.full(20, 8.0), np.zeros(20))
    shots = (np.arange(21) >= 10).astype(np.int64)
    motion = estimate_ego_motion(render(poses), np.arange(21) / 10, shots, K)
    np.testing.assert_allclose(motion.poses[10], motion.poses[9])
    assert motion.speed_mps[10] == motion.speed_mps[11] > 6


def test_a_guess_of_60_degrees_puts_the_edges_at_30():
    guess = guessed_intrinsics((100, 200), 60.0)
    assert np.degrees(np.arctan(100 / guess[0, 0])) == pytest.approx(30.0)
    assert (guess[0, 2], guess[1, 2]) == (99.5, 49.5)


def test_a_clip_without_poses_gets_pseudo_poses_and_says_how(tmp_path):
    pictures = render(drive_along(np.full(25, 8.0), np.zeros(25)))
    frames = [cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) for picture in pictures]
    path = write_video(tmp_path / "a.mp4", frames, np.arange(26) / 10)
    assert folder(path)[0].ego_poses is None
    field = 2 * np.degrees(np.arctan(160 / FOCAL))
    clip, facts = folder(path, poses="visual_odometry", odometry=VisualOdometry(), field_of_view_deg=field).read(0)
    assert clip.pose_source == PoseSource.VISUAL_ODOMETRY and clip.ego_poses.shape == (26, 3)
    assert "scale-free" in facts.pose_note and "(guessed)" in facts.pose_note
    np.testing.assert_allclose(np.median(clip.ego_speed_mps), 8.0, rtol=0.08)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data")
def test_on_kitti_the_way_is_even_and_the_turn_is_near_the_truth():
    options = reading(REAL / "kitti_sequence_1", images_hz=10.0, poses="visual_odometry", odometry=VisualOdometry())
    source = KittiOdometry(**options, camera="image_0")
    true = source[0]
    source.track = lambda *_: None
    clip, facts = source.read(0)
    steps = [
        relative_pose(poses[:-1].astype(float), poses[1:].astype(float)) for poses in (clip.ego_poses, true.ego_poses)
    ]
    ratio = steps[0][:, 0] / steps[1][:, 0]
    assert ratio.std() / ratio.mean() < 0.03, "one scale within the clip"
    assert ratio.mean() == pytest.approx(1.5 / 1.65, rel=0.05), "KITTI's camera stands 1.65 m high, we take 1.5 m"
    assert np.sqrt(np.mean((steps[0][:, 2] - steps[1][:, 2]) ** 2)) < 0.0015
    assert abs(clip.ego_poses[-1, 2] - true.ego_poses[-1, 2]) < 0.03
    assert "(given)" in facts.pose_note
