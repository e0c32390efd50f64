"""A planner's sensors, by hand: where a pixel and a point of the LiDAR end up."""

import cv2
import numpy as np
import pytest

from latentdrive.errors import UnreadableScene
from latentdrive.planners.inputs.sensors import LidarGrid, Panorama, Sensors, Surround
from latentdrive.types import FRONT, CameraImage, Command, EgoHistory, Scene


def ego(**changed) -> EgoHistory:
    given = {
        "times_s": np.array([-0.5, 0.0]),
        "poses": np.zeros((2, 3), np.float32),
        "poses_known": True,
        "velocity": np.array([[4.0, 0.0], [5.0, 0.5]], np.float32),
        "velocity_known": True,
        "acceleration": np.array([[0.0, 0.0], [1.0, -1.0]], np.float32),
        "acceleration_known": True,
        "command": Command.RIGHT,
        "command_known": True,
    }
    return EgoHistory(**(given | changed))


def picture(pixels: np.ndarray, *, calibrated: bool = False) -> CameraImage:
    intrinsics = np.array([[100.0, 0, 96], [0, 100.0, 54], [0, 0, 1]], np.float32) if calibrated else None
    return CameraImage(
        pixels=pixels, intrinsics=intrinsics, camera_to_ego=np.eye(4, dtype=np.float32) if calibrated else None
    )


def scene(pictures: dict[str, np.ndarray], points: list | None = None, *, calibrated: bool = False, **changed) -> Scene:
    cameras = {
        name: [picture(np.zeros_like(now)), picture(now, calibrated=calibrated)] for name, now in pictures.items()
    }
    lidar = None if points is None else np.array(points, np.float32).reshape(-1, 4)
    return Scene(token="t", drive="d", cameras=cameras, ego=ego(**changed), lidar=lidar)


def three(left, front, right) -> dict[str, np.ndarray]:
    return {"cam_l0": left, FRONT: front, "cam_r0": right}


def flat(value: int, height: int = 1080, width: int = 1920) -> np.ndarray:
    return np.full((3, height, width), value, np.uint8)


def grid(**changed) -> LidarGrid:
    given = {"half_m": 32.0, "cells_per_m": 4.0, "split_m": 0.2, "top_m": 100.0, "full": 5, "ground": False}
    return LidarGrid(**(given | changed))


def test_a_panorama_shows_left_front_and_right_side_by_side():
    panorama = Panorama(height=256, width=1024)(scene(three(flat(10), flat(20), flat(30))))["cameras"]
    assert panorama.shape == (1, 3, 256, 1024) and panorama.dtype == np.uint8
    # 1088 + 1920 + 1088 columns shrink to 1024, so the seams lie at columns 272 and 752.
    row = panorama[0, 0, 128]
    assert set(row[:271]) == {10} and set(row[273:751]) == {20} and set(row[753:]) == {30}


def test_a_panorama_cuts_off_the_margins():
    left, front, right = flat(10), flat(20), flat(30)
    for picture in (left, front, right):
        picture[:, :28], picture[:, -28:] = 255, 255
    for picture in (left, right):
        picture[..., :416], picture[..., -416:] = 255, 255
    assert Panorama(height=256, width=1024)(scene(three(left, front, right)))["cameras"].max() == 30


def test_a_panorama_has_the_pixels_of_opencvs_bilinear_resize():
    rng = np.random.default_rng(0)
    left, front, right = (rng.integers(0, 256, (3, 1080, 1920), dtype=np.uint8) for _ in range(3))
    joined = np.concatenate([left[:, 28:-28, 416:-416], front[:, 28:-28], right[:, 28:-28, 416:-416]], 2)
    expected = cv2.resize(joined.transpose(1, 2, 0), (1024, 256)).transpose(2, 0, 1)
    assert np.array_equal(Panorama(height=256, width=1024)(scene(three(left, front, right)))["cameras"][0], expected)


def test_smaller_pictures_are_cut_in_proportion():
    left = flat(10, 108, 192)
    left[..., :42] = 255  # the cut is 41.6 columns wide
    panorama = Panorama(height=25, width=102)(scene(three(left, flat(20, 108, 192), flat(30, 108, 192))))["cameras"]
    assert panorama.max() == 30


def test_pictures_of_different_heights_are_refused():
    with pytest.raises(
        UnreadableScene, match="one height, but after cutting they are 1024 x 1088, 102 x 192, 1024 x 1088"
    ):
        Panorama(height=256, width=1024)(scene(three(flat(1), flat(1, 108, 192), flat(1))))


def test_a_point_counts_a_fifth_in_its_cell_and_the_first_axis_is_forward():
    histogram = grid()(scene({}, [[10.1, -3.1, 1.0, 0], [10.2, -3.2, 1.0, 0], [0.1, 0.1, 1.0, 0]]))["lidar"]
    assert histogram.shape == (1, 256, 256) and histogram.dtype == np.float32
    expected = np.zeros((256, 256), np.float32)
    expected[128 + 40, 128 - 13], expected[128, 128] = 0.4, 0.2  # cells of 0.25 m; the ego is in the middle
    assert np.array_equal(histogram[0], expected)


def test_more_than_five_points_count_as_five():
    assert grid()(scene({}, [[1.1, 1.1, 1.0, 0]] * 9))["lidar"].max() == 1.0


def test_points_on_the_ground_too_high_or_outside_do_not_count():
    low, split, high, top = [1.1, 1.1, -1, 0], [1.1, 1.1, 0.2, 0], [1.1, 1.1, 0.21, 0], [1.1, 1.1, 100.0, 0]
    outside = [[32.1, 0, 1, 0], [0, -32.1, 1, 0]]
    points = [low, split, high, top, *outside]
    assert np.isclose(grid()(scene({}, points))["lidar"].sum(), 0.2)
    both = grid(ground=True)(scene({}, points))["lidar"]
    # The ground is the first channel; a point exactly at the split belongs to it.
    assert both.shape[0] == 2 and np.allclose(both.sum((1, 2)), [0.4, 0.2])


def test_the_far_edge_belongs_to_the_last_cell():
    assert grid()(scene({}, [[32.0, 32.0, 1, 0]]))["lidar"][0, 255, 255] == np.float32(0.2)


def test_sensors_name_what_must_be_opened():
    needs = Sensors(cameras=Panorama(height=64, width=256), lidar=grid()).needs
    assert needs.cameras == ("cam_l0", "cam_f0", "cam_r0") and needs.lidar and needs.frames == "now"


def test_without_sensors_the_ego_state_of_now_remains():
    state = Sensors(cameras=None, lidar=None)(scene({}))
    assert state["velocity"].tolist() == [5.0, 0.5] and state["acceleration"].tolist() == [1.0, -1.0]
    assert state["command"] == 2


def test_a_missing_sensor_or_state_is_named():
    with pytest.raises(UnreadableScene, match=r"no picture of cam_l0, .* its cameras are: front"):
        Panorama(height=64, width=256)(scene({FRONT: flat(1)}))
    with pytest.raises(UnreadableScene, match="no point cloud"):
        grid()(scene({}))
    with pytest.raises(UnreadableScene, match="velocity or acceleration is unknown"):
        Sensors(cameras=None, lidar=None)(scene({}, velocity_known=False))
    with pytest.raises(UnreadableScene, match="no calibration"):
        Surround(names=("cam_f0",), height=54, width=96)(scene({FRONT: flat(1)}))


def test_calibration_is_scaled_with_the_picture():
    arrays = Surround(names=("cam_f0",), height=54, width=96)(scene({FRONT: flat(7, 108, 192)}, calibrated=True))
    assert arrays["cameras"].shape == (1, 3, 54, 96) and np.allclose(arrays["intrinsics"][0, 0, 0], 50.0)
    assert arrays["camera_to_ego"].dtype == np.float32
